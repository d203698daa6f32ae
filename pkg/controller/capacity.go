package controller

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/wire"
	"kube-vrrp-vip/pkg/vrrp"
)

// The capacity of a node: maxPorts ports of VIPs, which is the number of ports of one
// address, and maxZones conntrack zones. NodePorts count as ports, and a port counts
// once more for each of its source ranges, because the nftables sets have an element
// for each. An entry with 4096 addresses and 1024 ports would need 64 times as many
// ports.
const (
	maxPorts = 65536
	maxZones = wire.Zones
)

// cost is the part of a node's capacity that a VIP needs. It does not include the
// conntrack zone that every VIP has.
type cost struct{ ports, zones int }

func (c cost) plus(d cost) cost {
	return cost{c.ports + d.ports, c.zones + d.zones}
}

// dominantShare returns the larger of the shares of the ports and of the zones, as a
// fraction of the capacity times maxPorts times maxZones.
func (c cost) dominantShare() int { return max(c.ports*maxZones, c.zones*maxPorts) }

// overCapacity returns the VIPs that exceed the node's capacity, and a message for
// each. It rejects all VIPs of an entry together, and larger entries before smaller
// ones. All nodes with a kube-proxy reject the same VIPs.
func (f *forwarder) overCapacity(entries []config.Entry) map[netip.Addr]string {
	type group struct {
		vips        []netip.Addr
		each, total cost
	}
	var groups []*group
	// The VIPs of one entry of the ConfigMap share the slice of Services.
	byServices := map[*config.Service]*group{}
	var used cost
	for _, e := range entries {
		if !e.Forwards() {
			continue
		}
		used.zones++
		if len(e.Services) == 0 {
			continue
		}
		g := byServices[&e.Services[0]]
		if g == nil {
			g = &group{each: f.cost(e)}
			byServices[&e.Services[0]] = g
			groups = append(groups, g)
		}
		g.vips = append(g.vips, e.VIP)
		g.total = g.total.plus(g.each)
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(a.total.dominantShare(), b.total.dominantShare()) })
	rejected := map[netip.Addr]string{}
	for _, g := range groups {
		next, message := used.plus(g.total), ""
		switch {
		case next.ports > maxPorts:
			message = fmt.Sprintf("%d ports of its VIPs, counting NodePorts, and each port again for each of the loadBalancerSourceRanges, exceed the capacity that the smaller entries leave: a node serves %d in all, list only the ports that are needed (ports), or fewer addresses or ranges; until then its VIPs refuse every port", g.total.ports, maxPorts)
		case next.zones > maxZones:
			message = fmt.Sprintf("%d ports of its VIPs that lead to other ports, or to the proxy, exceed the capacity that the smaller entries leave: a node has %d conntrack zones for such ports and for the VIPs, map fewer ports, or list fewer addresses; until then its VIPs refuse every port", g.total.zones, maxZones)
		default:
			used = next
			continue
		}
		for _, vip := range g.vips {
			rejected[vip] = message
		}
	}
	return rejected
}

// cost returns the cost of each VIP of e.
func (f *forwarder) cost(e config.Entry) (all cost) {
	for _, s := range e.Services {
		b := f.backend(s.Name)
		if b == nil {
			continue
		}
		proxied := e.ProxyProtocol != 0 || f.noKubeProxy
		if s.Ports != nil {
			all = all.plus(b.cost(s.Ports, proxied))
			continue
		}
		// Many VIPs may have all ports of one Service.
		full, known := b.fullCost[proxied]
		if !known {
			full = b.cost(nil, proxied)
			b.fullCost[proxied] = full
		}
		all = all.plus(full)
	}
	return all
}

// cost returns the cost of the ports of a VIP with these mappings. It includes ports
// that this node cannot serve for lack of an address, so that all nodes reject the
// same VIPs.
func (b *backend) cost(mappings []config.PortMapping, proxied bool) (all cost) {
	selected, _ := b.selectPorts(mappings)
	each := 1 + max(len(b.sourceRanges[vrrp.IPv4]), len(b.sourceRanges[vrrp.IPv6]))
	for _, m := range selected {
		all.ports += each
		to := m.to.port
		if m.to.nodePort != 0 {
			all.ports += each
			if b.externalPolicyLocal {
				to = m.to.nodePort
			}
		}
		if to != m.port || proxied && m.to.protocol == desired.TCP {
			all.zones++
		}
	}
	if b.externalPolicyLocal {
		all.zones++ // For the ports that are not translated.
	}
	return all
}
