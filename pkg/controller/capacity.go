package controller

import (
	"cmp"
	"fmt"
	"slices"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// A node serves maxPorts ports of VIPs in all: as many as one address has.
// NodePorts count too, and a port once more for each source range, since the
// rules have an element for each. It has maxZones conntrack zones for them. One entry with 4096
// addresses and 1024 ports would need 64 times as many.
const (
	maxPorts = 65536
	maxZones = 10000
)

// size is what a VIP takes of these, besides the zone that each VIP has.
type size struct{ ports, zones int }

func (s size) plus(t size) size {
	return size{s.ports + t.ports, s.zones + t.zones}
}

// share compares what takes more of ports with what takes more of zones.
func (s size) share() int { return max(s.ports*maxZones, s.zones*maxPorts) }

// crowded returns why entries can not be served that are too many beside
// others, by the first of their Services, which the VIPs of an entry share. The
// largest ones have to go: nobody who asks for more than others takes their
// ports from them. All nodes with a kube-proxy come to the same.
func (f *forwarder) crowded(entries []config.Entry) map[*config.Service]string {
	type group struct {
		services *config.Service
		size     size
	}
	var groups []group
	place := map[*config.Service]int{}
	each := map[*config.Service]size{}
	var used size
	for _, e := range entries {
		if !e.Forwards() {
			continue
		}
		used.zones++
		if len(e.Services) == 0 {
			continue
		}
		first := &e.Services[0]
		if _, known := place[first]; !known {
			place[first], each[first] = len(groups), f.sizeOf(e)
			groups = append(groups, group{services: first})
		}
		g := &groups[place[first]]
		g.size = g.size.plus(each[first])
	}
	slices.SortStableFunc(groups, func(a, b group) int { return cmp.Compare(a.size.share(), b.size.share()) })
	why := map[*config.Service]string{}
	for _, g := range groups {
		next := used.plus(g.size)
		switch {
		case next.ports > maxPorts:
			why[g.services] = fmt.Sprintf("%d ports of its VIPs, counted with their NodePorts and again for each of the loadBalancerSourceRanges, are more than fit beside the smaller entries: a node serves %d in all, name the ports that are needed (ports), or fewer addresses or ranges; until then its VIPs refuse every port", g.size.ports, maxPorts)
		case next.zones > maxZones:
			why[g.services] = fmt.Sprintf("%d ports of its VIPs that lead to other ports, or to the proxy, are more than fit beside the smaller entries: a node has %d conntrack zones for these and for the VIPs, map fewer ports, or name fewer addresses; until then its VIPs refuse every port", g.size.zones, maxZones)
		default:
			used = next
		}
	}
	return why
}

// sizeOf returns the size of each VIP of e.
func (f *forwarder) sizeOf(e config.Entry) (all size) {
	for _, s := range e.Services {
		b := f.backend(s.Name)
		if b == nil {
			continue
		}
		proxied := e.ProxyProtocol != 0 || f.noKubeProxy
		if s.Ports != nil {
			all = all.plus(b.sizeOf(s.Ports, proxied))
			continue
		}
		// Many VIPs may have all ports of one Service.
		whole, known := b.whole[proxied]
		if !known {
			whole = b.sizeOf(nil, proxied)
			b.whole[proxied] = whole
		}
		all = all.plus(whole)
	}
	return all
}

// sizeOf returns the size of what mappings ask for. What a node leaves out
// because it lacks an address is counted, so that all nodes come to the same.
func (b *backend) sizeOf(mappings []config.PortMapping, proxied bool) (all size) {
	selected, _ := b.selected(mappings)
	each := 1 + max(len(b.sources[vrrp.IPv4]), len(b.sources[vrrp.IPv6]))
	for _, m := range selected {
		all.ports += each
		to := m.to.port
		if m.to.nodePort != 0 {
			all.ports += each
			if b.externalLocal {
				to = m.to.nodePort
			}
		}
		if to != m.port || proxied && m.to.protocol == desired.TCP {
			all.zones++
		}
	}
	if b.externalLocal {
		all.zones++ // Of the ports that keep their number.
	}
	return all
}
