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

	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// message is an advertisement as keepalived sends it.
var message = []byte{0x31, 0x35, 0x96, 0x02, 0x00, 0x0a, 0x11, 0x5a, 192, 0, 2, 0x35, 192, 0, 2, 0x99}

// host is a Poller in its own namespace, which receives both families on eth0 and sends
// one.
type host struct {
	*netnstest.NS
	*lan.Poller
	t     *testing.T
	addr  netip.Addr
	group netip.Addr
	// conns are the Conns in use.
	conns map[lan.Interface]*lan.Conn
}

// onBoth runs a test with n hosts that send IPv4, and again with IPv6.
func onBoth(t *testing.T, n int, test func(*testing.T, []host)) {
	t.Helper()
	t.Run("IPv4", func(t *testing.T) {
		_, hosts := newLAN(t, n)
		test(t, hosts)
	})
	t.Run("IPv6", func(t *testing.T) {
		_, hosts := newLAN(t, n)
		for i := range hosts {
			hosts[i].addr, hosts[i].group = linkLocal(i), groupIPv6
		}
		test(t, hosts)
	})
}

// linkLocal returns the IPv6 address of host i.
func linkLocal(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: byte(i + 1)})
}

// newLAN returns hosts on one segment that send IPv4.
func newLAN(t *testing.T, n int) (*netnstest.LAN, []host) {
	t.Helper()
	l := netnstest.NewLAN(t, n)
	var hosts []host
	for i, ns := range l.Hosts {
		h := host{NS: ns, t: t, addr: l.Addr(i), group: groupIPv4, conns: make(map[lan.Interface]*lan.Conn)}
		h.Run("ip", "addr", "add", linkLocal(i).String()+"/64", "dev", "eth0", "nodad")
		var err error
		ns.Do(func() { h.Poller, err = lan.NewPoller() })
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

// listen makes the host use exactly the Conns of these links. It opens the Conns that
// are not in use yet or are broken.
func (h host) listen(links ...string) {
	h.t.Helper()
	before := maps.Clone(h.conns)
	broken := h.Broken()
	clear(h.conns)
	for _, l := range links {
		for _, ipv6 := range []bool{false, true} {
			i := lan.Interface{Index: h.Index(l), Name: l, IPv6: ipv6}
			p := before[i]
			if p == nil || slices.Contains(broken, p) {
				var err error
				if p, err = h.open(i); err != nil {
					h.t.Fatal(err)
				}
			}
			h.conns[i] = p
		}
	}
	h.Use(slices.Collect(maps.Values(h.conns)))
	for i, p := range before {
		if p == h.conns[i] {
			continue
		}
		if err := (lan.Conns{}).Close(p); err != nil {
			h.t.Error(err)
		}
	}
}

func (h host) open(i lan.Interface) (p *lan.Conn, err error) {
	h.Do(func() { p, err = lan.Conns{}.Open(i) })
	return p, err
}

func (h host) expectBroken(want ...lan.Interface) {
	h.t.Helper()
	var got []lan.Interface
	for _, p := range h.Broken() {
		got = append(got, p.Interface)
	}
	sort := cmpopts.SortSlices(func(a, b lan.Interface) bool { return !a.IPv6 && b.IPv6 })
	if d := cmp.Diff(want, got, sort); d != "" {
		h.t.Errorf("broken: -want +got\n%s", d)
	}
}

func (h host) send(link string, payload []byte) {
	h.t.Helper()
	if err := h.Send(h.Index(link), h.addr, h.group, payload); err != nil {
		h.t.Fatal(err)
	}
}

// next waits for a packet, for at most a minute.
func (h host) next() lan.Packet {
	h.t.Helper()
	var p lan.Packet
	deadline := h.Now() + int64(time.Minute)
	for !h.Receive(&p) {
		if h.Now() >= deadline {
			h.t.Fatal("no packet arrived")
		}
		if err := h.Wait(deadline); err != nil {
			h.t.Fatal(err)
		}
	}
	return p
}

// expect waits for a packet with the payload, and fails if another arrives first.
func (h host) expect(payload []byte) lan.Packet {
	h.t.Helper()
	p := h.next()
	if got := p.Data[h.headerLen():]; !bytes.Equal(got, payload) {
		h.t.Errorf("received %x, want %x", got, payload)
	}
	return p
}

// headerLen returns the length of the IP header of the family that the host sends.
func (h host) headerLen() int {
	if h.addr.Is6() {
		return 40
	}
	return 20
}

// marked returns a message that a test can distinguish from others.
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

func TestNetnsSendAndReceiveIPv6(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	source := linkLocal(0)
	if err := from.Send(from.Index("eth0"), source, groupIPv6, message); err != nil {
		t.Fatal(err)
	}
	p := to.next()
	if p.Index != to.Index("eth0") {
		t.Errorf("index %d, want %d", p.Index, to.Index("eth0"))
	}
	want := append([]byte{0x6c, 0, 0, 0, 0, 16, 112, 255}, source.AsSlice()...)
	want = append(append(want, groupIPv6.AsSlice()...), message...)
	if !bytes.Equal(p.Data, want) {
		t.Errorf("got  %x\nwant %x", p.Data, want)
	}
	var own lan.Packet
	if from.Receive(&own) {
		t.Errorf("received its own packet %x", own.Data)
	}
}

// A packet to one host arrives there unchanged, and the receiver does not answer with
// "protocol unreachable".
func TestNetnsUnicast(t *testing.T) {
	onBoth(t, 3, func(t *testing.T, hosts []host) {
		from, to := hosts[0], hosts[1]
		for mark := range byte(2) { // The first waits for the neighbor's MAC.
			if err := from.Send(from.Index("eth0"), from.addr, to.addr, marked(mark)); err != nil {
				t.Fatal(err)
			}
			p := to.expect(marked(mark))
			limit, destination := p.Data[8], p.Data[16:20]
			if to.addr.Is6() {
				limit, destination = p.Data[7], p.Data[24:40]
			}
			if limit != 255 || !bytes.Equal(destination, to.addr.AsSlice()) {
				t.Errorf("received %x, want one to %s with hop limit 255", p.Data, to.addr)
			}
		}
		hosts[2].settles()
		for line := range strings.Lines(to.Run("nstat", "-asz", "IcmpOutDestUnreachs", "Icmp6OutParmProblems")) {
			if fields := strings.Fields(line); fields[0] != "#kernel" && fields[1] != "0" {
				t.Errorf("the receiver answered: %s", line)
			}
		}
	})
}

// Unicast uses a route of its own interface, which may lead through a router, even if
// another interface has a better route.
func TestNetnsUnicastThroughARouter(t *testing.T) {
	onBoth(t, 2, func(t *testing.T, hosts []host) {
		wrongLAN, others := newLAN(t, 1)
		two, router, wrong := hosts[0], hosts[1], others[0]
		wrongLAN.Connect(two.NS, "eth1", "px")
		to, family, gateway := netip.MustParseAddr("198.51.100.9"), "-4", "203.0.113.1"
		if two.addr.Is6() {
			to, family, gateway = netip.MustParseAddr("2001:db8::9"), "-6", "fe80::99"
		}
		two.Run("ip", "addr", "add", "fe80::9/64", "dev", "eth1", "nodad")
		two.Run("ip", family, "route", "add", "default", "via", router.addr.String(), "dev", "eth0")
		two.Run("ip", family, "route", "add", to.String(), "via", gateway, "dev", "eth1", "onlink")
		two.Run("ip", family, "neigh", "add", gateway, "lladdr", wrong.HardwareAddr("eth0").String(), "dev", "eth1")
		if err := two.Send(two.Index("eth0"), two.addr, to, message); err != nil {
			t.Fatal(err)
		}
		if p := router.expect(message); !bytes.Contains(p.Data[:router.headerLen()], to.AsSlice()) {
			t.Errorf("the router received %x, want a packet for %s", p.Data, to)
		}
		wrong.settles()
	})
}

// Without IPv6 on an interface its IPv6 Conn does not open, and the IPv4 Conn works.
func TestNetnsIPv6IsOff(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	to.listen()
	i := lan.Interface{Index: to.Index("eth0"), Name: "eth0"}
	p, err := to.open(i)
	if err != nil {
		t.Fatal(err)
	}
	to.Use([]*lan.Conn{p})
	i.IPv6 = true
	refused := func(why string) {
		_, err := to.open(i)
		if ie, ok := errors.AsType[*lan.InterfaceError](err); !ok || ie.Interface != i {
			t.Errorf("%s: error is %v, want one of %+v", why, err, i)
		}
		t.Logf("the error reads: %v", err)
	}
	to.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "1")
	refused("disabled")
	to.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "0")
	to.Run("ip", "link", "set", "eth0", "mtu", "1000") // IPv6 needs 1280.
	refused("a small MTU")
	from.send("eth0", message)
	to.expect(message)
	if err := to.Send(i.Index, linkLocal(1), groupIPv6, message); err == nil {
		t.Error("sent by IPv6 without a Conn for it")
	}
	to.expectBroken()
	to.Use(nil)
	if err := (lan.Conns{}).Close(p); err != nil {
		t.Error(err)
	}
}

// sum returns the one's complement sum of b (RFC 1071).
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return uint16(s&0xffff + s>>16)
}

// The kernel's timestamp is the arrival time of a packet that had to wait.
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

// A node receives VRRP behind a firewall that drops it.
func TestNetnsReceiveBehindAFirewall(t *testing.T) {
	onBoth(t, 2, func(t *testing.T, hosts []host) {
		from, to := hosts[0], hosts[1]
		to.RunInput(`
table inet firewall {
	chain prerouting { type filter hook prerouting priority -300; meta l4proto 112 counter drop; }
	chain input { type filter hook input priority 0; meta l4proto 112 counter drop; }
}`, "nft", "-f", "-")
		from.send("eth0", message)
		to.expect(message)
	})
}

// A firewall can match the priority of control traffic.
func TestNetnsSendBlockedByAFirewall(t *testing.T) {
	onBoth(t, 1, func(t *testing.T, hosts []host) {
		h := hosts[0]
		h.RunInput("table inet firewall { chain output { type filter hook output priority 0; meta l4proto 112 meta priority 0:7 drop; }; }", "nft", "-f", "-")
		err := h.Send(h.Index("eth0"), h.addr, h.group, message)
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("error is %v, want EPERM", err)
		}
		t.Logf("the error reads: %v", err)
	})
}

// Other programs on the same node do not receive the packets that are sent.
func TestNetnsSendIsNotLoopedBack(t *testing.T) {
	onBoth(t, 2, func(t *testing.T, hosts []host) {
		from, to := hosts[0], hosts[1]
		network := "ip4:112"
		if from.addr.Is6() {
			network = "ip6:112"
		}
		program := from.ListenPacket(network, "")
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
	})
}

func TestNetnsSendErrors(t *testing.T) {
	_, hosts := newLAN(t, 1)
	h := hosts[0]
	for name, err := range map[string]error{
		"no such link":       h.Send(99, h.addr, h.group, message),
		"no source":          h.Send(h.Index("eth0"), netip.Addr{}, h.group, message),
		"no destination":     h.Send(h.Index("eth0"), h.addr, netip.Addr{}, message),
		"neither":            h.Send(h.Index("eth0"), netip.Addr{}, netip.Addr{}, message),
		"two families":       h.Send(h.Index("eth0"), linkLocal(0), h.group, message),
		"no route":           h.Send(h.Index("eth0"), linkLocal(0), netip.MustParseAddr("2001:db8::9"), message),
		"one beyond the MTU": h.Send(h.Index("eth0"), linkLocal(0), groupIPv6, make([]byte, 1461)),
		"an endless message": h.Send(h.Index("eth0"), h.addr, h.group, make([]byte, 70000)),
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
	two.Run("ip", "addr", "add", "fe80::9/64", "dev", "eth1", "nodad")
	two.listen("eth0", "eth1")

	hosts[1].send("eth0", marked(1))
	if p := two.expect(marked(1)); p.Index != two.Index("eth0") {
		t.Errorf("a packet from eth0 has index %d", p.Index)
	}
	others[0].send("eth0", marked(2))
	if p := two.expect(marked(2)); p.Index != two.Index("eth1") {
		t.Errorf("a packet from eth1 has index %d", p.Index)
	}
	two.send("eth1", marked(3))
	two.send("eth0", marked(4))
	others[0].expect(marked(3))
	hosts[1].expect(marked(4))

	two.addr, two.group = linkLocal(0), groupIPv6
	two.send("eth1", marked(5))
	two.send("eth0", marked(6))
	for mark, h := range map[byte]host{5: others[0], 6: hosts[1]} {
		if p := h.next(); !bytes.HasSuffix(p.Data, marked(mark)) {
			t.Errorf("received %x, want %x", p.Data, marked(mark))
		}
	}
}

func TestNetnsUse(t *testing.T) {
	onBoth(t, 2, func(t *testing.T, hosts []host) {
		from, to := hosts[0], hosts[1]
		member := func() bool {
			return slices.Contains(strings.Fields(to.Run("ip", "maddr", "show", "dev", "eth0")), to.group.String())
		}
		if !member() {
			t.Errorf("not a member of %s", to.group)
		}
		from.send("eth0", marked(1))
		to.listen("eth0", "lo")
		to.expect(marked(1)) // Using the same Conn again keeps waiting packets.

		index := to.Index("eth0")
		to.listen("lo")
		if err := to.Send(index, to.addr, to.group, message); err == nil {
			t.Error("sent without a Conn")
		}
		if member() {
			t.Errorf("still a member of %s", to.group)
		}
		from.send("eth0", marked(2))
		to.settles()
		to.listen("eth0")
		from.send("eth0", marked(3))
		to.expect(marked(3))
		to.expectBroken()
	})
}

func TestNetnsConns(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	_, err := to.open(lan.Interface{Index: 99, Name: "eth99"})
	if ie, ok := errors.AsType[*lan.InterfaceError](err); !ok || ie.Index != 99 || ie.Name != "eth99" {
		t.Errorf("error is %v, want one of eth99", err)
	}
	t.Logf("the error reads: %v", err)

	// A Conn queues packets before it is used.
	to.listen()
	p, err := to.open(lan.Interface{Index: to.Index("eth0"), Name: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	from.send("eth0", marked(1))
	to.settles()
	to.Use([]*lan.Conn{p})
	to.expect(marked(1))

	to.Use(nil)
	if err := (lan.Conns{}).Close(p); err != nil {
		t.Error(err)
	}
	// A second Close does not close the descriptors of another Conn.
	other, err := to.open(p.Interface)
	if err != nil {
		t.Fatal(err)
	}
	err = lan.Conns{}.Close(p)
	if err == nil {
		t.Error("closed a Conn twice")
	}
	t.Logf("the error reads: %v", err)
	if err := (lan.Conns{}).Close(other); err != nil {
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
	both := []lan.Interface{{Index: index, Name: "eth0"}, {Index: index, Name: "eth0", IPv6: true}}
	to.expectBroken()
	to.Run("ip", "link", "del", "eth0")
	to.settles()
	to.expectBroken(both...)
	if err := to.Send(index, to.addr, to.group, message); err == nil {
		t.Error("sent on a deleted link")
	}

	to.Run("ip", "link", "add", "eth0", "index", fmt.Sprint(index), "type", "veth", "peer", "name", "p1", "netns", l.Switch.Path())
	to.Run("ip", "link", "set", "eth0", "up")
	l.Switch.Run("ip", "link", "set", "p1", "master", "br0", "up")
	to.Run("ip", "addr", "add", "192.0.2.2/24", "dev", "eth0")
	to.expectBroken(both...)
	to.listen("eth0")
	to.expectBroken()
	from.until(to)
}

// An MTU that is too small for IPv6, even for a moment, ends the memberships of IPv6
// groups: hardware may then drop packets to the groups.
func TestNetnsMTUDips(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	for _, h := range hosts {
		h.listen("eth0")
	}
	ipv6 := lan.Interface{Index: to.Index("eth0"), Name: "eth0", IPv6: true}
	member := func() bool {
		return strings.Contains(to.Run("ip", "maddr", "show", "dev", "eth0"), groupIPv6.String())
	}
	to.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "1")
	to.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "0")
	to.Run("ip", "link", "set", "eth0", "down")
	to.Run("ip", "link", "set", "eth0", "up")
	to.expectBroken()
	if !member() {
		t.Error("no longer a member of ff02::12 although IPv6 was only disabled and enabled")
	}
	to.Run("ip", "link", "set", "eth0", "mtu", "1279")
	to.expectBroken(ipv6)
	to.Run("ip", "link", "set", "eth0", "mtu", "1500")
	to.expectBroken(ipv6)
	to.listen() // Close the Conns first.
	to.listen("eth0")
	to.expectBroken()
	if !member() {
		t.Error("no member of ff02::12 after the Conn was reopened")
	}
	from.until(to)
}

// settles checks that Wait does not return repeatedly without cause.
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

// until sends until a packet has woken to, for at most a minute: a link that has just
// come up loses some packets.
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
	groupIPv4    = netip.MustParseAddr("224.0.0.18")
	groupIPv6    = netip.MustParseAddr("ff02::12")
	groupMACIPv4 = net.HardwareAddr{0x01, 0x00, 0x5e, 0x00, 0x00, 0x12}
	groupMACIPv6 = net.HardwareAddr{0x33, 0x33, 0x00, 0x00, 0x00, 0x12}
)

// frame returns an Ethernet frame with a marked message from eth0, whose IP header has
// the flags and protocol. tag is a VLAN tag or empty.
func (h host) frame(mac net.HardwareAddr, tag string, to netip.Addr, flags, protocol, mark byte) []byte {
	b := append(bytes.Clone(mac), h.HardwareAddr("eth0")...)
	b = append(b, tag...)
	b = append(b, 8, 0)
	header := append([]byte{0x45, 0xc0, 0, 37, 0, 1, flags, 0, 255, protocol, 0, 0, 192, 0, 2, 1}, to.AsSlice()...)
	binary.BigEndian.PutUint16(header[10:], ^sum(header))
	return append(append(b, header...), marked(mark)...)
}

// frameIPv6 returns an Ethernet frame from eth0 whose IPv6 header has the next header
// protocol, which matches the following bytes.
func (h host) frameIPv6(mac net.HardwareAddr, tag string, to netip.Addr, protocol byte, following []byte) []byte {
	b := append(bytes.Clone(mac), h.HardwareAddr("eth0")...)
	b = append(b, tag...)
	b = append(b, 0x86, 0xdd, 0x6c, 0, 0, 0, 0, byte(len(following)), protocol, 255)
	b = append(b, linkLocal(0).AsSlice()...)
	b = append(b, to.AsSlice()...)
	return append(b, following...)
}

// advertisement returns a frame with a marked message to the group. A nil mac means the
// MAC address of the group.
func (h host) advertisement(mac net.HardwareAddr, mark byte) []byte {
	if h.addr.Is6() {
		if mac == nil {
			mac = groupMACIPv6
		}
		return h.frameIPv6(mac, "", groupIPv6, 112, marked(mark))
	}
	if mac == nil {
		mac = groupMACIPv4
	}
	return h.frame(mac, "", groupIPv4, 0, 112, mark)
}

// transmitter returns a function that sends frames on eth0.
func (h host) transmitter() func(frame []byte) {
	h.t.Helper()
	var conn *packet.Conn
	var err error
	index := h.Index("eth0")
	h.Do(func() { conn, err = packet.Listen(&net.Interface{Index: index}, packet.Raw, 0, nil) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return func(frame []byte) {
		h.t.Helper()
		if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: groupMACIPv4}); err != nil {
			h.t.Fatalf("send %x: %v", frame, err)
		}
	}
}

func TestNetnsReceivesNothingElse(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	to.Run("ip", "link", "set", "eth0", "promisc", "on")
	transmit := from.transmitter()
	here, stranger := to.HardwareAddr("eth0"), net.HardwareAddr{2, 9, 9, 9, 9, 9}
	const vlan = "\x81\x00\x00\x05"
	for _, frame := range [][]byte{
		from.frame(groupMACIPv4, "", groupIPv4, 0, 17, 1),     // another protocol
		from.frame(groupMACIPv4, "", groupIPv4, 0x20, 112, 2), // a first fragment
		from.frame(groupMACIPv4, "", groupIPv4, 0x01, 112, 3), // a later fragment
		from.frame(stranger, "", groupIPv4, 0, 112, 4),        // for another host
		from.frame(stranger, "", to.addr, 0, 112, 5),
		from.frame(groupMACIPv4, vlan, groupIPv4, 0, 112, 6),      // of a VLAN that is not here
		from.frame(groupMACIPv4, "", groupIPv4, 0, 112, 7)[:14+9], // cut off before the protocol
		from.frame(groupMACIPv4, "", groupIPv4, 0, 112, 8),        // an advertisement
		from.frame(here, "", groupIPv4, 0x40, 112, 9),             // an advertisement to this host only
		from.frame(here, "", to.addr, 0, 112, 10),                 // unicast
	} {
		transmit(frame)
	}
	for _, mark := range []byte{8, 9, 10} {
		to.expect(marked(mark))
	}
	to.settles()

	to.addr = linkLocal(1)
	fragment := []byte{112, 0, 0, 0, 0, 0, 0, 1}
	hopByHop := []byte{112, 0, 1, 4, 0, 0, 0, 0}
	for _, frame := range [][]byte{
		from.frameIPv6(groupMACIPv6, "", groupIPv6, 17, marked(1)), // another protocol
		from.frameIPv6(groupMACIPv6, "", groupIPv6, 44, append(fragment, marked(2)...)),
		from.frameIPv6(groupMACIPv6, "", groupIPv6, 0, append(hopByHop, marked(3)...)),
		from.frameIPv6(stranger, "", groupIPv6, 112, marked(4)), // for another host
		from.frameIPv6(stranger, "", to.addr, 112, marked(5)),
		from.frameIPv6(groupMACIPv6, vlan, groupIPv6, 112, marked(6)), // of a VLAN that is not here
		from.frameIPv6(groupMACIPv6, "", groupIPv6, 112, nil)[:14+6],  // cut off before the next header
		from.frameIPv6(groupMACIPv6, "", groupIPv6, 112, marked(8)),   // an advertisement
		from.frameIPv6(here, "", groupIPv6, 112, marked(9)),           // an advertisement to this host only
		from.frameIPv6(here, "", to.addr, 112, marked(10)),            // unicast
	} {
		transmit(frame)
	}
	for _, mark := range []byte{8, 9, 10} {
		to.expect(marked(mark))
	}
	to.settles()
}

// Packets for an interface stacked on another are received only on the upper one.
func TestNetnsStackedInterfaces(t *testing.T) {
	onBoth(t, 2, func(t *testing.T, hosts []host) {
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
		transmit(from.advertisement(to.HardwareAddr("upper"), 1))
		transmit(from.advertisement(to.HardwareAddr("eth0"), 2))
		expect(received{lower, 2}, received{upper, 1})
		transmit(from.advertisement(nil, 3))
		expect(received{lower, 3}, received{upper, 3})
		to.settles()
	})
}

// The receive buffer holds packets that arrive while the thread does not run.
func TestNetnsBurst(t *testing.T) {
	onBoth(t, 2, func(t *testing.T, hosts []host) {
		from, to := hosts[0], hosts[1]
		const burst = 500
		index := from.Index("eth0")
		for i := range burst {
			if err := from.Send(index, from.addr, from.group, marked(byte(i))); err != nil {
				t.Fatal(err)
			}
		}
		for i := range burst {
			to.expect(marked(byte(i)))
		}
	})
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
		t.Error("one Wake ended two Waits")
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	h.Wake()
}

func TestNetnsNoAllocation(t *testing.T) {
	onBoth(t, 2, func(t *testing.T, hosts []host) {
		from, to := hosts[0], hosts[1]
		index := from.Index("eth0")
		var p lan.Packet
		for _, destination := range []netip.Addr{from.group, to.addr} {
			allocations := testing.AllocsPerRun(100, func() {
				if err := from.Send(index, from.addr, destination, message); err != nil {
					t.Fatal(err)
				}
				if err := to.Wait(to.Now() + int64(time.Minute)); err != nil {
					t.Fatal(err)
				}
				for to.Receive(&p) {
				}
			})
			if allocations > 0 {
				t.Errorf("%.1f allocations for a packet to %s", allocations, destination)
			}
		}
	})
}

// A packet sent by a link stacked on the interface has the MAC address of that link, and
// is received like any other.
func TestNetnsSendVia(t *testing.T) {
	onBoth(t, 2, func(t *testing.T, hosts []host) {
		from, to := hosts[0], hosts[1]
		from.Run("ip", "link", "add", "upper", "link", "eth0", "address", "00:00:5e:00:01:32", "type", "macvlan", "mode", "bridge")
		from.Sysctl("net.ipv6.conf.upper.addr_gen_mode", "1")
		index, upper := from.Index("eth0"), from.Index("upper")
		if err := from.SendVia(index, upper, from.addr, from.group, message); err == nil {
			t.Error("sent by a link that is down")
		}
		from.Run("ip", "link", "set", "upper", "up")
		from.Run("ip", "addr", "add", "192.0.2.100/32", "dev", "upper", "scope", "host")
		from.Run("ip", "addr", "add", "2001:db8::100/128", "dev", "upper", "nodad", "preferred_lft", "0")
		to.Run("nft", "add table netdev seen; add chain netdev seen ingress { type filter hook ingress device eth0 priority 0; }; "+
			"add rule netdev seen ingress ether saddr 00:00:5e:00:01:32 meta l4proto 112 counter")
		if err := from.SendVia(index, upper, from.addr, from.group, message); err != nil {
			t.Fatal(err)
		}
		to.expect(message)
		if got := to.Run("nft", "list table netdev seen"); !strings.Contains(got, "packets 1 ") {
			t.Errorf("not from the MAC address of the link:\n%s", got)
		}
		// The sender does not receive it, and the interface works as before.
		if err := from.Send(index, from.addr, from.group, message); err != nil {
			t.Fatal(err)
		}
		to.expect(message)
		if got := to.Run("nft", "list table netdev seen"); !strings.Contains(got, "packets 1 ") {
			t.Errorf("from the MAC address of the link:\n%s", got)
		}
		from.settles()
		if err := from.SendVia(index, 4711, from.addr, from.group, message); err == nil {
			t.Error("sent by a link that does not exist")
		}
		allocations := testing.AllocsPerRun(100, func() {
			if err := from.SendVia(index, upper, from.addr, from.group, message); err != nil {
				t.Fatal(err)
			}
		})
		if allocations > 0 {
			t.Errorf("%.1f allocations for a packet", allocations)
		}
	})
}
