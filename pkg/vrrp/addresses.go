package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// adoptedLifetime is for how long a Master goes on with the address list of a
// router that it no longer hears: keepalived as Backup says nothing, and would
// become Master at once if it did not find its own list.
const adoptedLifetime = 24 * time.Hour

// listMatch is what an address list is to ours.
type listMatch uint8

const (
	// listMismatch has an address that is not ours, or one twice.
	listMismatch listMatch = iota
	// listSubset is some of our addresses.
	listSubset
	// listFull is what we advertise unless we follow another, in any order.
	listFull
)

// addressLists are our own address list and the one that we may have to
// advertise instead. keepalived 2.2.7 discards an advertisement with another
// list than its own, and so becomes Master beside us. If its list is part of
// ours, we advertise just that. It does not matter that others then do not
// see all that we hold.
type addressLists struct {
	// own is as much of Config.Addresses as fits. sorted is all of it, and
	// fits says which of those are in own.
	own    []netip.Addr
	sorted []netip.Addr
	inOwn  []bool
	seen   []bool // scratch

	// heard is the list last heard that could be followed, from whom, and
	// when a stranger, or our own Master, was last heard with it. One that is
	// like our own is kept as well: ours may grow, and its sender's not.
	adopted      []netip.Addr
	adoptedMatch listMatch
	adoptedFrom  netip.Addr
	adoptedAt    Time
}

// configure takes in the addresses of c.
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
	l.adopted = slices.Grow(l.adopted, len(l.own)) // so that following allocates nothing
}

// advertised returns the list that advertisements carry.
func (l *addressLists) advertised() []netip.Addr {
	if l.adoptedMatch == listSubset {
		return l.adopted
	}
	return l.own
}

// listOf returns whose list that is, or an invalid address if it is ours.
func (l *addressLists) advertisingListOf() netip.Addr {
	if l.adoptedMatch == listSubset {
		return l.adoptedFrom
	}
	return netip.Addr{}
}

// compare returns what list is to ours. It allocates nothing.
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

// search is compare for a list that is none of the usual.
func (l *addressLists) search(list []netip.Addr) listMatch {
	if len(list) == 0 || len(list) > len(l.own) {
		return listMismatch
	}
	clear(l.seen)
	fitting := 0
	for _, a := range list {
		i, found := slices.BinarySearchFunc(l.sorted, a, netip.Addr.Compare)
		if !found || l.seen[i] {
			return listMismatch
		}
		l.seen[i] = true
		if l.inOwn[i] {
			fitting++
		}
	}
	if len(list) == len(l.own) && fitting == len(l.own) {
		return listFull
	}
	return listSubset
}

// insists takes in our whole list from a Master that is to yield to us, and tells
// whether it goes on with it although we answer: then that is what it needs.
func (r *Router) insists(now Time, source netip.Addr, a *Advertisement) bool {
	r.fullList.observe(now, source, minPackets, 0, r.holdTime(r.judgedInterval(a)))
	return r.fullList.raised && r.fullList.source == source
}

// expire forgets the list of a router that was not heard for long.
func (l *addressLists) expire(now Time) {
	if len(l.adopted) > 0 && now.Sub(l.adoptedAt) > adoptedLifetime {
		l.forget()
	}
}

func (l *addressLists) forget() {
	l.adopted, l.adoptedMatch, l.adoptedFrom = l.adopted[:0], listMismatch, netip.Addr{}
}

// follow takes in the list of a Master, and what it is to ours; stays tells that
// it is going to be Master for longer than it takes to hear us. A list that is
// not part of ours cannot be followed.
//
// A peer that is about to yield to us counts for less: it may not know yet whom
// we follow, and does not need what it advertises.
func (r *Router) follow(arrived Time, from netip.Addr, list []netip.Addr, is listMatch, stays bool) {
	l, peer := &r.lists, r.isPeer(from)
	switch {
	case is == listMismatch, is == listFull && peer && !stays:
	case is == listFull && r.mayBePeer(from):
		// Our own list from one of our own is no reason to remember it, nor is
		// one that was part of ours when we heard it.
		if l.adoptedMatch == listSubset || r.mayBePeer(l.adoptedFrom) {
			l.forget()
		}
	case !slices.Equal(list, l.adopted):
		l.adopted, l.adoptedMatch = append(l.adopted[:0], list...), is
		l.adoptedFrom, l.adoptedAt = from, arrived
	case !peer:
		l.adoptedFrom, l.adoptedAt = from, arrived
	case stays:
		l.adoptedAt = arrived
	}
}
