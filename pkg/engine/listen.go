package engine

import (
	"errors"
	"maps"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// place decides anew what runs where, and what is listened on for it.
func (l *loop) place() {
	l.own, l.bound = addressesOf(l.links.Links)
	l.ownMACs = ownMACs(l.links.Links)
	l.placements = nil
	if l.desired != nil {
		var unplaced []desired.UnplacedVIP
		l.placements, unplaced = place(*l.desired, l.links.Links)
		l.tellUnplaced(unplaced)
	}
	l.useVirtualLinks()
	l.interfaces = candidates(l.links.Links, l.placements)
	// A port that is not wanted any more is listened on until the listener says
	// that it is closed: it may be wanted again before the listener looks.
	l.listen(listenOrder{interfaces: l.interfaces})
}

func portOf(i lan.Interface) portKey {
	if i.IPv6 {
		return portKey{i.Index, vrrp.IPv6}
	}
	return portKey{i.Index, vrrp.IPv4}
}

// listened takes over the ports that are open now, and gives back those that
// are not needed any more. Every report must pass here: a port that only one
// of them names is to be given back too.
func (l *loop) listened(r listenReport, now vrrp.Time) {
	old := l.ports
	l.releaseBefore(r.ports, now)
	l.ports, l.deaf = r.ports, r.failed
	l.network.Use(l.ports)
	since := map[portKey]vrrp.Time{}
	for _, p := range l.ports {
		port := portOf(p.Interface)
		since[port] = now
		if began, ok := l.listening[port]; ok && slices.Contains(old, p) {
			since[port] = began
		}
		if l.sightings[port] == nil {
			l.sightings[port] = &vrrp.Sightings{}
		}
	}
	l.listening = since
	maps.DeleteFunc(l.sightings, func(p portKey, _ *vrrp.Sightings) bool { _, ok := since[p]; return !ok })
	unused := slices.DeleteFunc(slices.Clone(old), func(p *lan.Port) bool { return slices.Contains(l.ports, p) })
	if len(unused) > 0 {
		l.listen(listenOrder{interfaces: l.interfaces, unused: unused})
	}
	var errs []error
	for _, i := range l.interfaces {
		if err := l.deaf[portOf(i)]; err != nil {
			errs = append(errs, err)
		}
	}
	listen := topic{what: "listen"}
	if err := errors.Join(errs...); err != nil {
		l.logOnce(listen, err.Error(), func() { l.logger.Error(err, "Listening for VRRP is incomplete") })
	} else {
		delete(l.logged, listen)
	}
}

// mend has sockets opened that could not be, or that do not work any more.
func (l *loop) mend(now vrrp.Time) {
	broken := l.network.Broken()
	if len(l.deaf) == 0 && len(broken) == 0 || l.links == nil {
		return
	}
	for _, p := range broken {
		delete(l.listening, portOf(p.Interface))
	}
	l.listen(listenOrder{interfaces: l.interfaces, broken: broken})
	if len(broken) > 0 && l.desired != nil && !l.stopping {
		l.configure(now)
	}
}

// cannotHear tells that the sockets of a port could not be opened or, for a
// router that runs, are not open: its silence would say nothing. One that does
// not run yet waits for them.
func (l *loop) cannotHear(p portKey, runs bool) bool {
	_, listening := l.listening[p]
	return l.deaf[p] != nil || runs && !listening
}

// ownAddress is an address of this node. The same link-local address may be
// somebody else's on another interface: index is 0 for all others.
type ownAddress struct {
	index   int
	address netip.Addr
}

// addressesOf returns this node's addresses, and which of ours are bound.
func addressesOf(links []host.Link) (own map[ownAddress]bool, bound map[host.VirtualAddress]bool) {
	own, bound = map[ownAddress]bool{}, map[host.VirtualAddress]bool{}
	for _, l := range links {
		for _, a := range l.Addresses {
			address := a.Prefix.Addr()
			if a.Ours {
				bound[host.VirtualAddress{Link: l.Index, Address: address}] = true
			}
			if isLinkLocal(a) {
				own[ownAddress{l.Index, address}] = true
			} else {
				own[ownAddress{0, address}] = true
			}
		}
	}
	return own, bound
}

// isOwn tells whether what comes in on an interface comes from this node.
func (l *loop) isOwn(index int, source netip.Addr) bool {
	return l.own[ownAddress{0, source}] || l.own[ownAddress{index, source}]
}
