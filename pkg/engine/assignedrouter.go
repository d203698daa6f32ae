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

// assignedRouter is a virtual router that is assigned to an interface.
type assignedRouter struct {
	key desired.RouterKey
	// link sends and receives the advertisements.
	link   host.Link
	config vrrp.Config
	force  bool
	// noLocalEndpoint reports whether this node cannot serve the VIPs. Any other
	// fault goes before this one.
	noLocalEndpoint bool
	vips            []assignedVIP
	// via is the link that sends a Master's advertisements, too, 0 for none: the one
	// with the virtual MAC, so that switches learn where that is.
	via int
	// fault says why the router cannot run; zero if it can.
	fault desired.Cause
}

// assignedVIP is an address, its interface, and the reason for the choice.
type assignedVIP struct {
	address netip.Addr
	link    host.Link
	reason  string
	// virtual is the link with the virtual MAC of the address, zero for none.
	virtual host.VirtualLink
	// on is the link that the address is bound to: link or, with a virtual MAC, that
	// one, which has the index 0 as long as it cannot be used.
	on host.Link
}

// isVirtual reports whether the address has a virtual MAC.
func (v *assignedVIP) isVirtual() bool { return v.virtual != host.VirtualLink{} }

// bound returns the address on the link that has it. Other hosts ask for it and
// claim it on v.link.
func (v *assignedVIP) bound() host.VirtualAddress {
	return host.VirtualAddress{Link: v.on.Index, Address: v.address}
}

func (p *assignedRouter) port() portKey { return portKey{p.link.Index, p.key.Family} }

// pulse returns the value that identifies the virtual router to the kernel.
func (p *assignedRouter) pulse() desired.Pulse {
	return desired.NewPulse(p.link.Index, p.key.Family == vrrp.IPv6, p.key.VRID)
}

// lacksLink reports whether a VIP has no link that it can be bound to.
func (p *assignedRouter) lacksLink() bool {
	return slices.ContainsFunc(p.vips, func(v assignedVIP) bool { return v.on.Index == 0 })
}

// lacksEveryLink reports whether no VIP has one.
func (p *assignedRouter) lacksEveryLink() bool {
	return !slices.ContainsFunc(p.vips, func(v assignedVIP) bool { return v.on.Index != 0 })
}

// hasAll reports whether VIPs are where they were, as their neighbors know them,
// and could be announced there.
func (p *assignedRouter) hasAll(vips []assignedVIP) bool {
	placed := make(map[netip.Addr]*assignedVIP, len(p.vips))
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

// assignRouters assigns each VIP to an interface, and so the virtual routers. Its
// result depends only on its arguments. The routers are sorted by key.
func assignRouters(s desired.State, links []host.Link) ([]assignedRouter, []desired.UnplacedVIP) {
	routers := map[desired.RouterKey]*assignedRouter{}
	links = withoutOurs(links)
	var unplaced []desired.UnplacedVIP
	for _, router := range s.Routers {
		node := s.NodeAddress(router.Family)
		for _, vip := range router.VIPs {
			link, reason, ok := selectInterface(vip, s, links)
			transport := link
			if ok && router.Unicast {
				if transport, ok = linkWithAddress(node, links); !ok {
					reason = fmt.Sprintf("unicast needs an address of this node of the VIP's family (IPv%d), and no interface carries one", router.Family)
				}
			}
			if !ok {
				unplaced = append(unplaced, desired.UnplacedVIP{Address: vip.Address, Reason: reason})
				continue
			}
			key := desired.RouterKey{Interface: transport.Name, Family: router.Family, VRID: router.VRID}
			p := routers[key]
			if p == nil {
				p = newAssignedRouter(key, router, node, transport)
				routers[key] = p
			}
			v := assignedVIP{address: vip.Address, link: link, on: link, reason: reason}
			if vip.VirtualMAC {
				v.virtual = host.VirtualLink{Parent: link.Index, IPv6: router.Family == vrrp.IPv6, VRID: router.VRID}
			}
			p.vips = append(p.vips, v)
			p.config.Addresses = append(p.config.Addresses, vip.Address)
		}
	}
	all := make([]assignedRouter, 0, len(routers))
	for _, p := range routers {
		p.addFault(p.vipsFault(), "")
		if err := p.config.Validate(); err != nil {
			p.addFault(desired.FaultInvalidConfig, err.Error())
		}
		if p.noLocalEndpoint {
			p.addFault(desired.FaultNoLocalEndpoint, "")
		}
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b assignedRouter) int { return compareKeys(a.key, b.key) })
	slices.SortFunc(unplaced, func(a, b desired.UnplacedVIP) int { return a.Address.Compare(b.Address) })
	return all, unplaced
}

func newAssignedRouter(key desired.RouterKey, r desired.Router, node netip.Addr, link host.Link) *assignedRouter {
	source, ok := sourceAddress(link, r, node)
	p := &assignedRouter{key: key, link: link, force: r.Force, noLocalEndpoint: r.NoLocalEndpoint, config: vrrp.Config{
		Settings:      r.Settings,
		Family:        r.Family,
		VRID:          r.VRID,
		TakeoverDelay: r.TakeoverDelay,
		TakeoverStep:  r.TakeoverStep,
		Source:        source,
	}}
	if source == node {
		// From another interface the peers do not send from their node addresses: none
		// of them would be known.
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
func (p *assignedRouter) faulty() bool { return p.fault.Reason != "" }

// addFault sets the fault, unless there is another one already or reason is empty.
func (p *assignedRouter) addFault(reason desired.Reason, message string) {
	if !p.faulty() {
		p.fault = desired.Cause{Reason: reason, Message: message}
	}
}

// vipsFault returns the fault of the first VIP's link if no link of a VIP works. A
// VIP whose link works must not be lost because of another: with unicast they may
// have different links.
func (p *assignedRouter) vipsFault() desired.Reason {
	for i := range p.vips {
		if linkFault(p.vips[i].link) == "" {
			return ""
		}
	}
	return linkFault(p.vips[0].link)
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
