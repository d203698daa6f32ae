package datapath_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// otherRules are what another program translates on a cluster6: the same ports
// as in testdata/kube-proxy.nft, to the pod.
const otherRules = `
table ip6 other {
	chain ports {
		meta l4proto { tcp, udp } th dport { 3000, 30080, 30081 } fib daddr type local dnat to [fd00:10:244:1::2]:8080
	}
	chain prerouting {
		type nat hook prerouting priority -100;
		jump ports
	}
	chain output {
		type nat hook output priority -100;
		jump ports
	}
}
`

// cluster6 is a node with a pod, and a client on the node's LAN.
type cluster6 struct {
	client, node, pod *netnstest.NS
}

func newCluster6(t *testing.T) *cluster6 {
	t.Helper()
	lan := netnstest.NewLAN(t, 2)
	c := &cluster6{client: lan.Hosts[0], node: lan.Hosts[1], pod: netnstest.New(t, "pod")}
	add := func(ns *netnstest.NS, address, link string) {
		ns.Run("ip", "addr", "add", address, "dev", link, "nodad")
	}
	add(c.client, clientIP6+"/64", "eth0")
	add(c.node, nodeIP6+"/64", "eth0")
	// A router asks for its neighbors from its link-local address, which must
	// be of use at once.
	c.node.Sysctl("net.ipv6.conf.default.accept_dad", "0")
	c.pod.Sysctl("net.ipv6.conf.default.accept_dad", "0")
	netnstest.Veth(c.node, "veth1", c.pod, "eth0")
	add(c.node, "fd00:10:244:1::1/64", "veth1")
	add(c.pod, podIP6+"/64", "eth0")
	c.pod.Run("ip", "route", "add", "default", "via", "fd00:10:244:1::1")
	c.node.Sysctl("net.ipv6.conf.all.forwarding", "1")
	sendAllErrors(c.node)
	for _, a := range []string{vip6, plainVIP6} {
		c.node.Run("ip", "addr", "add", a+"/128", "dev", "eth0", "nodad", "noprefixroute", "preferred_lft", "0")
	}
	c.node.RunInput(otherRules, "nft", "-f", "-")
	serve(c.pod, "["+podIP6+"]:8080")
	// Not on all addresses: what a datagram to the VIP is answered with would
	// come from another one.
	for _, a := range []string{vip6, plainVIP6, nodeIP6} {
		serve(c.node, "["+a+"]:22")
	}
	return c
}

func (c *cluster6) sync(t *testing.T, forwards ...desired.Forward) {
	t.Helper()
	c.node.Do(func() {
		if err := datapath.NewRules().Sync(desired.Datapath{Forwards: forwards}); err != nil {
			t.Fatal(err)
		}
	})
}

// forward6 is the VIP, with the NodePort that its Service has.
func forward6() desired.Forward {
	return desired.Forward{VIP: netip.MustParseAddr(vip6), Ports: []desired.Port{
		{Protocol: desired.TCP, Port: 30080, Target: netip.MustParseAddrPort("[" + nodeIP6 + "]:30080")},
		{Protocol: desired.UDP, Port: 30080, Target: netip.MustParseAddrPort("[" + nodeIP6 + "]:30080")},
	}}
}

// TestNetnsGuardIPv6 refuses every port of an IPv6 VIP but its own NodePorts.
func TestNetnsGuardIPv6(t *testing.T) {
	t.Parallel()
	c := newCluster6(t)
	everywhere := map[string]*netnstest.NS{"client": c.client, "pod": c.pod, "node": c.node}
	// greets fails the test unless somebody answers.
	greets := func(name string, from *netnstest.NS, network, address, port, want string) {
		t.Helper()
		got, err := greet(from, network, "["+address+"]"+port)
		if err != nil || got.String() != want {
			t.Errorf("%s, %s [%s]%s: the server saw %s, %v, want %s", name, network, address, port, got, err, want)
		}
	}
	// Without the table every port answers.
	for _, port := range []string{":22", hostPort, otherNodePort, ownNodePort} {
		greets("before", c.client, "tcp", vip6, port, clientIP6)
		greets("before", c.client, "udp", vip6, port, clientIP6)
	}
	c.sync(t, forward6())

	for _, port := range []string{":22", ":80", ":9999", hostPort, otherNodePort} {
		for name, from := range everywhere {
			for _, network := range []string{"tcp", "udp"} {
				if _, err := greet(from, network, "["+vip6+"]"+port); !refused(err) {
					t.Errorf("%s, %s port %s: got %v, want connection refused", name, network, port, err)
				}
			}
		}
	}
	for _, network := range []string{"tcp", "udp"} {
		greets("own NodePort", c.client, network, vip6, ownNodePort, "fd00:10:244:1::1")
		for _, address := range []string{nodeIP6, plainVIP6} {
			for _, port := range []string{":22", hostPort, otherNodePort, ownNodePort} {
				greets("not guarded", c.client, network, address, port, clientIP6)
			}
		}
	}

	// Once no Service is behind it, the node's listeners are the point.
	c.sync(t)
	greets("no Service", c.client, "tcp", vip6, ":22", clientIP6)
	c.sync(t, desired.Forward{VIP: netip.MustParseAddr(vip6)})
	if _, err := greet(c.client, "tcp", "["+vip6+"]"+ownNodePort); !refused(err) {
		t.Errorf("a NodePort that is the VIP's no more: got %v, want connection refused", err)
	}
}

// TestNetnsGuardIPv6LeavesAlone lets through what is neither TCP nor UDP:
// neighbor discovery, ping and VRRP.
func TestNetnsGuardIPv6LeavesAlone(t *testing.T) {
	t.Parallel()
	c := newCluster6(t)
	c.sync(t, forward6())
	if !c.client.Resolves(vip6) {
		t.Error("the VIP is not answered for")
	}
	exchange := func(name, network string, from *netnstest.NS, send, want []byte) {
		t.Helper()
		var conn *net.IPConn
		var err error
		from.Do(func() { conn, err = net.DialIP(network, nil, &net.IPAddr{IP: net.ParseIP(vip6)}) })
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		receiver := conn
		if network == "ip6:112" {
			c.node.Do(func() { receiver, err = net.ListenIP(network, &net.IPAddr{IP: net.ParseIP(vip6)}) })
			if err != nil {
				t.Fatal(err)
			}
			defer receiver.Close()
		}
		if err := receiver.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(send); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1500)
		for {
			n, _, err := receiver.ReadFrom(b)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			if strings.HasPrefix(string(b[:n]), string(want)) {
				return
			}
		}
	}
	// Type 128 and 129, code 0, checksum by the kernel, identifier, sequence
	// number (RFC 4443 section 4.1).
	ping, pong := []byte{128, 0, 0, 0, 0, 1, 0, 1}, []byte{129, 0}
	exchange("ping of the client", "ip6:ipv6-icmp", c.client, ping, pong)
	exchange("ping of the node", "ip6:ipv6-icmp", c.node, ping, pong)
	exchange("VRRP", "ip6:112", c.client, []byte{0x31, 50, 100, 1}, []byte{0x31, 50})

	// A connection that the node opens from the VIP.
	serve(c.client, "["+clientIP6+"]:7")
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(vip6), 0)), Timeout: patience}
	c.node.Do(func() {
		conn, err := d.Dial("tcp", "["+clientIP6+"]:7")
		if err != nil {
			t.Errorf("from the VIP: %v", err)
			return
		}
		defer conn.Close()
		if got, err := say(conn, "hello\n"); err != nil || got.Addr().String() != vip6 {
			t.Errorf("from the VIP: the client saw %s, %v, want %s", got, err, vip6)
		}
	})
}

// TestNetnsGuardIPv6Comes leaves open what was open before the VIP was guarded.
func TestNetnsGuardIPv6Comes(t *testing.T) {
	t.Parallel()
	c := newCluster6(t)
	var conns []net.Conn
	for _, from := range []*netnstest.NS{c.client, c.node} {
		for _, network := range []string{"tcp", "udp"} {
			for _, port := range []string{":22", hostPort} {
				conn, err := dial(from, network, 0, "["+vip6+"]"+port)
				if err != nil {
					t.Fatalf("%s port %s: %v", network, port, err)
				}
				defer conn.Close()
				if _, err := say(conn, "before\n"); err != nil {
					t.Fatalf("%s port %s: %v", network, port, err)
				}
				conns = append(conns, conn)
			}
		}
	}
	c.sync(t, forward6())
	for _, conn := range conns {
		network, address := conn.RemoteAddr().Network(), conn.RemoteAddr().String()
		if _, err := say(conn, "after\n"); err != nil {
			t.Errorf("open: %s %s -> %s: %v", network, conn.LocalAddr(), address, err)
		}
		if _, err := greet(c.client, network, address); !refused(err) {
			t.Errorf("new: %s %s: got %v, want connection refused", network, address, err)
		}
	}
}

// TestNetnsGuardIPv6Error has the error about a UDP port come from the VIP.
func TestNetnsGuardIPv6Error(t *testing.T) {
	t.Parallel()
	c := newCluster6(t)
	c.sync(t, forward6())
	errors := c.client.ListenPacket("ip6:ipv6-icmp", "::")
	for _, port := range []string{":80", ":22", hostPort} {
		if _, err := greet(c.client, "udp", "["+vip6+"]"+port); !refused(err) {
			t.Errorf("%s: got %v, want connection refused", port, err)
		}
		if err := errors.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1500)
		for {
			n, from, err := errors.ReadFrom(b)
			if err != nil {
				t.Fatalf("%s: no ICMPv6 error was received: %v", port, err)
			}
			// Type 1, destination unreachable (RFC 4443 section 3.1), of 8
			// bytes, before the quoted header.
			if n < 48 || b[0] != 1 {
				continue
			}
			to := netip.AddrFrom16([16]byte(b[8+24:]))
			if from.String() != vip6 || b[1] != 4 || to.String() != vip6 {
				t.Errorf("%s: the client got an error of code %d of %s about a packet to %s", port, b[1], from, to)
			}
			break
		}
	}
}
