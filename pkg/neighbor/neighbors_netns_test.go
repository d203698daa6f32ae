package neighbor_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/neighbor"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// TestNetnsNeighbors has a node with an interface in each of two LANs.
func TestNetnsNeighbors(t *testing.T) {
	t.Parallel()
	lan, other := netnstest.NewLAN(t, 2), netnstest.NewLAN(t, 1)
	client, node, otherClient := lan.Hosts[0], lan.Hosts[1], other.Hosts[0]
	other.Connect(node, "eth1", "node")
	node.Run("ip", "addr", "add", "198.51.100.2/24", "dev", "eth1")
	otherClient.Run("ip", "addr", "add", "198.51.100.1/24", "dev", "eth0")
	for _, a := range []string{vip, plainVIP} {
		node.Run("ip", "addr", "add", a+"/32", "dev", "eth0", "scope", "link")
	}
	for _, ns := range []*netnstest.NS{client, otherClient} {
		ns.Sysctl("net.ipv4.neigh.eth0.retrans_time_ms", "50")
	}
	n := neighbor.New(false)
	set := func(bindings map[netip.Addr]desired.Answer) {
		t.Helper()
		node.Do(func() {
			if err := n.Set(bindings); err != nil {
				t.Fatal(err)
			}
		})
	}
	check := func(ns *netnstest.NS, address string, want bool) {
		t.Helper()
		if got := ns.Resolves(address); got != want {
			t.Errorf("%s answered for: %t, want %t", address, got, want)
		}
	}

	// Linux' own behaviour is what the table is for.
	check(client, vip, true)
	check(otherClient, vip, true)

	set(map[netip.Addr]desired.Answer{netip.MustParseAddr(vip): {Interface: "eth0"}, netip.MustParseAddr("2001:db8::1"): {Interface: "eth0"}})
	check(client, vip, true)
	check(otherClient, vip, false)
	check(otherClient, plainVIP, true)
	check(otherClient, "198.51.100.2", true)

	set(map[netip.Addr]desired.Answer{netip.MustParseAddr(vip): {Interface: "eth1"}})
	check(client, vip, false)
	check(otherClient, vip, true)

	// The answer to the node's own question, asked with a VIP as its source.
	set(map[netip.Addr]desired.Answer{netip.MustParseAddr(vip): {Interface: "eth0"}})
	serve(otherClient, "198.51.100.1:7")
	otherClient.Run("ip", "route", "add", vip, "via", "198.51.100.2")
	node.Run("ip", "neigh", "flush", "all")
	node.Do(func() {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(vip + ":0")), Timeout: patience}
		conn, err := d.Dial("tcp", "198.51.100.1:7")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
}

// TestNetnsNeighborSolicitation shows that IPv6 needs no table: Linux answers on
// the interface that has the address, also where it is a router.
func TestNetnsNeighborSolicitation(t *testing.T) {
	t.Parallel()
	lan, other := netnstest.NewLAN(t, 2), netnstest.NewLAN(t, 1)
	client, node, otherClient := lan.Hosts[0], lan.Hosts[1], other.Hosts[0]
	other.Connect(node, "eth1", "node")
	for _, ns := range []*netnstest.NS{client, otherClient} {
		ns.Sysctl("net.ipv6.neigh.eth0.retrans_time_ms", "50")
		ns.Run("ip", "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	}
	node.Run("ip", "addr", "add", vip6+"/128", "dev", "eth1", "nodad", "noprefixroute", "preferred_lft", "0")
	for _, forwarding := range []string{"0", "1"} {
		node.Sysctl("net.ipv6.conf.all.forwarding", forwarding)
		if client.Resolves(vip6) {
			t.Errorf("forwarding %s: answered for on another interface", forwarding)
		}
		if !otherClient.Resolves(vip6) {
			t.Errorf("forwarding %s: not answered for on its interface", forwarding)
		}
	}
}

// TestNetnsNeighborSenders: what the node asks for packets of a VIP with a
// virtual MAC it asks from its own address, so that nobody learns another MAC
// for the VIP.
func TestNetnsNeighborSenders(t *testing.T) {
	t.Parallel()
	lan := netnstest.NewLAN(t, 2)
	client, node := lan.Hosts[0], lan.Hosts[1]
	node.Run("ip", "link", "add", "vip0", "link", "eth0", "address", "00:00:5e:00:01:32", "type", "macvlan", "mode", "bridge")
	node.Run("ip", "link", "set", "vip0", "up")
	node.Run("ip", "addr", "add", vip+"/32", "dev", "vip0", "scope", "host")
	node.Sysctl("net.ipv4.conf.vip0.rp_filter", "2")
	node.Sysctl("net.ipv4.conf.vip0.arp_ignore", "1")
	client.Run("ip", "route", "add", vip, "dev", "eth0")
	serve(client, lan.Addr(0).String()+":7")

	n := neighbor.New(false)
	address := netip.MustParseAddr(vip)
	node.Do(func() {
		if err := n.Set(map[netip.Addr]desired.Answer{address: {Interface: "vip0"}}); err != nil {
			t.Fatal(err)
		}
	})
	// What the client has for the VIP after the node has asked for the client.
	learned := func() string {
		t.Helper()
		if !client.Resolves(vip) {
			t.Fatal("nobody answers for the VIP")
		}
		client.Run("ip", "route", "replace", vip, "dev", "eth0")
		client.Run("ip", "neigh", "flush", "all")
		client.Run("ip", "neigh", "replace", vip, "lladdr", "00:00:5e:00:01:32", "nud", "stale", "dev", "eth0")
		node.Run("ip", "neigh", "flush", "all")
		node.Do(func() {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(vip + ":0")), Timeout: patience}
			conn, err := d.Dial("tcp", lan.Addr(0).String()+":7")
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		})
		return client.Run("ip", "neigh", "show", vip)
	}
	// Linux' own behaviour is what the map is for.
	if got := learned(); !strings.Contains(got, node.HardwareAddr("eth0").String()) {
		t.Errorf("without the map the client has %q, want the MAC address of eth0", got)
	}
	senders := func(m map[netip.Addr]netip.Addr) {
		t.Helper()
		node.Do(func() {
			if err := n.SetSenders(m); err != nil {
				t.Fatal(err)
			}
		})
	}
	senders(map[netip.Addr]netip.Addr{address: lan.Addr(1)})
	if got := learned(); !strings.Contains(got, "00:00:5e:00:01:32") {
		t.Errorf("the client has %q, want the virtual MAC address", got)
	}
	if got := node.Run("nft", "list", "table", "arp", "kube_vrrp_vip"); !strings.Contains(got, "arp operation request arp saddr ip set arp saddr ip map @from4") ||
		!strings.Contains(got, vip+" : "+lan.Addr(1).String()) || !strings.Contains(got, vip+" . \"vip0\"") {
		t.Errorf("got\n%s", got)
	}
	// Each of the two leaves the other's alone.
	node.Do(func() {
		if err := n.Set(map[netip.Addr]desired.Answer{netip.MustParseAddr("192.0.2.77"): {Interface: "eth0"}}); err != nil {
			t.Fatal(err)
		}
	})
	if got := node.Run("nft", "list", "table", "arp", "kube_vrrp_vip"); !strings.Contains(got, vip+" : "+lan.Addr(1).String()) ||
		!strings.Contains(got, "192.0.2.77 . \"eth0\"") || strings.Contains(got, vip+" . ") {
		t.Errorf("got\n%s", got)
	}
	senders(nil)
	if got := learned(); !strings.Contains(got, node.HardwareAddr("eth0").String()) {
		t.Errorf("again without: the client has %q", got)
	}
}
