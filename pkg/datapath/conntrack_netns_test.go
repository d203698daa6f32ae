package datapath

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/conntrack"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// flowRules send two VIPs of each family to an address each has in common with
// the other, with two ports, over zones of their own. NAT gives connections of
// one source port different ones where they meet.
const flowRules = `
table inet flows {
	chain pre {
		type filter hook prerouting priority -301;
		ip daddr 192.0.2.100 th dport { 80, 81 } ct original zone set 20000 ip daddr set 10.96.0.10
		ip daddr 192.0.2.101 th dport { 80, 81 } ct original zone set 20001 ip daddr set 10.96.0.10
		ip6 daddr 2001:db8::100 th dport { 80, 81 } ct original zone set 20002 ip6 daddr set fd00::10
		ip6 daddr 2001:db8::101 th dport { 80, 81 } ct original zone set 20003 ip6 daddr set fd00::10
	}
	chain post {
		type filter hook postrouting priority 200;
		ct direction reply ct original zone 20000 ip saddr set 192.0.2.100
		ct direction reply ct original zone 20001 ip saddr set 192.0.2.101
		ct direction reply ct original zone 20002 ip6 saddr set 2001:db8::100
		ct direction reply ct original zone 20003 ip6 saddr set 2001:db8::101
	}
	chain nat_pre { type nat hook prerouting priority -100; }
	chain nat_in { type nat hook input priority 100; }
}
`

// TestNetnsDeleteConnections has a client with the same source port in
// connections of all VIPs, ports and protocols, and of the bare target, and
// deletes those of one VIP's port 80.
func TestNetnsDeleteConnections(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		family   string
		targets  []string
		bare     string
		zone     uint16
		protocol desired.Protocol
	}{
		{"IPv4", []string{"192.0.2.100", "192.0.2.101"}, "10.96.0.10", 20000, desired.TCP},
		{"IPv4", []string{"192.0.2.100", "192.0.2.101"}, "10.96.0.10", 20000, desired.UDP},
		{"IPv6", []string{"2001:db8::100", "2001:db8::101"}, "fd00::10", 20002, desired.TCP},
		{"IPv6", []string{"2001:db8::100", "2001:db8::101"}, "fd00::10", 20002, desired.UDP},
	} {
		t.Run(test.family+" "+test.protocol.String(), func(t *testing.T) {
			client, node := newFlowNode(t)
			const localPort = 40000
			conns := make(map[string]net.Conn)
			for _, network := range []string{"tcp", "udp"} {
				for _, address := range append(slices.Clone(test.targets), test.bare) {
					for _, port := range []string{"80", "81"} {
						name := network + " " + net.JoinHostPort(address, port)
						conns[name] = connect(t, client, network, localPort, net.JoinHostPort(address, port))
						if err := echo(conns[name], name); err != nil {
							t.Fatalf("%s: %v", name, err)
						}
					}
				}
			}
			before := allConnections(t, node)
			if len(before) != len(conns) {
				t.Fatalf("%d entries for %d connections: %v", len(before), len(conns), before)
			}
			node.Do(func() {
				target := netip.AddrPortFrom(netip.MustParseAddr(test.bare), 80)
				if err := deleteConnections(map[flow]bool{
					{zone: test.zone, protocol: test.protocol, target: target}: true,
					{zone: 20009, protocol: test.protocol, target: target}:     true, // There is none.
				}); err != nil {
					t.Error(err)
				}
			})
			after := allConnections(t, node)
			want := fmt.Sprintf("%s to %s in zone %d", test.protocol, net.JoinHostPort(test.bare, "80"), test.zone)
			id, deleted := before[want]
			if _, left := after[want]; !deleted || left {
				t.Errorf("%s, id %x: left %t", want, id, left)
			}
			delete(before, want)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestNetnsDeleteManyConnections is for what the listing costs, and that
// deleting while listing leaves none out.
func TestNetnsDeleteManyConnections(t *testing.T) {
	t.Parallel()
	client, node := newFlowNode(t)
	const n = 2000
	client.Do(func() {
		for port := range n {
			c, err := net.DialUDP("udp", &net.UDPAddr{Port: 20000 + port}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 100), Port: 80})
			if err != nil {
				t.Fatal(err)
			}
			if err := echo(c, "hello"); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
	})
	node.Do(func() {
		start := time.Now()
		err := deleteConnections(map[flow]bool{{20000, desired.UDP, netip.MustParseAddrPort("10.96.0.10:80")}: true})
		took := time.Since(start)
		if err != nil {
			t.Error(err)
		}
		t.Logf("measured: delete_%d_connections=%s target=1s", n, took.Round(10*time.Microsecond))
		if took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
	if got := allConnections(t, node); len(got) != 0 {
		t.Errorf("%d are left", len(got))
	}
}

// newFlowNode returns a client, and a node with flowRules that echoes what it
// gets at their targets.
func newFlowNode(t *testing.T) (client, node *netnstest.NS) {
	t.Helper()
	lan := netnstest.NewLAN(t, 2)
	client, node = lan.Hosts[0], lan.Hosts[1]
	client.Run("ip", "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	client.Run("ip", "route", "add", "10.96.0.0/16", "via", "192.0.2.2")
	client.Run("ip", "route", "add", "fd00::/64", "via", "2001:db8::2")
	node.Run("ip", "addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad")
	for _, a := range []string{"192.0.2.100/32", "192.0.2.101/32", "2001:db8::100/128", "2001:db8::101/128"} {
		node.Run("ip", "addr", "add", a, "dev", "eth0", "nodad")
	}
	for _, a := range []string{"10.96.0.10", "fd00::10"} {
		node.Run("ip", "addr", "add", a, "dev", "lo", "nodad")
		for _, port := range []string{"80", "81"} {
			echoServer(node, net.JoinHostPort(a, port))
		}
	}
	node.RunInput(flowRules, "nft", "-f", "-")
	return client, node
}

// echoServer sends back what it gets, over TCP and UDP.
func echoServer(ns *netnstest.NS, address string) {
	l := ns.Listen("tcp", address)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 1500)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					_, _ = c.Write(b[:n])
				}
			}()
		}
	}()
	p := ns.ListenPacket("udp", address)
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(b[:n], from)
		}
	}()
}

// connect dials from a local port that several connections share.
func connect(t *testing.T, ns *netnstest.NS, network string, localPort int, address string) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: 5 * time.Second, Control: reuseAddress}
	if d.LocalAddr = net.Addr(&net.TCPAddr{Port: localPort}); network == "udp" {
		d.LocalAddr = &net.UDPAddr{Port: localPort}
	}
	var c net.Conn
	var err error
	ns.Do(func() { c, err = d.Dial(network, address) })
	if err != nil {
		t.Fatalf("%s %s: %v", network, address, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// echo sends text and waits for it to come back.
func echo(c net.Conn, text string) error {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(text)); err != nil {
		return err
	}
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err == nil && string(b[:n]) != text {
		err = fmt.Errorf("got %q", b[:n])
	}
	return err
}

// AllConnections is for the tests outside of the package.
var AllConnections = allConnections

// allConnections are all TCP and UDP entries of conntrack, with their ids.
func allConnections(t *testing.T, ns *netnstest.NS) map[string]string {
	t.Helper()
	all := make(map[string]string)
	ns.Do(func() {
		if err := conntrack.List(func(e conntrack.Entry) {
			protocol := desired.Protocol(e.Protocol)
			if protocol != desired.TCP && protocol != desired.UDP {
				return
			}
			name := fmt.Sprintf("%s to %s in zone %d", protocol, e.Destination, e.Zone)
			if _, twice := all[name]; twice {
				name += strings.Repeat("'", len(all))
			}
			all[name] = e.ID
		}); err != nil {
			t.Fatal(err)
		}
	})
	return all
}

func reuseAddress(_, _ string, raw syscall.RawConn) error {
	var optErr error
	err := raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	return errors.Join(err, optErr)
}

// TestNetnsConnectionsNotDeleted reports it, goes on with the update, and tries
// again.
func TestNetnsConnectionsNotDeleted(t *testing.T) {
	t.Parallel()
	ns := netnstest.New(t, "node")
	ns.Do(func() {
		to := func(target string, port uint16) desired.Datapath {
			return desired.Datapath{Forwards: []desired.Forward{{VIP: vipA, Ports: []desired.Port{
				{Protocol: desired.TCP, Port: port, Target: netip.AddrPortFrom(netip.MustParseAddr(target), port)},
			}}}}
		}
		stale := func(target string) map[flow]bool {
			return map[flow]bool{{20000, desired.TCP, netip.MustParseAddrPort(target)}: true}
		}
		var asked map[flow]bool
		failure := errors.New("no")
		d := NewRules()
		d.forget = func(flows map[flow]bool) error {
			asked = maps.Clone(flows)
			return failure
		}
		for _, step := range []struct {
			name    string
			wanted  desired.Datapath
			failure error
			asked   map[flow]bool
		}{
			{"first", to("10.96.0.10", 80), nil, map[flow]bool{}},
			{"changed", to("10.96.0.11", 80), failure, stale("10.96.0.10:80")},
			{"again", to("10.96.0.11", 80), failure, stale("10.96.0.10:80")},
			{"back", to("10.96.0.10", 80), failure, stale("10.96.0.11:80")},
			{"gone", desired.Datapath{}, nil, map[flow]bool{
				{20000, desired.TCP, netip.MustParseAddrPort("10.96.0.10:80")}: true,
				{20000, desired.TCP, netip.MustParseAddrPort("10.96.0.11:80")}: true,
			}},
			{"after it succeeded", desired.Datapath{}, nil, map[flow]bool{}},
		} {
			failure = step.failure
			if err := d.Sync(step.wanted); !errors.Is(err, step.failure) {
				t.Errorf("%s: got %v, want %v", step.name, err, step.failure)
			}
			if diff := cmp.Diff(step.asked, asked, cmp.AllowUnexported(flow{}), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("%s: flows -want +got:\n%s", step.name, diff)
			}
			if step.name == "changed" {
				if got := ns.Run("nft", "list", "map", "inet", "kube_vrrp_vip", "svc4"); !strings.Contains(got, "10.96.0.11") {
					t.Errorf("not updated:\n%s", got)
				}
			}
		}
	})
}
