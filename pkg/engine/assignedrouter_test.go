package engine

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// at is an address that somebody else has configured.
func at(prefix string) host.Address { return host.Address{Prefix: netip.MustParsePrefix(prefix)} }

// ours is a virtual address of ours.
func ours(prefix string) host.Address {
	return host.Address{Prefix: netip.MustParsePrefix(prefix), Owned: true}
}

// secondary is an address with an older one beside it.
func secondary(prefix string) host.Address {
	return host.Address{Prefix: netip.MustParsePrefix(prefix), Secondary: true}
}

func loopback(addresses ...host.Address) host.Link {
	return host.Link{
		Index: 1, Name: "lo", Up: true, Running: true, Loopback: true,
		Addresses: append([]host.Address{at("127.0.0.1/8")}, addresses...),
	}
}

// working is a link with nothing wrong.
func working(index int, name string, addresses ...host.Address) host.Link {
	return host.Link{Index: index, Name: name, Up: true, Running: true, Multicast: true, Addresses: addresses}
}

func dummy(index int, name string, addresses ...host.Address) host.Link {
	l := working(index, name, addresses...)
	l.Kind = "dummy"
	return l
}

// asks is a virtual router for VIPs without a named interface.
func asks(vrid uint8, vips ...string) desired.Router {
	r := desired.Router{
		Family: vrrp.IPv4, VRID: vrid, Settings: vrrp.Settings{Version: vrrp.V3, Priority: 100, AdvertisementInterval: time.Second},
	}
	if len(vips) > 0 {
		r.Family = vrrp.FamilyOf(netip.MustParseAddr(vips[0]))
	}
	for _, v := range vips {
		r.VIPs = append(r.VIPs, desired.VIP{Address: netip.MustParseAddr(v)})
	}
	return r
}

// tentative is an address whose duplicate address detection has not ended.
func tentative(prefix string) host.Address {
	return host.Address{Prefix: netip.MustParsePrefix(prefix), Tentative: true}
}

// named is a virtual router for one VIP that names its interfaces.
func named(vip string, interfaces ...string) desired.Router {
	r := asks(50, vip)
	r.VIPs[0].Interfaces = interfaces
	return r
}

func TestPlace(t *testing.T) {
	t.Parallel()
	const (
		node    = "192.0.2.1"
		nowhere = "no interface of this node has a connected prefix that contains it, and none carries the node address"
	)
	eth0 := working(2, "eth0", at("192.0.2.1/24"))
	eth1 := working(3, "eth1", at("10.4.0.1/24"))
	down, noCarrier := eth0, eth0
	down.Up, down.Running = false, false
	noCarrier.Running = false
	eth1Down := eth1
	eth1Down.Up, eth1Down.Running = false, false
	noMulticast := eth0
	noMulticast.Multicast = false
	eth2 := working(4, "eth2", at("2001:db8::1/64"), at("fe80::4/64"))
	eth3 := working(5, "eth3", at("192.0.2.1/24"), at("fe80::5/64"))
	const node6 = "2001:db8::1"
	wrong := asks(50, "192.0.2.50")
	wrong.Priority = 0
	unused := asks(51)
	elsewhere := asks(50, "192.0.2.50")
	elsewhere.NoLocalEndpoint = true
	elsewhereAndWrong := wrong
	elsewhereAndWrong.NoLocalEndpoint = true

	// placed is what a test looks at of a assignedRouter.
	type placed struct {
		Interface, Source string
		VRID              uint8
		// VIPs are each with its reason, and with its interface if that is
		// another.
		VIPs  []string
		Fault string
	}
	onEth0 := placed{
		Interface: "eth0", Source: "192.0.2.1", VRID: 50, VIPs: []string{"192.0.2.50: connected prefix 192.0.2.0/24"},
	}
	faulty := func(p placed, fault string) []placed {
		p.Fault = fault
		return []placed{p}
	}
	from := func(source string) []placed {
		p := onEth0
		p.Source = source
		return []placed{p}
	}
	tests := []struct {
		name     string
		node     string // Empty: not learned yet. Two: one of each family.
		routers  []desired.Router
		links    []host.Link
		want     []placed
		unplaced []string // Each with its reason.
	}{
		{name: "nothing", node: node, links: []host.Link{eth0}},
		{name: "no addresses", node: node, routers: []desired.Router{unused}, links: []host.Link{eth0}},

		// Which interface.
		{
			name: "connected prefix", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{loopback(), eth0, eth1}, want: []placed{onEth0},
		},
		{
			name: "longest connected prefix", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{
				working(2, "eth0", at("192.0.2.1/24")), working(3, "eth1", at("192.0.2.33/27")), working(4, "eth2", at("192.0.0.1/16")),
			},
			want: []placed{{
				Interface: "eth1", Source: "192.0.2.33", VRID: 50, VIPs: []string{"192.0.2.50: connected prefix 192.0.2.32/27"},
			}},
		},
		{
			name: "first of equal prefixes", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{eth0, working(3, "eth1", at("192.0.2.2/24"))}, want: []placed{onEth0},
		},
		{
			name: "neither loopback, nor a single address, nor one of ours is a connected prefix", node: node,
			routers: []desired.Router{asks(50, "127.0.0.50", "10.4.0.50")},
			links:   []host.Link{loopback(), eth0, working(3, "eth1", ours("10.4.0.50/32"), at("10.4.0.51/32"))},
			want: []placed{{
				Interface: "eth0", Source: "192.0.2.1", VRID: 50,
				VIPs:  []string{"127.0.0.50: carries the node address 192.0.2.1", "10.4.0.50: carries the node address 192.0.2.1"},
				Fault: "invalidConfig: address 127.0.0.50: want the IPv4 address of a host",
			}},
		},
		{
			name: "interface of the node address", node: node, routers: []desired.Router{asks(50, "203.0.113.50")},
			links: []host.Link{loopback(at("192.0.2.1/32")), eth1, eth0},
			want: []placed{{
				Interface: "eth0", Source: "192.0.2.1", VRID: 50, VIPs: []string{"203.0.113.50: carries the node address 192.0.2.1"},
			}},
		},
		{
			name: "node address not learned", routers: []desired.Router{asks(50, "203.0.113.50", "192.0.2.50")},
			links: []host.Link{eth0}, want: []placed{onEth0}, unplaced: []string{"203.0.113.50: " + nowhere},
		},
		{
			name: "node address of no interface", node: "192.0.2.9", routers: []desired.Router{asks(50, "203.0.113.50")},
			links: []host.Link{eth0}, unplaced: []string{"203.0.113.50: " + nowhere},
		},
		{
			name: "no links", node: node, routers: []desired.Router{asks(50, "192.0.2.51", "192.0.2.50")},
			unplaced: []string{"192.0.2.50: " + nowhere, "192.0.2.51: " + nowhere},
		},
		{
			name: "named interface before the connected prefix", node: node, routers: []desired.Router{named("192.0.2.50", "eth1")},
			links: []host.Link{eth0, eth1},
			want:  []placed{{Interface: "eth1", Source: "10.4.0.1", VRID: 50, VIPs: []string{"192.0.2.50: named eth1"}}},
		},
		{
			name: "first name that exists", node: node, routers: []desired.Router{named("192.0.2.50", "ens3", "eth1", "eth0")},
			links: []host.Link{eth0, eth1},
			want:  []placed{{Interface: "eth1", Source: "10.4.0.1", VRID: 50, VIPs: []string{"192.0.2.50: named eth1"}}},
		},
		{
			name: "no name exists", node: node, routers: []desired.Router{named("192.0.2.50", "ens3", "ens4")},
			links: []host.Link{eth0, eth1}, unplaced: []string{"192.0.2.50: this node has no interface ens3 or ens4"},
		},
		{
			name: "one router on two interfaces, two routers on one", node: node,
			routers: []desired.Router{asks(51, "192.0.2.51"), asks(50, "192.0.2.50", "10.4.0.50")},
			links:   []host.Link{eth0, eth1},
			want: []placed{
				onEth0,
				{Interface: "eth0", Source: "192.0.2.1", VRID: 51, VIPs: []string{"192.0.2.51: connected prefix 192.0.2.0/24"}},
				{Interface: "eth1", Source: "10.4.0.1", VRID: 50, VIPs: []string{"10.4.0.50: connected prefix 10.4.0.0/24"}},
			},
		},

		// Whose address it is already.
		{
			name: "the address of another interface", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links:    []host.Link{eth0, working(3, "eth1", at("192.0.2.50/32"))},
			unplaced: []string{"192.0.2.50: is already an address of interface eth1 of this node"},
		},
		{
			name: "the node address", node: node, routers: []desired.Router{named(node, "eth0")},
			links: []host.Link{eth0}, unplaced: []string{"192.0.2.1: is already an address of interface eth0 of this node"},
		},
		{
			name: "ours already", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{working(2, "eth0", at("192.0.2.1/24"), ours("192.0.2.50/32"))}, want: []placed{onEth0},
		},
		{
			name: "also on a dummy link, as kube-proxy has it with ipvs", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{eth0, dummy(3, "kube-ipvs0", at("192.0.2.50/32"))}, want: []placed{onEth0},
		},
		{
			name: "also on loopback, as direct routing has it", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{loopback(at("192.0.2.50/32")), eth0}, want: []placed{onEth0},
		},

		// Why it cannot run.
		{
			name: "link down", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{down}, want: faulty(onEth0, "linkDown"),
		},
		{
			name: "no carrier", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{noCarrier}, want: faulty(onEth0, "noCarrier"),
		},
		{
			name: "no multicast", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{noMulticast}, want: faulty(onEth0, "noMulticast"),
		},
		{
			name: "no address to send from", node: node, routers: []desired.Router{named("192.0.2.50", "eth0")},
			links: []host.Link{working(2, "eth0", ours("192.0.2.51/32"))},
			want: []placed{{
				Interface: "eth0", Source: "invalid IP", VRID: 50, VIPs: []string{"192.0.2.50: named eth0"}, Fault: "noSourceAddress",
			}},
		},
		{
			name: "invalid configuration", node: node, routers: []desired.Router{wrong},
			links: []host.Link{eth0}, want: faulty(onEth0, "invalidConfig: priority 0: want 1 to 254"),
		},
		{
			name: "the link comes before the configuration", node: node, routers: []desired.Router{wrong},
			links: []host.Link{down}, want: faulty(onEth0, "linkDown"),
		},
		{
			name: "no endpoint on this node", node: node, routers: []desired.Router{elsewhere},
			links: []host.Link{eth0}, want: faulty(onEth0, "noLocalEndpoint"),
		},
		{
			name: "the link comes before the endpoints", node: node, routers: []desired.Router{elsewhere},
			links: []host.Link{down}, want: faulty(onEth0, "linkDown"),
		},
		{
			name: "the configuration comes before the endpoints", node: node, routers: []desired.Router{elsewhereAndWrong},
			links: []host.Link{eth0}, want: faulty(onEth0, "invalidConfig: priority 0: want 1 to 254"),
		},

		// Where advertisements come from.
		{
			name: "the node address before an older one", node: node, routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{working(2, "eth0", at("192.0.2.8/24"), secondary("192.0.2.1/24"))}, want: from("192.0.2.1"),
		},
		{
			name: "the first address, not a virtual one", node: "198.51.100.1", routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{working(2, "eth0", ours("192.0.2.51/32"), at("192.0.2.9/24"), at("192.0.2.8/24"))}, want: from("192.0.2.9"),
		},
		{
			name: "a primary address before a secondary one", routers: []desired.Router{asks(50, "192.0.2.50")},
			links: []host.Link{working(2, "eth0", secondary("192.0.2.8/24"), at("192.0.2.9/24"))}, want: from("192.0.2.9"),
		},

		// IPv6.
		{
			name: "IPv6: connected prefix, link-local source", node: node6, routers: []desired.Router{asks(50, "2001:db8::50")},
			links: []host.Link{eth0, eth3, eth2},
			want:  []placed{{Interface: "eth2", Source: "fe80::4", VRID: 50, VIPs: []string{"2001:db8::50: connected prefix 2001:db8::/64"}}},
		},
		{
			name: "IPv6: a link-local prefix is nobody's, the node address decides", node: node + " " + node6,
			routers: []desired.Router{asks(50, "fe80::50")}, links: []host.Link{eth3, eth2},
			want: []placed{{Interface: "eth2", Source: "fe80::4", VRID: 50, VIPs: []string{"fe80::50: carries the node address 2001:db8::1"}}},
		},
		{
			name: "IPv6: the interface of the IPv4 node address if there is no other", node: node,
			routers: []desired.Router{asks(50, "2001:db8:9::50")}, links: []host.Link{eth3, eth2},
			want: []placed{{Interface: "eth3", Source: "fe80::5", VRID: 50, VIPs: []string{"2001:db8:9::50: carries the node address 192.0.2.1"}}},
		},
		{
			name: "IPv6: but not without a link-local address", node: node, routers: []desired.Router{asks(50, "2001:db8:9::50")},
			links: []host.Link{eth0, eth2}, unplaced: []string{"2001:db8:9::50: " + nowhere},
		},
		{
			name: "IPv6: not from the node address if the interface of another one is asked for", node: node + " 2001:db8:7::1",
			routers: []desired.Router{asks(50, "2001:db8:9::50")}, links: []host.Link{eth3, eth2},
			unplaced: []string{"2001:db8:9::50: " + nowhere},
		},
		{
			name: "IPv6: nothing can be sent from a tentative address, nor from one of ours", node: node6,
			routers: []desired.Router{asks(50, "2001:db8::50")},
			links:   []host.Link{working(4, "eth2", at("2001:db8::1/64"), ours("fe80::9/128"), tentative("fe80::4/64"))},
			want: []placed{{
				Interface: "eth2", Source: "invalid IP", VRID: 50, VIPs: []string{"2001:db8::50: connected prefix 2001:db8::/64"}, Fault: "noSourceAddress",
			}},
		},
		{
			name: "both families on one interface", node: node, routers: []desired.Router{asks(50, "192.0.2.50"), asks(50, "2001:db8:9::50")},
			links: []host.Link{eth3},
			want: []placed{
				{Interface: "eth3", Source: "192.0.2.1", VRID: 50, VIPs: []string{"192.0.2.50: connected prefix 192.0.2.0/24"}},
				{Interface: "eth3", Source: "fe80::5", VRID: 50, VIPs: []string{"2001:db8:9::50: carries the node address 192.0.2.1"}},
			},
		},

		// Unicast.
		{
			name: "unicast: one router, whatever the interfaces of its VIPs", node: node,
			routers: []desired.Router{unicast(asks(50, "192.0.2.50", "10.4.0.50"))}, links: []host.Link{eth1, eth0},
			want: []placed{{
				Interface: "eth0", Source: "192.0.2.1", VRID: 50,
				VIPs: []string{"192.0.2.50: connected prefix 192.0.2.0/24", "10.4.0.50: connected prefix 10.4.0.0/24 (eth1)"},
			}},
		},
		{
			name: "unicast: a transport without carrier is a fault", node: node,
			routers: []desired.Router{unicast(asks(50, "10.4.0.50", "192.0.2.50"))},
			links:   []host.Link{noCarrier, working(3, "eth1", at("10.4.0.1/24"), at("192.0.2.1/32"))},
			want: []placed{{
				Interface: "eth0", Source: "192.0.2.1", VRID: 50, Fault: "noCarrier",
				VIPs: []string{"10.4.0.50: connected prefix 10.4.0.0/24 (eth1)", "192.0.2.50: connected prefix 192.0.2.0/24"},
			}},
		},
		{
			name: "unicast: one VIP's interface down is no fault", node: node,
			routers: []desired.Router{unicast(asks(50, "10.4.0.50", "192.0.2.50"))}, links: []host.Link{eth0, eth1Down},
			want: []placed{{
				Interface: "eth0", Source: "192.0.2.1", VRID: 50,
				VIPs: []string{"10.4.0.50: connected prefix 10.4.0.0/24 (eth1)", "192.0.2.50: connected prefix 192.0.2.0/24"},
			}},
		},
		{
			name: "unicast: every VIP's interface down is one", node: node,
			routers: []desired.Router{unicast(asks(50, "10.4.0.50"))}, links: []host.Link{eth0, eth1Down},
			want: []placed{{
				Interface: "eth0", Source: "192.0.2.1", VRID: 50, Fault: "linkDown",
				VIPs: []string{"10.4.0.50: connected prefix 10.4.0.0/24 (eth1)"},
			}},
		},
		{
			name: "unicast needs no multicast", node: node, routers: []desired.Router{unicast(asks(50, "192.0.2.50"))},
			links: []host.Link{noMulticast}, want: []placed{onEth0},
		},
		{
			name: "unicast: IPv6 from the node address", node: node + " " + node6, routers: []desired.Router{unicast(asks(50, "2001:db8::50"))},
			links: []host.Link{eth0, eth2},
			want:  []placed{{Interface: "eth2", Source: "2001:db8::1", VRID: 50, VIPs: []string{"2001:db8::50: connected prefix 2001:db8::/64"}}},
		},
		{
			name: "unicast: no node address of the family", node: node, routers: []desired.Router{unicast(asks(50, "2001:db8::50"))},
			links:    []host.Link{eth0, eth2},
			unplaced: []string{"2001:db8::50: unicast needs an address of this node of the VIP's family (IPv6), and no interface carries one"},
		},
		{
			name: "unicast: the node address is tentative", node: node6, routers: []desired.Router{unicast(asks(50, "2001:db8::50"))},
			links: []host.Link{working(4, "eth2", tentative("2001:db8::1/64"), at("2001:db8::2/64"), at("fe80::4/64"))},
			want: []placed{{
				Interface: "eth2", Source: "invalid IP", VRID: 50, VIPs: []string{"2001:db8::50: connected prefix 2001:db8::/64"}, Fault: "noSourceAddress",
			}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := desired.State{Routers: tt.routers}
			for a := range strings.FieldsSeq(tt.node) {
				s.NodeAddresses = append(s.NodeAddresses, netip.MustParseAddr(a))
			}
			placements, missing := assignRouters(s, tt.links)
			var got []placed
			for _, p := range placements {
				if p.link.Name != p.key.Interface {
					t.Errorf("link %s of a assignedRouter on %s", p.link.Name, p.key.Interface)
				}
				g := placed{Interface: p.key.Interface, Source: p.config.Source.String(), VRID: p.config.VRID, Fault: p.fault.Text()}
				var addresses []netip.Addr
				for _, v := range p.vips {
					addresses = append(addresses, v.address)
					vip := v.address.String() + ": " + v.reason
					if v.link.Name != p.link.Name {
						vip += " (" + v.link.Name + ")"
					}
					g.VIPs = append(g.VIPs, vip)
				}
				if !slices.Equal(p.config.Addresses, addresses) {
					t.Errorf("advertises %v for %v", p.config.Addresses, addresses)
				}
				got = append(got, g)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("placements: -want +got\n%s", d)
			}
			var unplaced []string
			for _, u := range missing {
				unplaced = append(unplaced, u.Address.String()+": "+u.Reason)
			}
			if d := cmp.Diff(tt.unplaced, unplaced); d != "" {
				t.Errorf("unplaced: -want +got\n%s", d)
			}
		})
	}
}

// All of a router's settings reach its state machine.
func TestPlaceConfig(t *testing.T) {
	t.Parallel()
	r := desired.Router{
		Family: vrrp.IPv4, VRID: 7,
		Settings: vrrp.Settings{
			Version: vrrp.V2, Priority: 42, AdvertisementInterval: 3 * time.Second, Preempt: true, PreemptDelay: time.Minute,
			DownAdverts: 5, AdvertsPerInterval: 2, Checksum: vrrp.ChecksumMessage, Password: vrrp.Password{'x'}, Unicast: true,
		},
		TakeoverDelay: 20 * time.Millisecond, Peers: []netip.Addr{netip.MustParseAddr("192.0.2.2")},
		Force: true,
		VIPs:  []desired.VIP{{Address: netip.MustParseAddr("192.0.2.50")}, {Address: netip.MustParseAddr("192.0.2.51")}},
	}
	placements, _ := assignRouters(desired.State{
		NodeAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Routers: []desired.Router{r},
	}, []host.Link{working(2, "eth0", at("192.0.2.1/24"))})
	if len(placements) != 1 {
		t.Fatalf("placements %+v, want one", placements)
	}
	want := vrrp.Config{
		Family: vrrp.IPv4, VRID: 7,
		Settings: vrrp.Settings{
			Version: vrrp.V2, Priority: 42, AdvertisementInterval: 3 * time.Second, Preempt: true, PreemptDelay: time.Minute,
			DownAdverts: 5, AdvertsPerInterval: 2, Checksum: vrrp.ChecksumMessage, Password: vrrp.Password{'x'}, Unicast: true,
		},
		TakeoverDelay: 20 * time.Millisecond, Peers: r.Peers, Source: netip.MustParseAddr("192.0.2.1"),
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.50"), netip.MustParseAddr("192.0.2.51")},
	}
	if d := cmp.Diff(want, placements[0].config, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if !placements[0].force {
		t.Error("not forced")
	}
	// On another interface than the node's own, and with the link-local
	// addresses of IPv6, peers do not send from the addresses they are known by.
	r.Unicast, r.AdvertsPerInterval, r.Checksum = false, 0, vrrp.ChecksumNone
	elsewhere := asks(50, "2001:db8::50")
	elsewhere.Peers = []netip.Addr{netip.MustParseAddr("2001:db8::2")}
	s := desired.State{
		NodeAddresses: []netip.Addr{netip.MustParseAddr("10.4.0.1"), netip.MustParseAddr("2001:db8::1")}, Routers: []desired.Router{r, elsewhere},
	}
	others, _ := assignRouters(s, []host.Link{working(2, "eth0", at("192.0.2.1/24"), at("2001:db8::1/64"), at("fe80::1/64"))})
	for _, p := range others {
		if p.config.Peers != nil || p.faulty() {
			t.Errorf("peers %v, fault %q, want neither", p.config.Peers, p.fault)
		}
	}
	key := desired.RouterKey{Interface: "eth0", Family: vrrp.IPv4, VRID: 7}
	if placements[0].key != key {
		t.Errorf("key %v, want %v", placements[0].key, key)
	}
}

// Every interface that a VIP could be placed on is listened on, and those that
// one was placed on.
func TestCandidates(t *testing.T) {
	t.Parallel()
	down := working(7, "eth5", at("192.0.2.7/24"))
	down.Up = false
	tunnel := working(8, "tun0", at("192.0.2.8/32"))
	tunnel.Multicast = false
	pod := working(9, "veth9", at("fe80::9/64"))
	links := []host.Link{
		loopback(), working(2, "eth0", at("192.0.2.1/24"), at("fe80::2/64")), working(3, "eth1", ours("192.0.2.50/32")),
		working(4, "eth2", at("2001:db8::1/64"), tentative("fe80::4/64")), down, tunnel, pod,
	}
	eth := []lan.Interface{{Index: 2, Name: "eth0"}, {Index: 2, Name: "eth0", IPv6: true}, {Index: 4, Name: "eth2", IPv6: true}}
	if d := cmp.Diff(eth, candidates(links, nil)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	placements := []assignedRouter{
		{key: desired.RouterKey{Family: vrrp.IPv4}, link: tunnel, config: vrrp.Config{Settings: vrrp.Settings{Unicast: true}}},
		{key: desired.RouterKey{Family: vrrp.IPv6}, link: tunnel},
		{key: desired.RouterKey{Family: vrrp.IPv6}, link: pod},
	}
	want := append(eth, lan.Interface{Index: 8, Name: "tun0"}, lan.Interface{Index: 9, Name: "veth9", IPv6: true})
	if d := cmp.Diff(want, candidates(links, placements)); d != "" {
		t.Errorf("with placements: -want +got\n%s", d)
	}
}
