package engine

import (
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// quietNetwork is a LAN on a virtual clock that costs nothing: what is sent is
// dropped, and what is received was made before.
type quietNetwork struct {
	now int64
	// heard is received over and over, the next one at due.
	heard [][]byte
	next  int
	pause time.Duration
	due   int64
	sent  int
	// pulses counts those sent.
	pulses int
}

func (n *quietNetwork) Now() int64           { return n.now }
func (n *quietNetwork) Use([]*lan.Conn)      {}
func (n *quietNetwork) Broken() []*lan.Conn  { return nil }
func (n *quietNetwork) Wake()                {}
func (n *quietNetwork) Wait(end int64) error { n.now = max(n.now, min(end, n.due)); return nil }

func (n *quietNetwork) Send(int, netip.Addr, netip.Addr, []byte) error {
	n.sent++
	return nil
}

func (n *quietNetwork) SendVia(index, _ int, source, destination netip.Addr, payload []byte) error {
	return n.Send(index, source, destination, payload)
}

func (n *quietNetwork) SendHeartbeat(desired.Pulse) error {
	n.pulses++
	return nil
}

func (n *quietNetwork) Receive(p *lan.Packet) bool {
	if n.now < n.due {
		return false
	}
	p.Index, p.Data, p.Arrived = eth0, n.heard[n.next], n.due
	n.next = (n.next + 1) % len(n.heard)
	n.due += int64(n.pause)
	return true
}

// manyRouters is the loop of a node with one VIP in each of 255 virtual
// routers, which are all in one state.
func manyRouters(t testing.TB, state vrrp.State) (*loop, *quietNetwork) {
	t.Helper()
	const routers, interval = 255, 100 * time.Millisecond
	n := &quietNetwork{now: int64(time.Hour), due: math.MaxInt64}
	source := netip.MustParseAddr("10.4.0.9")
	s := desired.State{}
	link := host.Link{
		Index: eth0, Name: "eth0", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Up: true, Running: true, Multicast: true,
		Addresses: []host.Address{{Prefix: netip.MustParsePrefix("10.4.0.1/16")}},
	}
	for vrid := range routers {
		vip := netip.AddrFrom4([4]byte{10, 4, 1, byte(vrid)})
		s.Routers = append(s.Routers, routerOf(uint8(vrid+1), vip))
		s.Routers[vrid].Priority = uint8(1 + vrid%150) // So that no two have their timers together.
		s.Routers[vrid].TakeoverDelay = time.Duration(vrid) * 10 * time.Microsecond
		if state == vrrp.Master {
			link.Addresses = append(link.Addresses, host.Address{Prefix: netip.PrefixFrom(vip, 32), Owned: true})
			continue
		}
		a := vrrp.Advertisement{
			Version: vrrp.V3, VRID: uint8(vrid + 1), Priority: 200, Interval: interval, Addresses: []netip.Addr{vip},
		}
		n.heard = append(n.heard, ipPacket(source, vrrp.GroupIPv4, a.Append(nil, source, vrrp.GroupIPv4)))
		n.pause, n.due = interval/routers, n.now
	}
	e := New(Config{Poller: n, Heartbeats: n, OnTransition: func(desired.Transition) {}, OnAlarm: func(desired.AlarmChange) {}})
	sockets := newSocketWorker(conns(&fakeConns{}), func(r socketResult) {
		e.send(func(m *messages) { m.sockets = append(m.sockets, r) })
	})
	l := newLoop(e.config, e.inbox, e.events, e.publisher, posts{
		host: func(s hostState) {
			e.send(func(m *messages) { m.leases = append(m.leases, leaseResult{generation: s.generation}) })
		},
		sockets: sockets.sync, macvlans: func(macvlanOrder) {}, probes: func(probeOrder) {},
	})
	e.Links(host.Snapshot{Links: []host.Link{link}})
	e.Apply(s)
	for end := n.now + int64(20*time.Second); n.now < end; {
		l.round()
	}
	for _, in := range l.instances {
		if in.state() != state {
			t.Fatalf("VRID %d is %s, want %s", in.key.VRID, in.state(), state)
		}
	}
	return l, n
}

// round is what run does once.
func (l *loop) round() {
	_ = l.poller.Wait(int64(l.deadline()))
	l.iterate()
	told, _ := l.events.queue.take()
	runAll(told)
}

// BenchmarkTurn is one round of the loop with 255 virtual routers at 100 ms: a
// packet received, or all of theirs sent, and their part of a lease refresh.
func BenchmarkTurn(b *testing.B) {
	for _, state := range []vrrp.State{vrrp.Backup, vrrp.Master} {
		b.Run(state.String(), func(b *testing.B) {
			l, n := manyRouters(b, state)
			begin, turns := n.now, 0
			b.ReportAllocs()
			for b.Loop() {
				l.round()
				turns++
			}
			// How much of a processor it takes, in time that the routers see.
			if passed := n.now - begin; passed > 0 {
				b.ReportMetric(100*float64(b.Elapsed())/float64(passed), "%cpu")
				b.ReportMetric(float64(turns)/time.Duration(passed).Seconds(), "turns/s")
			}
		})
	}
}

// Masters that began at different times wake the loop up together: it does not
// go round for each of them.
func TestMastersAdvertiseTogether(t *testing.T) {
	l, n := manyRouters(t, vrrp.Master)
	begin, sent, pulses, turns := n.now, n.sent, n.pulses, 0
	for n.now-begin < int64(10*time.Second) {
		l.round()
		turns++
	}
	if turns > 300 {
		t.Errorf("%d rounds in 10 s, want about 100 for advertisements and 20 for leases", turns)
	}
	if got := n.sent - sent; got < 255*100 || got > 255*107 {
		t.Errorf("%d advertisements in 10 s, want 255 times 100, up to a sixteenth more", got)
	}
	if got := n.pulses - pulses; got < 255*80 || got > 255*134 {
		t.Errorf("%d pulses in 10 s, want 255 times 80 to 133", got)
	}
}

// Nothing is allocated for a packet that is sent or received: the garbage
// collector would stop the loop.
func TestTurnAllocatesNothing(t *testing.T) {
	for _, state := range []vrrp.State{vrrp.Backup, vrrp.Master} {
		l, _ := manyRouters(t, state)
		quiet, asked := 0, false
		l.conflicts.post = func(probeOrder) { asked = true }
		for range 500 {
			before := l.host.generation
			asked = false
			got := testing.AllocsPerRun(2, l.round)
			if l.host.generation != before || asked {
				continue // An order was placed, or VIPs were asked for.
			}
			if quiet++; got != 0 {
				t.Fatalf("%s: %v allocations in a round", state, got)
			}
		}
		if quiet == 0 {
			t.Fatalf("%s: orders in every round", state)
		}
	}
}
