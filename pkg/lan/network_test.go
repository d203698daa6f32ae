package lan_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

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
}

// newLAN returns hosts on one segment.
func newLAN(t *testing.T, n int) (*netnstest.LAN, []host) {
	t.Helper()
	l := netnstest.NewLAN(t, n)
	var hosts []host
	for i, ns := range l.Hosts {
		h := host{NS: ns, t: t, addr: l.Addr(i)}
		var err error
		ns.Do(func() { h.Network, err = lan.NewNetwork() })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		if err := h.listen("eth0"); err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	return l, hosts
}

func (h host) listen(links ...string) error {
	h.t.Helper()
	var interfaces []lan.Interface
	for _, l := range links {
		interfaces = append(interfaces, lan.Interface{Index: h.index(l), Name: l})
	}
	var err error
	h.Do(func() { err = h.Network.Listen(interfaces) })
	return err
}

func (h host) index(link string) int {
	h.t.Helper()
	var index int
	out := h.Run("ip", "-o", "link", "show", "dev", link)
	if _, err := fmt.Sscanf(out, "%d:", &index); err != nil {
		h.t.Fatalf("index of %s: %v in %q", link, err, out)
	}
	return index
}

func (h host) mac(link string) net.HardwareAddr {
	h.t.Helper()
	fields := strings.Fields(h.Run("ip", "-o", "link", "show", "dev", link))
	mac, err := net.ParseMAC(fields[slices.Index(fields, "link/ether")+1])
	if err != nil {
		h.t.Fatal(err)
	}
	return mac
}

func (h host) send(link string, payload []byte) {
	h.t.Helper()
	if err := h.Send(h.index(link), h.addr, payload); err != nil {
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

	if p.Index != to.index("eth0") {
		t.Errorf("index %d, want %d", p.Index, to.index("eth0"))
	}
	if mac := from.mac("eth0"); !bytes.Equal(p.HardwareAddr[:], mac) {
		t.Errorf("hardware address %x, want %x", p.HardwareAddr, mac)
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
	err := h.Send(h.index("eth0"), h.addr, message)
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
		"no such link":       h.Send(99, h.addr, message),
		"no source":          h.Send(h.index("eth0"), netip.Addr{}, message),
		"IPv6":               h.Send(h.index("eth0"), netip.MustParseAddr("fe80::1"), message),
		"an endless message": h.Send(h.index("eth0"), h.addr, make([]byte, 70000)),
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
	if err := two.listen("eth0", "eth1"); err != nil {
		t.Fatal(err)
	}

	hosts[1].send("eth0", marked(1))
	if p := two.expect(marked(1)); p.Index != two.index("eth0") {
		t.Errorf("what came in on eth0 has index %d", p.Index)
	}
	others[0].send("eth0", marked(2))
	if p := two.expect(marked(2)); p.Index != two.index("eth1") {
		t.Errorf("what came in on eth1 has index %d", p.Index)
	}
	two.send("eth1", marked(3))
	two.send("eth0", marked(4))
	others[0].expect(marked(3))
	hosts[1].expect(marked(4))
}

func TestNetnsListen(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	member := func() bool { return strings.Contains(to.Run("ip", "maddr", "show", "dev", "eth0"), "224.0.0.18") }
	if !member() {
		t.Error("not a member of 224.0.0.18")
	}
	from.send("eth0", marked(1))
	if err := to.listen("eth0", "lo"); err != nil {
		t.Fatal(err)
	}
	to.expect(marked(1)) // The same again keeps what is waiting.

	if err := to.listen("lo"); err != nil {
		t.Fatal(err)
	}
	if member() {
		t.Error("still a member of 224.0.0.18")
	}
	from.send("eth0", marked(2))
	to.settles()
	if err := to.listen("eth0"); err != nil {
		t.Fatal(err)
	}
	from.send("eth0", marked(3))
	to.expect(marked(3))

	var err error
	to.Do(func() {
		err = to.Network.Listen([]lan.Interface{{Index: 99, Name: "eth99"}, {Index: to.index("eth0"), Name: "eth0"}})
	})
	var ie *lan.InterfaceError
	if !errors.As(err, &ie) || ie.Index != 99 {
		t.Errorf("error is %v, want one of eth99", err)
	}
	t.Logf("the error reads: %v", err)
	from.send("eth0", marked(4))
	to.expect(marked(4))
}

func TestNetnsInterfaceGoesDownAndUp(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	to.Run("ip", "link", "set", "eth0", "down")
	to.settles()
	to.Run("ip", "link", "set", "eth0", "up")
	from.until(to)
}

func TestNetnsInterfaceIsDeletedAndCreatedAgain(t *testing.T) {
	l, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	index := to.index("eth0")
	to.Run("ip", "link", "del", "eth0")
	to.settles()
	if err := to.Send(index, to.addr, message); err == nil {
		t.Error("sent on a link that is gone")
	}

	to.Run("ip", "link", "add", "eth0", "index", fmt.Sprint(index), "type", "veth", "peer", "name", "p1", "netns", l.Switch.Path())
	to.Run("ip", "link", "set", "eth0", "up")
	l.Switch.Run("ip", "link", "set", "p1", "master", "br0", "up")
	to.Run("ip", "addr", "add", "192.0.2.2/24", "dev", "eth0")
	if err := to.listen("eth0"); err != nil {
		t.Fatal(err)
	}
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

func TestNetnsReceivesNothingElse(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	to.Run("ip", "link", "set", "eth0", "promisc", "on")
	group := net.HardwareAddr{0x01, 0x00, 0x5e, 0x00, 0x00, 0x12}
	frame := func(destination net.HardwareAddr, tag string, flags, protocol, mark byte) []byte {
		b := append(bytes.Clone(destination), from.mac("eth0")...)
		b = append(b, tag...)
		b = append(b, 8, 0)
		header := []byte{0x45, 0xc0, 0, 37, 0, 1, flags, 0, 255, protocol, 0, 0, 192, 0, 2, 1, 224, 0, 0, 18}
		binary.BigEndian.PutUint16(header[10:], ^sum(header))
		return append(append(b, header...), marked(mark)...)
	}
	frames := []struct {
		name  string
		bytes []byte
	}{
		{"another protocol", frame(group, "", 0, 17, 1)},
		{"a first fragment", frame(group, "", 0x20, 112, 2)},
		{"a later fragment", frame(group, "", 0x01, 112, 3)},
		{"for another host", frame(net.HardwareAddr{2, 9, 9, 9, 9, 9}, "", 0, 112, 4)},
		{"of a VLAN that is not here", frame(group, "\x81\x00\x00\x05", 0, 112, 5)},
		{"an advertisement", frame(group, "", 0, 112, 6)},
		{"an advertisement to this host only", frame(to.mac("eth0"), "", 0x40, 112, 7)},
	}
	var conn *packet.Conn
	var err error
	from.Do(func() {
		conn, err = packet.Listen(&net.Interface{Index: from.index("eth0")}, packet.Raw, unix.ETH_P_IP, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, f := range frames {
		if _, err := conn.WriteTo(f.bytes, &packet.Addr{HardwareAddr: group}); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
	}
	to.expect(marked(6))
	to.expect(marked(7))
}

// The receive buffer holds what comes while the thread does not run.
func TestNetnsBurst(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	const burst = 500
	index := from.index("eth0")
	for i := range burst {
		if err := from.Send(index, from.addr, marked(byte(i))); err != nil {
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
	index := from.index("eth0")
	var p lan.Packet
	allocations := testing.AllocsPerRun(100, func() {
		if err := from.Send(index, from.addr, message); err != nil {
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
