package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// Status is a snapshot of a Router.
type Status struct {
	State State
	// Reason is that of the last transition; empty before the first.
	Reason Reason
	// Since is when that transition happened.
	Since Time
	// Master is the address of the Master last heard, our own in state Master,
	// and the zero Addr if no Master was heard since Startup.
	Master netip.Addr
	// MasterPriority is the priority last advertised by Master: 0 if it resigned.
	MasterPriority uint8
	// MasterAdverInterval is Master_Adver_Interval: the Master's interval as far
	// as Router.Receive learns it, our own until a Master was heard.
	MasterAdverInterval time.Duration
	// Heard reports whether another Master was heard since Startup, and LastHeard
	// when last. Becoming Master does not change them, so they show how long
	// there was no Master. When a Master stalls and becomes Backup, LastHeard is
	// the time of its own last advertisement.
	Heard     bool
	LastHeard Time
	// Advertised are the addresses in our advertisements, sent or not: as many of
	// Config.Addresses as fit, or the list adopted from another Master, because
	// keepalived discards a list that is not its own.
	Advertised []netip.Addr
	// AdvertisingListOf is the Master that the adopted list came from; the zero
	// Addr while the list is our own.
	AdvertisingListOf netip.Addr
	Counters          Counters
}

// State returns the state.
func (r *Router) State() State { return r.state }

// Status returns a snapshot, which shares no memory with the Router.
func (r *Router) Status() Status {
	s := Status{
		State:               r.state,
		Reason:              r.reason,
		Since:               r.since,
		Master:              r.master,
		MasterPriority:      r.masterPriority,
		MasterAdverInterval: r.masterAdverInterval,
		Heard:               r.heard,
		LastHeard:           r.lastHeard,
		Advertised:          slices.Clone(r.lists.advertised()),
		AdvertisingListOf:   r.lists.advertisingListOf(),
		Counters:            r.statistics.counters(),
	}
	if r.state == Master {
		s.Master = r.config.Source
		s.MasterPriority = r.config.Priority
		s.MasterAdverInterval = r.config.AdvertisementInterval
	}
	return s
}
