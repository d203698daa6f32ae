package lan_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/netnstest"
	"kube-vrrp-vip/pkg/lan"
)

// message is an advertisement as keepalived sends it.
var message = []byte{0x31, 0x35, 0x96, 0x02, 0x00, 0x0a, 0x11, 0x5a, 192, 0, 2, 0x35, 192, 0, 2, 0x99}

// host is a Network in a namespace of its own, which listens on eth0.
type host struct {
	*netnstest.NS
	*lan.Network
	t    *testing.T
	addr netip.Addr
	// ports are those in use, by index.
	ports map[int]*lan.Port
}

// newLAN returns hosts on one segment.
func newLAN(t *testing.T, n int) (*netnstest.LAN, []host) {
	t.Helper()
	l := netnstest.NewLAN(t, n)
	var hosts []host
	for i, ns := range l.Hosts {
		h := host{NS: ns, t: t, addr: l.Addr(i), ports: make(map[int]*lan.Port)}
		var err error
		ns.Do(func() { h.Network, err = lan.NewNetwork() })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			h.listen()
			if err := h.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		h.listen("eth0")
		hosts = append(hosts, h)
	}
	return l, hosts
}

// listen makes the host use the ports of these links only. It opens those that
// are not in use yet or are broken.
func (h host) listen(links ...string) {
	h.t.Helper()
	before := maps.Clone(h.ports)
	broken := h.Broken()
	clear(h.ports)
	for _, l := range links {
		index := h.Index(l)
		p := before[index]
		if p == nil || slices.Contains(broken, p) {
			var err error
			if p, err = h.open(lan.Interface{Index: index, Name: l}); err != nil {
				h.t.Fatal(err)
			}
		}
		h.ports[index] = p
	}
	h.Use(slices.Collect(maps.Values(h.ports)))
	for index, p := range before {
		if p == h.ports[index] {
			continue
		}
		if err := (lan.Ports{}).Close(p); err != nil {
			h.t.Error(err)
		}
	}
}

func (h host) open(i lan.Interface) (p *lan.Port, err error) {
	h.Do(func() { p, err = lan.Ports{}.Open(i) })
	return p, err
}

func (h host) expectBroken(want ...int) {
	h.t.Helper()
	var got []int
	for _, p := range h.Broken() {
		got = append(got, p.Index)
	}
	if d := cmp.Diff(want, got); d != "" {
		h.t.Errorf("broken: -want +got\n%s", d)
	}
}

func (h host) send(link string, payload []byte) {
	h.t.Helper()
	if err := h.Send(h.Index(link), h.addr, vrrpGroup, payload); err != nil {
		h.t.Fatal(err)
	}
}

// next waits for a packet, for a minute.
func (h host) next() lan.Packet {
	h.t.Helper()
	var p lan.Packet
	deadline := h.Now() + int64(time.Minute)
	for !h.Receive(&p) {
		if h.Now() >= deadline {
			h.t.Fatal("no packet came")
		}
		if err := h.Wait(deadline); err != nil {
			h.t.Fatal(err)
		}
	}
	return p
}

// expect waits for one packet with the payload, and fails if another comes
// before it.
func (h host) expect(payload []byte) lan.Packet {
	h.t.Helper()
	p := h.next()
	if !bytes.Equal(p.Data[20:], payload) {
		h.t.Errorf("received %x, want %x", p.Data[20:], payload)
	}
	return p
}

// marked is a message that a test can tell from others.
func marked(mark byte) []byte { return append(bytes.Clone(message), mark) }

func TestNetnsSendAndReceive(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	before := to.Now()
	from.send("eth0", message)
	p := to.next()
	after := to.Now()

	if p.Index != to.Index("eth0") {
		t.Errorf("index %d, want %d", p.Index, to.Index("eth0"))
	}
	if p.Arrived < before || p.Arrived > after {
		t.Errorf("arrived at %d, want %d to %d", p.Arrived, before, after)
	}
	// The kernel chooses the identification, and the checksum covers it.
	id := p.Data[4:6]
	want := append([]byte{0x45, 0xc0, 0, 36, id[0], id[1], 0, 0, 255, 112, p.Data[10], p.Data[11], 192, 0, 2, 1, 224, 0, 0, 18}, message...)
	if !bytes.Equal(p.Data, want) {
		t.Errorf("got  %x\nwant %x", p.Data, want)
	}
	if sum(p.Data[:20]) != 0xffff {
		t.Errorf("the header's checksum is wrong: %x", p.Data[:20])
	}

	var own lan.Packet
	if from.Receive(&own) {
		t.Errorf("received its own packet %x", own.Data)
	}
}

// sum is the one's complement sum of b (RFC 1071).
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return uint16(s&0xffff + s>>16)
}

// The kernel's timestamp tells when a packet arrived that had to wait.
func TestNetnsArrivedWhileNobodyListened(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	const wait = 200 * time.Millisecond
	from.send("eth0", message)
	sent := to.Now()
	if err := from.Wait(sent + int64(wait)); err != nil {
		t.Fatal(err)
	}
	p := to.next()
	if waited := to.Now() - p.Arrived; waited < int64(wait/2) {
		t.Errorf("the packet waited %s, want about %s", time.Duration(waited), wait)
	}
	t.Logf("measured: arrival_error=%.2fms target=1ms", math.Abs(float64(p.Arrived-sent))/1e6)
}

// A firewall that drops VRRP does not keep a node from hearing it.
func TestNetnsReceiveBehindAFirewall(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	to.RunInput(`
table inet firewall {
	chain prerouting { type filter hook prerouting priority -300; ip protocol 112 counter drop; }
	chain input { type filter hook input priority 0; ip protocol 112 counter drop; }
}`, "nft", "-f", "-")
	from.send("eth0", message)
	to.expect(message)
}

func TestNetnsSendBlockedByAFirewall(t *testing.T) {
	_, hosts := newLAN(t, 1)
	h := hosts[0]
	h.RunInput("table inet firewall { chain output { type filter hook output priority 0; ip protocol 112 drop; }; }", "nft", "-f", "-")
	err := h.Send(h.Index("eth0"), h.addr, vrrpGroup, message)
	if !errors.Is(err, unix.EPERM) {
		t.Errorf("error is %v, want EPERM", err)
	}
	t.Logf("the error reads: %v", err)
}

// What is sent is not heard by other programs on the same node.
func TestNetnsSendIsNotLoopedBack(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	program := from.ListenPacket("ip4:112", "0.0.0.0")
	from.send("eth0", message)
	to.expect(message)
	if err := program.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	if n, _, err := program.ReadFrom(b); err == nil {
		t.Errorf("another program received %x", b[:n])
	}
	to.send("eth0", message)
	if err := program.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := program.ReadFrom(b); err != nil {
		t.Errorf("another program does not receive at all: %v", err)
	}
}

func TestNetnsSendErrors(t *testing.T) {
	_, hosts := newLAN(t, 1)
	h := hosts[0]
	for name, err := range map[string]error{
		"no such link":       h.Send(99, h.addr, vrrpGroup, message),
		"no source":          h.Send(h.Index("eth0"), netip.Addr{}, vrrpGroup, message),
		"IPv6":               h.Send(h.Index("eth0"), netip.MustParseAddr("fe80::1"), vrrpGroup, message),
		"an endless message": h.Send(h.Index("eth0"), h.addr, vrrpGroup, make([]byte, 70000)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		t.Logf("%s: %v", name, err)
	}
}

func TestNetnsTwoInterfacesDoNotMix(t *testing.T) {
	_, hosts := newLAN(t, 2)
	b, others := newLAN(t, 1)
	two := hosts[0]
	b.Connect(two.NS, "eth1", "px")
	two.Run("ip", "addr", "add", "192.0.2.9/24", "dev", "eth1")
	two.listen("eth0", "eth1")

	hosts[1].send("eth0", marked(1))
	if p := two.expect(marked(1)); p.Index != two.Index("eth0") {
		t.Errorf("what came in on eth0 has index %d", p.Index)
	}
	others[0].send("eth0", marked(2))
	if p := two.expect(marked(2)); p.Index != two.Index("eth1") {
		t.Errorf("what came in on eth1 has index %d", p.Index)
	}
	two.send("eth1", marked(3))
	two.send("eth0", marked(4))
	others[0].expect(marked(3))
	hosts[1].expect(marked(4))
}

func TestNetnsUse(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	member := func() bool { return strings.Contains(to.Run("ip", "maddr", "show", "dev", "eth0"), "224.0.0.18") }
	if !member() {
		t.Error("not a member of 224.0.0.18")
	}
	from.send("eth0", marked(1))
	to.listen("eth0", "lo")
	to.expect(marked(1)) // The same again keeps what is waiting.

	index := to.Index("eth0")
	to.listen("lo")
	if err := to.Send(index, to.addr, vrrpGroup, message); err == nil {
		t.Error("sent without a port")
	}
	if member() {
		t.Error("still a member of 224.0.0.18")
	}
	from.send("eth0", marked(2))
	to.settles()
	to.listen("eth0")
	from.send("eth0", marked(3))
	to.expect(marked(3))
	to.expectBroken()
}

func TestNetnsPorts(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	_, err := to.open(lan.Interface{Index: 99, Name: "eth99"})
	if ie, ok := errors.AsType[*lan.InterfaceError](err); !ok || ie.Index != 99 || ie.Name != "eth99" {
		t.Errorf("error is %v, want one of eth99", err)
	}
	t.Logf("the error reads: %v", err)

	// A port collects what comes before it is used.
	to.listen()
	p, err := to.open(lan.Interface{Index: to.Index("eth0"), Name: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	from.send("eth0", marked(1))
	to.settles()
	to.Use([]*lan.Port{p})
	to.expect(marked(1))

	to.Use(nil)
	if err := (lan.Ports{}).Close(p); err != nil {
		t.Error(err)
	}
	// A second Close does not close the descriptors of another.
	other, err := to.open(p.Interface)
	if err != nil {
		t.Fatal(err)
	}
	err = lan.Ports{}.Close(p)
	if err == nil {
		t.Error("closed a port twice")
	}
	t.Logf("the error reads: %v", err)
	if err := (lan.Ports{}).Close(other); err != nil {
		t.Error(err)
	}
}

func TestNetnsInterfaceGoesDownAndUp(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	to.Run("ip", "link", "set", "eth0", "down")
	to.settles()
	to.expectBroken()
	to.Run("ip", "link", "set", "eth0", "up")
	from.until(to)
	to.expectBroken()
}

func TestNetnsInterfaceIsDeletedAndCreatedAgain(t *testing.T) {
	l, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	index := to.Index("eth0")
	to.expectBroken()
	to.Run("ip", "link", "del", "eth0")
	to.settles()
	to.expectBroken(index)
	if err := to.Send(index, to.addr, vrrpGroup, message); err == nil {
		t.Error("sent on a link that is gone")
	}

	to.Run("ip", "link", "add", "eth0", "index", fmt.Sprint(index), "type", "veth", "peer", "name", "p1", "netns", l.Switch.Path())
	to.Run("ip", "link", "set", "eth0", "up")
	l.Switch.Run("ip", "link", "set", "p1", "master", "br0", "up")
	to.Run("ip", "addr", "add", "192.0.2.2/24", "dev", "eth0")
	to.expectBroken(index)
	to.listen("eth0")
	to.expectBroken()
	from.until(to)
}

// settles checks that Wait does not return again and again for nothing.
func (h host) settles() {
	h.t.Helper()
	end := h.Now() + int64(100*time.Millisecond)
	rounds := 0
	for ; h.Now() < end; rounds++ {
		if err := h.Wait(end); err != nil {
			h.t.Fatal(err)
		}
		for p := (lan.Packet{}); h.Receive(&p); {
			h.t.Errorf("received %x", p.Data)
		}
	}
	if rounds > 5 {
		h.t.Errorf("Wait returned %d times in 100 ms", rounds)
	}
}

// until sends until a packet has woken to, for a minute: a link that has just
// come up loses some.
func (h host) until(to host) {
	h.t.Helper()
	for end := h.Now() + int64(time.Minute); h.Now() < end; {
		h.send("eth0", message)
		deadline := to.Now() + int64(50*time.Millisecond)
		if err := to.Wait(deadline); err != nil {
			h.t.Fatal(err)
		}
		woken := to.Now() < deadline
		if p := (lan.Packet{}); to.Receive(&p) && woken {
			return
		}
	}
	h.t.Fatal("nothing was received")
}

var (
	group    = netip.MustParseAddr("224.0.0.18")
	groupMAC = net.HardwareAddr{0x01, 0x00, 0x5e, 0x00, 0x00, 0x12}
)

// frame is an Ethernet frame with a marked message from eth0, whose IP header
// has the flags and protocol. tag is of a VLAN, or nothing.
func (h host) frame(mac net.HardwareAddr, tag string, to netip.Addr, flags, protocol, mark byte) []byte {
	b := append(bytes.Clone(mac), h.HardwareAddr("eth0")...)
	b = append(b, tag...)
	b = append(b, 8, 0)
	header := append([]byte{0x45, 0xc0, 0, 37, 0, 1, flags, 0, 255, protocol, 0, 0, 192, 0, 2, 1}, to.AsSlice()...)
	binary.BigEndian.PutUint16(header[10:], ^sum(header))
	return append(append(b, header...), marked(mark)...)
}

// transmitter returns a function that sends frames on eth0.
func (h host) transmitter() func(frame []byte) {
	h.t.Helper()
	var conn *packet.Conn
	var err error
	index := h.Index("eth0")
	h.Do(func() { conn, err = packet.Listen(&net.Interface{Index: index}, packet.Raw, unix.ETH_P_IP, nil) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return func(frame []byte) {
		h.t.Helper()
		if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: groupMAC}); err != nil {
			h.t.Fatalf("send %x: %v", frame, err)
		}
	}
}

func TestNetnsReceivesNothingElse(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	to.Run("ip", "link", "set", "eth0", "promisc", "on")
	transmit := from.transmitter()
	for _, frame := range [][]byte{
		from.frame(groupMAC, "", group, 0, 17, 1),     // another protocol
		from.frame(groupMAC, "", group, 0x20, 112, 2), // a first fragment
		from.frame(groupMAC, "", group, 0x01, 112, 3), // a later fragment
		from.frame(groupMAC, "", to.addr, 0, 112, 4),  // to this host's address
		from.frame(to.HardwareAddr("eth0"), "", to.addr, 0, 112, 5),
		from.frame(groupMAC, "", netip.MustParseAddr("224.0.0.19"), 0, 112, 6),
		from.frame(net.HardwareAddr{2, 9, 9, 9, 9, 9}, "", group, 0, 112, 7), // for another host
		from.frame(groupMAC, "\x81\x00\x00\x05", group, 0, 112, 8),           // of a VLAN that is not here
		from.frame(groupMAC, "", group, 0, 112, 9),                           // an advertisement
		from.frame(to.HardwareAddr("eth0"), "", group, 0x40, 112, 10),        // an advertisement to this host only
	} {
		transmit(frame)
	}
	to.expect(marked(9))
	to.expect(marked(10))
}

// What is for an interface stacked on another is received on the upper one
// only.
func TestNetnsStackedInterfaces(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	to.Run("ip", "link", "add", "upper", "link", "eth0", "type", "macvlan", "mode", "bridge")
	to.Run("ip", "link", "set", "upper", "up")
	to.listen("eth0", "upper")
	lower, upper := to.Index("eth0"), to.Index("upper")

	type received struct {
		Index int
		Mark  byte
	}
	expect := func(want ...received) {
		t.Helper()
		var got []received
		for range want {
			p := to.next()
			got = append(got, received{Index: p.Index, Mark: p.Data[len(p.Data)-1]})
		}
		sort := cmpopts.SortSlices(func(a, b received) int { return a.Index - b.Index })
		if d := cmp.Diff(want, got, sort); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	}
	transmit := from.transmitter()
	transmit(from.frame(to.HardwareAddr("upper"), "", group, 0, 112, 1))
	transmit(from.frame(to.HardwareAddr("eth0"), "", group, 0, 112, 2))
	expect(received{lower, 2}, received{upper, 1})
	transmit(from.frame(groupMAC, "", group, 0, 112, 3))
	expect(received{lower, 3}, received{upper, 3})
	to.settles()
}

// The receive buffer holds what comes while the thread does not run.
func TestNetnsBurst(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	const burst = 500
	index := from.Index("eth0")
	for i := range burst {
		if err := from.Send(index, from.addr, vrrpGroup, marked(byte(i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range burst {
		to.expect(marked(byte(i)))
	}
}

func TestNetnsWait(t *testing.T) {
	_, hosts := newLAN(t, 1)
	h := hosts[0]
	wait := func(deadline int64) time.Duration {
		start := h.Now()
		if err := h.Wait(deadline); err != nil {
			t.Fatal(err)
		}
		return time.Duration(h.Now() - start)
	}
	for _, past := range []int64{math.MinInt64, 0, 1, h.Now()} {
		wait(past) // It returns at all.
		wait(past)
	}

	var worst time.Duration
	for range 50 {
		deadline := h.Now() + int64(10*time.Millisecond)
		wait(deadline)
		late := time.Duration(h.Now() - deadline)
		if late < 0 {
			t.Errorf("returned %s too early", -late)
		}
		worst = max(worst, late)
	}
	t.Logf("measured: wait_lateness_worst=%.2fms target=5ms", float64(worst.Microseconds())/1000)
	if worst > 5*time.Second {
		t.Errorf("returned %s too late", worst)
	}

	for _, deadline := range []int64{math.MaxInt64, h.Now() + int64(time.Hour)} {
		h.Wake()
		h.Wake()
		wait(deadline)
		go h.Wake()
		wait(deadline)
	}
	deadline := h.Now() + int64(10*time.Millisecond)
	wait(deadline)
	if h.Now() < deadline {
		t.Error("a Wake that was noticed ended another Wait")
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	h.Wake()
}

func TestNetnsNoAllocation(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	index := from.Index("eth0")
	var p lan.Packet
	allocations := testing.AllocsPerRun(100, func() {
		if err := from.Send(index, from.addr, vrrpGroup, message); err != nil {
			t.Fatal(err)
		}
		if err := to.Wait(to.Now() + int64(time.Minute)); err != nil {
			t.Fatal(err)
		}
		for to.Receive(&p) {
		}
	})
	if allocations > 0 {
		t.Errorf("%.1f allocations for a packet", allocations)
	}
}

var vrrpGroup = netip.MustParseAddr("224.0.0.18")
