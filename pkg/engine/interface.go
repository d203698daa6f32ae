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

// linkFault returns the reason why nothing works on a link; empty if it works.
func linkFault(link host.Link) desired.Reason {
	switch {
	case !link.Up:
		return desired.FaultLinkDown
	case !link.Running:
		return desired.FaultNoCarrier
	default:
		return ""
	}
}

// selectInterface returns the interface of a VIP and the reason for the choice, or
// the reason why there is none.
func selectInterface(vip desired.VIP, s desired.State, links []host.Link) (host.Link, string, bool) {
	for _, l := range links {
		// kube-proxy in ipvs mode has such addresses on a dummy link, a server behind
		// direct routing on lo: the LAN does not see those.
		if l.Loopback || l.Kind == "dummy" {
			continue
		}
		for _, a := range l.Addresses {
			if a.Prefix.Addr() == vip.Address {
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
	if link, prefix, ok := linkForPrefix(vip.Address, links); ok {
		return link, "connected prefix " + prefix.Masked().String(), true
	}
	family := vrrp.FamilyOf(vip.Address)
	node := s.NodeAddress(family)
	if family == vrrp.IPv6 && !node.IsValid() {
		// Kubernetes knows only the IPv4 address of the node.
		node = s.NodeAddress(vrrp.IPv4)
	}
	if link, ok := linkWithAddress(node, links); ok && (family == vrrp.IPv4 || hasLinkLocal(link)) {
		return link, "carries the node address " + node.String(), true
	}
	return host.Link{}, "no interface of this node has a connected prefix that contains it, and none carries the node address", false
}

// linkForPrefix returns the interface with the longest connected prefix that
// contains address. The prefix of IPv6's link-local addresses does not count: it is
// on every interface.
func linkForPrefix(address netip.Addr, links []host.Link) (best host.Link, prefix netip.Prefix, ok bool) {
	for _, l := range links {
		if l.Loopback {
			continue
		}
		for _, a := range l.Addresses {
			if a.Prefix.IsSingleIP() || isLinkLocal(a) || !a.Prefix.Contains(address) {
				continue
			}
			if !ok || a.Prefix.Bits() > prefix.Bits() {
				best, prefix, ok = l, a.Prefix, true
			}
		}
	}
	return best, prefix, ok
}

// linkWithAddress returns the interface that has an address.
func linkWithAddress(address netip.Addr, links []host.Link) (host.Link, bool) {
	for _, l := range links {
		for _, a := range l.Addresses {
			if !l.Loopback && a.Prefix.Addr() == address {
				return l, true
			}
		}
	}
	return host.Link{}, false
}

// sourceAddress returns the source address of the advertisements. With unicast it is
// the node's own; else with IPv4 the node's own if the interface has it, and the
// first primary one of the interface if not, and with IPv6 the link-local address
// of the interface (RFC 9568 section 5.1.2.1).
func sourceAddress(link host.Link, r desired.Router, node netip.Addr) (source netip.Addr, ok bool) {
	for _, a := range link.Addresses {
		address := a.Prefix.Addr()
		if a.Tentative || vrrp.FamilyOf(address) != r.Family {
			continue
		}
		if address == node && (r.Unicast || r.Family == vrrp.IPv4) {
			return node, true
		}
		first := !a.Secondary
		if r.Family == vrrp.IPv6 {
			first = isLinkLocal(a)
		}
		if !ok && !r.Unicast && first {
			source, ok = address, true
		}
	}
	return source, ok
}

// isLinkLocal reports whether a is a link-local address of IPv6. A link-local
// address of IPv4 is like any other here.
func isLinkLocal(a host.Address) bool {
	return a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast()
}

func hasLinkLocal(l host.Link) bool { return slices.ContainsFunc(l.Addresses, isLinkLocal) }

// withoutOurs returns the links without the virtual links and addresses of this
// daemon. There may be thousands, and each VIP is compared with every address.
func withoutOurs(links []host.Link) []host.Link {
	links = slices.DeleteFunc(slices.Clone(links), func(l host.Link) bool { return l.Virtual != host.VirtualLink{} })
	for i := range links {
		links[i].Addresses = slices.DeleteFunc(slices.Clone(links[i].Addresses), func(a host.Address) bool { return a.Owned })
	}
	return links
}
