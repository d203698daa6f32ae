package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// adoptedLifetime is how long a Master keeps advertising the address list of a
// router that it no longer hears: a keepalived in Backup sends nothing, and
// becomes Master at once when an advertisement does not carry its own list.
const adoptedLifetime = 24 * time.Hour

// listMatch is the result of comparing an address list with ours.
type listMatch uint8

const (
	// listMismatch: the list has an address that is not ours, or one twice.
	listMismatch listMatch = iota
	// listSubset: the list has some of our addresses.
	listSubset
	// listFull: the list has the addresses that we advertise unless a list is
	// adopted, in any order.
	listFull
)

// addressLists are our own address list and the one adopted from another Master
// (docs/adr/0013-whose-list-is-advertised.md). keepalived 2.2.7 discards an
// advertisement with a list that is not its own, and so becomes Master beside us.
// If its list is a subset of ours, we advertise exactly that list. The addresses
// that we hold do not change.
type addressLists struct {
	// own has the first of Config.Addresses, as many as an advertisement carries.
	own []netip.Addr
	// sorted has all of Config.Addresses; inOwn[i] reports whether sorted[i] is in own.
	sorted []netip.Addr
	inOwn  []bool
	// seen is scratch space of search, parallel to sorted.
	seen []bool

	// adopted is the list last heard that may replace own: it does while
	// adoptedMatch is listSubset. A list that equals ours is remembered as well,
	// because ours may grow while its sender's does not.
	adopted      []netip.Addr
	adoptedMatch listMatch
	// adoptedFrom is the router that the list came from.
	adoptedFrom netip.Addr
	// adoptedAt is the time of the last advertisement that confirmed the list.
	adoptedAt Time
}

// configure sets our own list to the addresses of c.
func (l *addressLists) configure(c Config) {
	l.own = c.Addresses[:min(len(c.Addresses), MaxAddresses(c.Family))]
	l.sorted = slices.Clone(c.Addresses)
	slices.SortFunc(l.sorted, netip.Addr.Compare)
	l.inOwn, l.seen = make([]bool, len(l.sorted)), make([]bool, len(l.sorted))
	for _, a := range l.own {
		i, _ := slices.BinarySearchFunc(l.sorted, a, netip.Addr.Compare)
		l.inOwn[i] = true
	}
	if l.adoptedMatch = l.search(l.adopted); l.adoptedMatch == listMismatch {
		l.forget()
	}
	l.adopted = slices.Grow(l.adopted, len(l.own)) // so that adopt allocates nothing
}

// advertised returns the list to put into advertisements.
func (l *addressLists) advertised() []netip.Addr {
	if l.adoptedMatch == listSubset {
		return l.adopted
	}
	return l.own
}

// advertisingListOf returns the router whose list is advertised, or the zero
// Addr if the list is our own.
func (l *addressLists) advertisingListOf() netip.Addr {
	if l.adoptedMatch == listSubset {
		return l.adoptedFrom
	}
	return netip.Addr{}
}

// compare compares list with ours. It allocates nothing.
func (l *addressLists) compare(list []netip.Addr) listMatch {
	switch {
	case slices.Equal(list, l.own):
		return listFull
	case slices.Equal(list, l.adopted):
		return l.adoptedMatch
	default:
		return l.search(list)
	}
}

// search is compare for a list that equals neither own nor adopted.
func (l *addressLists) search(list []netip.Addr) listMatch {
	if len(list) == 0 || len(list) > len(l.own) {
		return listMismatch
	}
	clear(l.seen)
	inOwn := 0
	for _, a := range list {
		i, found := slices.BinarySearchFunc(l.sorted, a, netip.Addr.Compare)
		if !found || l.seen[i] {
			return listMismatch
		}
		l.seen[i] = true
		if l.inOwn[i] {
			inOwn++
		}
	}
	if len(list) == len(l.own) && inOwn == len(l.own) {
		return listFull
	}
	return listSubset
}

// expire forgets the adopted list when its lifetime is over.
func (l *addressLists) expire(now Time) {
	if len(l.adopted) > 0 && now.Sub(l.adoptedAt) > adoptedLifetime {
		l.forget()
	}
}

func (l *addressLists) forget() {
	l.adopted, l.adoptedMatch, l.adoptedFrom = l.adopted[:0], listMismatch, netip.Addr{}
}

// adoptList updates the adopted list after an advertisement of another Master.
// match is the result of comparing its list with ours. staysMaster reports
// whether the sender stays Master after it has heard our reply.
//
//	list      sender                         effect
//	mismatch  any                            none: we do not hold those addresses
//	full      a peer about to yield          none: it may not know of the adopted list yet
//	full      a peer, or no peers are known  drop the adopted list
//	full      an unknown router              remember its list, as ours may grow
//	subset    an unknown router              adopt its list, or renew it
//	subset    a peer, another list           adopt its list
//	subset    a peer, the adopted list       renew it if the peer stays Master
//
// A peer does not need the list that it advertises, so it only renews the time:
// the unknown router that the list came from stays its source.
func (r *Router) adoptList(arrived Time, from netip.Addr, list []netip.Addr, match listMatch, staysMaster bool) {
	l, peer := &r.lists, r.isPeer(from)
	switch match {
	case listMismatch:
	case listFull:
		switch {
		case peer && !staysMaster:
		case r.mayBePeer(from):
			// An unknown router's list that equals ours for now is kept.
			if l.adoptedMatch == listSubset || r.mayBePeer(l.adoptedFrom) {
				l.forget()
			}
		default:
			l.adopt(arrived, from, list, match)
		}
	case listSubset:
		switch {
		case !peer || !slices.Equal(list, l.adopted):
			l.adopt(arrived, from, list, match)
		case staysMaster:
			l.adoptedAt = arrived
		}
	}
}

// adopt remembers a copy of list.
func (l *addressLists) adopt(arrived Time, from netip.Addr, list []netip.Addr, match listMatch) {
	l.adopted, l.adoptedMatch = append(l.adopted[:0], list...), match
	l.adoptedFrom, l.adoptedAt = from, arrived
}

// countFullList counts an advertisement with our full list from a Master that
// ought to yield to us.
func (r *Router) countFullList(now Time, source netip.Addr, a *Advertisement) {
	r.fullList.observe(now, source, minPackets, 0, r.holdTime(r.judgedInterval(a)))
}

// keepsFullList reports whether source keeps advertising our full list despite
// our replies. Then the full list is the one that it accepts.
func (r *Router) keepsFullList(source netip.Addr) bool {
	return r.fullList.raised && r.fullList.source == source
}
