package engine

import (
	"net/netip"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// links are the interfaces of the node and their addresses.
type links struct {
	snapshot *host.Snapshot // nil before the first
	// own are the node's addresses; those that this daemon bound are in bound, too.
	own   map[ownAddress]bool
	bound map[host.VirtualAddress]bool
	macs  map[lan.MAC]bool
	// flaps are the links that had a fault lately. flapsEnd is the time at which
	// one of them may be used again.
	flaps    flaps
	flapsEnd vrrp.Time
}

func newLinks() *links { return &links{flaps: flaps{}, flapsEnd: never} }

// update replaces the snapshot. used are the names of the interfaces that virtual
// routers use.
func (l *links) update(s *host.Snapshot, used map[string]bool, now vrrp.Time) {
	if l.snapshot != nil {
		for name := range l.flaps {
			used[name] = true
		}
		l.flaps.note(used, l.snapshot.Links, s.Links, now)
		l.flapsEnd = l.flaps.deadline(now)
	}
	l.snapshot = s
	l.own, l.bound = addressesOf(s.Links)
	l.macs = macsOf(s.Links)
}

// flapsDue reports whether a link that flapped has worked for long enough by now.
func (l *links) flapsDue(now vrrp.Time) bool {
	due := now >= l.flapsEnd
	if due {
		l.flapsEnd = l.flaps.deadline(now)
	}
	return due
}

// ownAddress is an address of this node. The same link-local address may be
// another host's on another interface; index is 0 for all other addresses.
type ownAddress struct {
	index   int
	address netip.Addr
}

// isOwn reports whether a packet that was received on an interface comes from
// this node.
func (l *links) isOwn(index int, source netip.Addr) bool {
	return l.own[ownAddress{0, source}] || l.own[ownAddress{index, source}]
}

// addressesOf returns the addresses of links, and those of them that this daemon
// bound.
func addressesOf(all []host.Link) (own map[ownAddress]bool, bound map[host.VirtualAddress]bool) {
	own, bound = map[ownAddress]bool{}, map[host.VirtualAddress]bool{}
	for _, l := range all {
		for _, a := range l.Addresses {
			address := a.Prefix.Addr()
			if a.Owned {
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

// macsOf returns the Ethernet addresses of links.
func macsOf(all []host.Link) map[lan.MAC]bool {
	macs := make(map[lan.MAC]bool, len(all))
	for i := range all {
		if len(all[i].HardwareAddr) == len(lan.MAC{}) {
			macs[lan.MAC(all[i].HardwareAddr)] = true
		}
	}
	return macs
}
