package engine

import (
	"testing"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
)

// A VIP goes to the bridge, the bond or the VLAN that has the prefix, not to
// what is below it, by whatever name each node has for it; and follows it.
func TestPlaceStackedLinks(t *testing.T) {
	t.Parallel()
	kind := func(kind string, l host.Link) host.Link {
		l.Kind = kind
		return l
	}
	noCarrier := func(l host.Link) host.Link {
		l.Running = false
		return l
	}
	const vip = "198.51.100.50"
	other := at("198.51.100.1/24")
	for _, tt := range []struct {
		name       string
		interfaces []string
		links      []host.Link
		on, reason string
		fault      desired.Reason
	}{
		{"bridge", nil, []host.Link{working(2, "eth0"), kind("bridge", working(3, "br0", other))}, "br0", "connected prefix 198.51.100.0/24", ""},
		{"bond", nil, []host.Link{working(2, "eth0"), working(3, "eth1"), kind("bond", working(4, "bond0", other))}, "bond0", "connected prefix 198.51.100.0/24", ""},
		{"bond without members", nil, []host.Link{noCarrier(working(2, "eth0")), noCarrier(kind("bond", working(4, "bond0", other)))}, "bond0", "connected prefix 198.51.100.0/24", desired.FaultNoCarrier},
		{
			"VLAN on a bond", nil,
			[]host.Link{working(2, "eth0"), kind("bond", working(4, "bond0", at("192.0.2.1/24"))), kind("vlan", working(5, "bond0.100", other))},
			"bond0.100", "connected prefix 198.51.100.0/24", "",
		},
		{
			"VLAN without a carrier below", nil,
			[]host.Link{noCarrier(working(2, "eth0", at("192.0.2.1/24"))), noCarrier(kind("vlan", working(5, "eth0.100", other)))},
			"eth0.100", "connected prefix 198.51.100.0/24", desired.FaultNoCarrier,
		},
		{"named, this node has the second", []string{"eth1", "ens3"}, []host.Link{working(2, "eth0", at("192.0.2.1/24")), working(3, "ens3", other)}, "ens3", "named ens3", ""},
		{"named, this node has both", []string{"eth1", "ens3"}, []host.Link{working(2, "ens3", other), working(3, "eth1", at("203.0.113.1/24"))}, "eth1", "named eth1", ""},
		{"several addresses, the longer prefix", nil, []host.Link{working(2, "eth0", at("198.51.0.1/16"), at("192.0.2.1/24")), working(3, "eth1", at("10.0.0.1/8"), other)}, "eth1", "connected prefix 198.51.100.0/24", ""},
	} {
		r := asks(50, vip)
		r.VIPs[0].Interfaces = tt.interfaces
		placements, unplaced := assignRouters(desired.State{Routers: []desired.Router{r}}, tt.links)
		if len(placements) != 1 {
			t.Errorf("%s: placed %v, not %v", tt.name, placements, unplaced)
			continue
		}
		p := placements[0]
		if got := p.vips[0]; got.link.Name != tt.on || got.reason != tt.reason || p.fault.Reason != tt.fault {
			t.Errorf("%s: on %s because of %q, fault %q, want %s, %q, %q", tt.name, got.link.Name, got.reason, p.fault, tt.on, tt.reason, tt.fault)
		}
	}
}
