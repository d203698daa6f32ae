package engine

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
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
	// fault says why the router cannot run; zero if it can.
	fault desired.Cause
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
}

// isVirtual reports whether the address is to have the virtual MAC.
func (v *placedVIP) isVirtual() bool { return v.virtual != host.VirtualLink{} }

// bound returns the address on the link that has it. Other hosts ask for it and
// claim it on v.link.
func (v *placedVIP) bound() host.VirtualAddress {
	return host.VirtualAddress{Link: v.on.Index, Address: v.address}
}

func (p *placement) port() portKey { return portKey{p.link.Index, p.key.Family} }

// pulse returns the value that identifies the virtual router to the kernel.
func (p *placement) pulse() desired.Pulse {
	return desired.NewPulse(p.link.Index, p.key.Family == vrrp.IPv6, p.key.VRID)
}

// lacksLink reports whether a VIP has no link that it can be bound to.
func (p *placement) lacksLink() bool {
	return slices.ContainsFunc(p.vips, func(v placedVIP) bool { return v.on.Index == 0 })
}

// lacksEveryLink reports whether no VIP has one.
func (p *placement) lacksEveryLink() bool {
	return !slices.ContainsFunc(p.vips, func(v placedVIP) bool { return v.on.Index != 0 })
}

// hasAll reports whether VIPs are where they were, as their neighbors know them,
// and could be announced there.
func (p *placement) hasAll(vips []placedVIP) bool {
	placed := make(map[netip.Addr]*placedVIP, len(p.vips))
	for i := range p.vips {
		placed[p.vips[i].address] = &p.vips[i]
	}
	for i := range vips {
		was, now := placed[vips[i].address], &vips[i]
		if was == nil || was.on.Index != now.on.Index || !bytes.Equal(was.on.HardwareAddr, now.on.HardwareAddr) ||
			linkFault(was.link) != "" && linkFault(now.link) == "" {
			return false
		}
	}
	return true
}

// portKey identifies a port: the sockets of one family on an interface.
type portKey struct {
	index  int
	family vrrp.Family
}

func keyOf(i lan.Interface) portKey {
	if i.IPv6 {
		return portKey{i.Index, vrrp.IPv6}
	}
	return portKey{i.Index, vrrp.IPv4}
}

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
		p.addFault(p.vipsFault(), "")
		if err := p.config.Validate(); err != nil {
			p.addFault(desired.FaultInvalidConfig, err.Error())
		}
		if p.noLocalEndpoint {
			p.addFault(desired.FaultNoLocalEndpoint, "")
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
		Settings:      r.Settings,
		Family:        r.Family,
		VRID:          r.VRID,
		TakeoverDelay: r.TakeoverDelay,
		TakeoverStep:  r.TakeoverStep,
		Source:        source,
	}}
	if source == node {
		// Where we do not send from the address that nodes know each other
		// by, nor do they: every one of them would pass for a stranger.
		p.config.Peers = r.Peers
	}
	p.addFault(linkFault(link), "")
	if !r.Unicast && !link.Multicast {
		p.addFault(desired.FaultNoMulticast, "")
	}
	if !ok {
		p.addFault(desired.FaultNoSourceAddress, "")
	}
	return p
}

// faulty reports whether the router cannot run.
func (p *placement) faulty() bool { return p.fault.Reason != "" }

// addFault sets the fault, unless there is another one already or reason is empty.
func (p *placement) addFault(reason desired.Reason, message string) {
	if !p.faulty() {
		p.fault = desired.Cause{Reason: reason, Message: message}
	}
}

// vipsFault says why no VIP can be reached, by what is wrong with the link of
// the first. One whose link works must not be lost because of another: with
// unicast they may have different links.
func (p *placement) vipsFault() desired.Reason {
	for i := range p.vips {
		if linkFault(p.vips[i].link) == "" {
			return ""
		}
	}
	return linkFault(p.vips[0].link)
}

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
		links[i].Addresses = slices.DeleteFunc(slices.Clone(links[i].Addresses), func(a host.Address) bool { return a.Owned })
	}
	return links
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
