package engine

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// assignment says which virtual routers run where, and what they need of the node.
type assignment struct {
	routers  []assignedRouter // sorted by key
	unplaced []desired.UnplacedVIP
	// interfaces are the ones to listen on.
	interfaces []lan.Interface
	// macvlans are the links with virtual MACs; lacksMacvlan reports that one of
	// them is not there.
	macvlans     macvlanOrder
	lacksMacvlan bool
}

// assign returns the assignment for a State on a node with links, some of which
// may be ready macvlans. Its result depends only on its arguments, so it may be
// called by any goroutine.
func assign(s desired.State, links []host.Link, ready macvlanResult) assignment {
	var a assignment
	a.routers, a.unplaced = assignRouters(s, links)
	a.macvlans, a.lacksMacvlan = moveToMacvlans(a.routers, links, ready)
	a.interfaces = candidates(links, a.routers)
	return a
}

// linkNames returns the names of the interfaces that the virtual routers use.
func (a *assignment) linkNames() map[string]bool {
	names := map[string]bool{}
	for i := range a.routers {
		p := &a.routers[i]
		names[p.link.Name] = true
		for j := range p.vips {
			names[p.vips[j].link.Name] = true
		}
	}
	return names
}

// lacksInterface reports whether a virtual router that is not among the routers
// any more still would be, if an interface of this node took its VIPs.
func (a *assignment) lacksInterface(p *assignedRouter) bool {
	return slices.ContainsFunc(a.unplaced, func(u desired.UnplacedVIP) bool {
		return slices.ContainsFunc(p.vips, func(v assignedVIP) bool { return v.address == u.Address })
	})
}

// moveToMacvlans moves the VIPs that are to have a virtual MAC to the links that
// have it, and returns all such links. missing reports that one of them is not
// there. A virtual router whose VIPs all lack their link cannot run.
func moveToMacvlans(routers []assignedRouter, links []host.Link, ready macvlanResult) (wanted macvlanOrder, missing bool) {
	present := make(map[int]host.Link, len(links))
	for _, link := range links {
		present[link.Index] = link
	}
	macvlans := map[host.VirtualLink]bool{}
	wanted.senders = map[netip.Addr]netip.Addr{}
	for i := range routers {
		p := &routers[i]
		var failed error
		for j := range p.vips {
			v := &p.vips[j]
			if !v.isVirtual() {
				continue
			}
			macvlans[v.virtual] = true
			if source, ok := sourceAddress(v.link, desired.Router{Family: vrrp.IPv4}, p.config.Source); ok && v.address.Is4() {
				wanted.senders[v.address] = source
			}
			v.on = host.Link{Name: v.virtual.Name()}
			if link := present[ready.ready[v.virtual]]; link.Virtual == v.virtual {
				v.on = link
			} else {
				missing = true
				failed = cmp.Or(failed, ready.failed[v.virtual])
			}
			if !p.config.Unicast {
				p.via = v.on.Index
			}
		}
		if failed != nil && p.lacksEveryLink() && (!p.faulty() || p.fault.Reason == desired.FaultNoLocalEndpoint) {
			p.fault = desired.Cause{Reason: desired.FaultVirtualMAC, Message: failed.Error()}
		}
	}
	wanted.links = slices.SortedFunc(maps.Keys(macvlans), func(a, b host.VirtualLink) int { return cmp.Compare(a.Name(), b.Name()) })
	return wanted, missing
}

// candidates returns the interfaces to listen on: those of the routers, and
// every one that a VIP could be placed on later. A link-local address
// alone does not make it one of those, since each Pod's end of a veth pair has
// one.
func candidates(links []host.Link, routers []assignedRouter) (interfaces []lan.Interface) {
	placed := map[portKey]bool{}
	for i := range routers {
		p := &routers[i]
		placed[p.port()] = p.link.Multicast || p.config.Unicast
	}
	for _, l := range withoutOurs(links) {
		if l.Loopback || !l.Up {
			continue
		}
		configured := slices.ContainsFunc(l.Addresses, func(a host.Address) bool { return !isLinkLocal(a) })
		for _, family := range []vrrp.Family{vrrp.IPv4, vrrp.IPv6} {
			fit := slices.ContainsFunc(l.Addresses, func(a host.Address) bool {
				// Listening needs no address that can be sent from yet.
				return vrrp.FamilyOf(a.Prefix.Addr()) == family && (family == vrrp.IPv4 || isLinkLocal(a))
			})
			if placed[portKey{l.Index, family}] || fit && configured && l.Multicast {
				interfaces = append(interfaces, lan.Interface{Index: l.Index, Name: l.Name, IPv6: family == vrrp.IPv6})
			}
		}
	}
	return interfaces
}
