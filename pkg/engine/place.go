package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// Faults that keep a virtual router in Initialize. They are the reason an
// operator sees.
const (
	faultLinkDown        = "linkDown"
	faultNoCarrier       = "noCarrier"
	faultLinkFlapping    = "linkFlapping"
	faultNoMulticast     = "noMulticast"
	faultNoSourceAddress = "noSourceAddress"
	faultNoInterface     = "noInterface"
	faultBindFailed      = "bindFailed"
	faultAddressRemoved  = "addressRemoved"
	faultSendFailed      = "sendFailed"
	faultNotListening    = "notListening"
	faultLeaseNotRenewed = "leaseNotRenewed"
	faultInvalidConfig   = "invalidConfig"
	faultVRIDConflict    = "vridConflict"
	faultVIPInUse        = "vipInUse"
	faultVirtualMAC      = "virtualMACFailed"
	faultNoLocalEndpoint = desired.ReasonNoLocalEndpoint
)

// placement is a virtual router on the interface it belongs to.
type placement struct {
	key desired.RouterKey
	// link is what advertisements go out on and come in on.
	link   host.Link
	config vrrp.Config
	force  bool
	// noLocalEndpoint tells that this node can not serve the VIPs: a fault
	// like any other, but the last to be told of.
	noLocalEndpoint bool
	vips            []placedVIP
	// via is the link that a Master's advertisements go out on too, 0 for none:
	// the one with the virtual MAC, so that switches know where that is.
	via int
	// fault is why the router cannot run, empty if it can.
	fault string
}

// placedVIP is an address, the interface it belongs to, and why.
type placedVIP struct {
	address netip.Addr
	link    host.Link
	reason  string
	// virtual is the link with the virtual MAC that the address is to have.
	virtual host.VirtualLink
	// on is the link that has the address: link or, with a virtual MAC, that
	// one, which has the index 0 as long as it can not be used.
	on host.Link
	// claim is what is known of who has it; nil before the loop has taken it up.
	claim *claim
}

// portKey names a port: what of one family is heard on an interface.
type portKey struct {
	index  int
	family vrrp.Family
}

func (p *placement) port() portKey { return portKey{p.link.Index, p.key.Family} }

// place decides which interface each VIP belongs to, and so which virtual
// routers run where. It is a pure function. The placements are sorted by key.
func place(s desired.State, links []host.Link) ([]placement, []desired.UnplacedVIP) {
	placements := map[desired.RouterKey]*placement{}
	links = withoutOurs(links)
	var unplaced []desired.UnplacedVIP
	for _, router := range s.Routers {
		node := s.NodeAddress(router.Family)
		for _, vip := range router.VIPs {
			link, reason, ok := choose(vip, s, links)
			transport := link
			if ok && router.Unicast {
				if transport, ok = carrier(node, links); !ok {
					reason = fmt.Sprintf("unicast needs an address of this node of the VIP's family (IPv%d), and no interface carries one", router.Family)
				}
			}
			if !ok {
				unplaced = append(unplaced, desired.UnplacedVIP{Address: vip.Address, Reason: reason})
				continue
			}
			key := desired.RouterKey{Interface: transport.Name, Family: router.Family, VRID: router.VRID}
			p := placements[key]
			if p == nil {
				p = newPlacement(key, router, node, transport)
				placements[key] = p
			}
			v := placedVIP{address: vip.Address, link: link, on: link, reason: reason}
			if vip.VirtualMAC {
				v.virtual = host.VirtualLink{Parent: link.Index, IPv6: router.Family == vrrp.IPv6, VRID: router.VRID}
			}
			p.vips = append(p.vips, v)
			p.config.Addresses = append(p.config.Addresses, vip.Address)
		}
	}
	all := make([]placement, 0, len(placements))
	for _, p := range placements {
		if p.fault == "" {
			p.fault = p.vipsFault()
		}
		if p.fault == "" {
			if err := p.config.Validate(); err != nil {
				p.fault = faultInvalidConfig + ": " + err.Error()
			}
		}
		if p.fault == "" && p.noLocalEndpoint {
			p.fault = faultNoLocalEndpoint
		}
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b placement) int { return compareKeys(a.key, b.key) })
	slices.SortFunc(unplaced, func(a, b desired.UnplacedVIP) int { return a.Address.Compare(b.Address) })
	return all, unplaced
}

func newPlacement(key desired.RouterKey, r desired.Router, node netip.Addr, link host.Link) *placement {
	source, ok := sourceAddress(link, r, node)
	p := &placement{key: key, link: link, force: r.Force, noLocalEndpoint: r.NoLocalEndpoint, config: vrrp.Config{
		Version:               r.Version,
		Family:                r.Family,
		VRID:                  r.VRID,
		Priority:              r.Priority,
		AdvertisementInterval: r.AdvertisementInterval,
		DownAdverts:           r.DownAdverts,
		Preempt:               r.Preempt,
		TakeoverDelay:         r.TakeoverDelay,
		TakeoverStep:          r.TakeoverStep,
		PreemptDelay:          r.PreemptDelay,
		AdvertsPerInterval:    r.AdvertsPerInterval,
		Checksum:              r.Checksum,
		Password:              r.Password,
		Unicast:               r.Unicast,
		Source:                source,
	}}
	if source == node {
		// Where we do not send from the address that nodes know each other
		// by, nor do they: every one of them would pass for a stranger.
		p.config.Peers = r.Peers
	}
	p.fault = linkFault(link)
	switch {
	case p.fault != "":
	case !r.Unicast && !link.Multicast:
		p.fault = faultNoMulticast
	case !ok:
		p.fault = faultNoSourceAddress
	}
	return p
}

// vipsFault says why no VIP can be reached, by what is wrong with the link of
// the first. One whose link works must not be lost because of another: with
// unicast they may have different links.
func (p *placement) vipsFault() string {
	for i := range p.vips {
		if linkFault(p.vips[i].link) == "" {
			return ""
		}
	}
	return linkFault(p.vips[0].link)
}

// linkFault says why nothing works on a link.
func linkFault(link host.Link) string {
	switch {
	case !link.Up:
		return faultLinkDown
	case !link.Running:
		return faultNoCarrier
	default:
		return ""
	}
}

// choose names the interface of a VIP and says why, or why there is none.
func choose(vip desired.VIP, s desired.State, links []host.Link) (host.Link, string, bool) {
	for _, l := range links {
		// kube-proxy in ipvs mode keeps such addresses on a dummy link, a
		// server behind direct routing on lo: not as somebody's on the LAN.
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
	if link, prefix, ok := connected(vip.Address, links); ok {
		return link, "connected prefix " + prefix.Masked().String(), true
	}
	family := vrrp.FamilyOf(vip.Address)
	node := s.NodeAddress(family)
	if family == vrrp.IPv6 && !node.IsValid() {
		// A node that Kubernetes knows by its IPv4 address only.
		node = s.NodeAddress(vrrp.IPv4)
	}
	if link, ok := carrier(node, links); ok && (family == vrrp.IPv4 || hasLinkLocal(link)) {
		return link, "carries the node address " + node.String(), true
	}
	return host.Link{}, "no interface of this node has a connected prefix that contains it, and none carries the node address", false
}

// connected returns the interface whose connected prefix contains address,
// the longest prefix first. That of IPv6's link-local addresses is on every
// interface.
func connected(address netip.Addr, links []host.Link) (best host.Link, prefix netip.Prefix, ok bool) {
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

// carrier returns the interface that has an address.
func carrier(address netip.Addr, links []host.Link) (host.Link, bool) {
	for _, l := range links {
		for _, a := range l.Addresses {
			if !l.Loopback && a.Prefix.Addr() == address {
				return l, true
			}
		}
	}
	return host.Link{}, false
}

// sourceAddress returns the address our advertisements come from. With unicast
// it is the node's own; else with IPv4 the node's own if the interface carries
// it and the interface's first primary one if not, and with IPv6 the
// interface's link-local address (RFC 9568 section 5.1.2.1).
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

// isLinkLocal tells whether a is a link-local address of IPv6. An IPv4 one is
// an address like any other here.
func isLinkLocal(a host.Address) bool {
	return a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast()
}

func hasLinkLocal(l host.Link) bool { return slices.ContainsFunc(l.Addresses, isLinkLocal) }

// withoutOurs returns the links without our virtual links and addresses, which
// say nothing about the node. There may be thousands, and each VIP is compared with
// every address.
func withoutOurs(links []host.Link) []host.Link {
	links = slices.DeleteFunc(slices.Clone(links), func(l host.Link) bool { return l.Virtual != host.VirtualLink{} })
	for i := range links {
		links[i].Addresses = slices.DeleteFunc(slices.Clone(links[i].Addresses), func(a host.Address) bool { return a.Ours })
	}
	return links
}

// candidates are the ports that are listened on: those of the placements, and
// of every interface that a VIP could be placed on later. A link-local address
// alone does not make it one of those, since each Pod's end of a veth pair has
// one.
func candidates(links []host.Link, placements []placement) (interfaces []lan.Interface) {
	placed := map[portKey]bool{}
	for i := range placements {
		p := &placements[i]
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

func compareKeys(a, b desired.RouterKey) int {
	if c := strings.Compare(a.Interface, b.Interface); c != 0 {
		return c
	}
	if a.Family != b.Family {
		return int(a.Family) - int(b.Family)
	}
	return int(a.VRID) - int(b.VRID)
}
