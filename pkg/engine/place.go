package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

// Faults that keep a virtual router in Initialize. They are the reason an
// operator sees.
const (
	faultLinkDown        = "linkDown"
	faultNoCarrier       = "noCarrier"
	faultNoMulticast     = "noMulticast"
	faultNoSourceAddress = "noSourceAddress"
	faultBindFailed      = "bindFailed"
	faultSendFailed      = "sendFailed"
	faultNotListening    = "notListening"
	faultLeaseNotRenewed = "leaseNotRenewed"
	faultInvalidConfig   = "invalidConfig"
)

// placement is a virtual router on the interface it belongs to.
type placement struct {
	key    desired.RouterKey
	link   host.Link
	config vrrp.Config
	vips   []placedVIP
	// fault is why the router cannot run, empty if it can.
	fault string
}

// placedVIP is an address and why it is on this interface.
type placedVIP struct {
	address netip.Addr
	reason  string
}

// place decides which interface each VIP belongs to, and so which virtual
// routers run where. It is a pure function. The placements are sorted by key.
func place(s desired.State, links []host.Link) ([]placement, []desired.UnplacedVIP) {
	placements := map[desired.RouterKey]*placement{}
	var unplaced []desired.UnplacedVIP
	for _, router := range s.Routers {
		for _, vip := range router.VIPs {
			link, reason, ok := choose(vip, s.NodeAddress(router.Family), links)
			if !ok {
				unplaced = append(unplaced, desired.UnplacedVIP{Address: vip.Address, Reason: reason})
				continue
			}
			key := desired.RouterKey{Interface: link.Name, Family: router.Family, VRID: router.VRID}
			p := placements[key]
			if p == nil {
				p = newPlacement(key, router, s.NodeAddress(router.Family), link)
				placements[key] = p
			}
			p.vips = append(p.vips, placedVIP{address: vip.Address, reason: reason})
			p.config.Addresses = append(p.config.Addresses, vip.Address)
		}
	}
	all := make([]placement, 0, len(placements))
	for _, p := range placements {
		if p.fault == "" {
			if err := p.config.Validate(); err != nil {
				p.fault = faultInvalidConfig + ": " + err.Error()
			}
		}
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b placement) int { return compareKeys(a.key, b.key) })
	slices.SortFunc(unplaced, func(a, b desired.UnplacedVIP) int { return a.Address.Compare(b.Address) })
	return all, unplaced
}

func newPlacement(key desired.RouterKey, r desired.Router, node netip.Addr, link host.Link) *placement {
	source, ok := sourceAddress(link, node)
	p := &placement{key: key, link: link, config: vrrp.Config{
		Version:               r.Version,
		Family:                r.Family,
		VRID:                  r.VRID,
		Priority:              r.Priority,
		AdvertisementInterval: r.AdvertisementInterval,
		Preempt:               r.Preempt,
		TakeoverDelay:         r.TakeoverDelay,
		Source:                source,
	}}
	switch {
	case !link.Up:
		p.fault = faultLinkDown
	case !link.Running:
		p.fault = faultNoCarrier
	case !link.Multicast:
		p.fault = faultNoMulticast
	case !ok:
		p.fault = faultNoSourceAddress
	}
	return p
}

// choose names the interface of a VIP and says why, or why there is none.
func choose(vip desired.VIP, node netip.Addr, links []host.Link) (host.Link, string, bool) {
	for _, l := range links {
		// kube-proxy in ipvs mode keeps such addresses on a dummy link, a
		// server behind direct routing on lo: not as somebody's on the LAN.
		if l.Loopback || l.Kind == "dummy" {
			continue
		}
		for _, a := range l.Addresses {
			if !a.Ours && a.Prefix.Addr() == vip.Address {
				return host.Link{}, fmt.Sprintf("is already an address of interface %s of this node", l.Name), false
			}
		}
	}
	if len(vip.Interfaces) > 0 {
		for _, name := range vip.Interfaces {
			if i := slices.IndexFunc(links, func(l host.Link) bool { return l.Name == name }); i >= 0 {
				return links[i], "named " + name, true
			}
		}
		return host.Link{}, fmt.Sprintf("this node has no interface %s", strings.Join(vip.Interfaces, " or ")), false
	}
	if link, prefix, ok := connected(vip.Address, links); ok {
		return link, "connected prefix " + prefix.Masked().String(), true
	}
	for _, l := range links {
		for _, a := range l.Addresses {
			if !l.Loopback && !a.Ours && a.Prefix.Addr() == node {
				return l, "carries the node address " + node.String(), true
			}
		}
	}
	return host.Link{}, "no interface of this node has a connected prefix that contains it, and none carries the node address", false
}

// connected returns the interface whose connected prefix contains address,
// the longest prefix first.
func connected(address netip.Addr, links []host.Link) (best host.Link, prefix netip.Prefix, ok bool) {
	for _, l := range links {
		if l.Loopback {
			continue
		}
		for _, a := range l.Addresses {
			if a.Ours || a.Prefix.IsSingleIP() || !a.Prefix.Contains(address) {
				continue
			}
			if !ok || a.Prefix.Bits() > prefix.Bits() {
				best, prefix, ok = l, a.Prefix, true
			}
		}
	}
	return best, prefix, ok
}

// sourceAddress returns the address our advertisements come from: the node's
// own if the interface carries it, else the interface's first primary one.
func sourceAddress(link host.Link, node netip.Addr) (source netip.Addr, ok bool) {
	for _, a := range link.Addresses {
		if a.Ours || !a.Prefix.Addr().Is4() {
			continue
		}
		if a.Prefix.Addr() == node {
			return node, true
		}
		if !ok && !a.Secondary {
			source, ok = a.Prefix.Addr(), true
		}
	}
	return source, ok
}

func compareKeys(a, b desired.RouterKey) int {
	if c := strings.Compare(a.Interface, b.Interface); c != 0 {
		return c
	}
	if a.Family != b.Family {
		return int(a.Family) - int(b.Family)
	}
	return int(a.VRID) - int(b.VRID)
}
