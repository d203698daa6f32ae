package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// Status is what there is to know about a Router.
type Status struct {
	State State
	// Reason is the last transition's; empty before the first.
	Reason Reason
	// Since is when that transition happened.
	Since Time
	// Master is the address of the Master last heard, our own while we are
	// it, and invalid if none was heard since Startup.
	Master netip.Addr
	// MasterPriority is what that Master advertised last: 0 if it resigned.
	MasterPriority uint8
	// MasterAdverInterval is Master_Adver_Interval: the Master's as far as it
	// was believed, and our own until one was heard.
	MasterAdverInterval time.Duration
	// Heard tells that another Master was heard since Startup, and LastHeard
	// when that was last. Becoming Master does not change them, so they tell
	// how long there was none. A Master that stalled and made way heard
	// itself last.
	Heard     bool
	LastHeard Time
	// Advertised are the addresses that our advertisements carry, or would:
	// as many of Config.Addresses as fit, and while a Master that does not have
	// all of them may still be there, exactly its list, because keepalived
	// discards another than its own.
	Advertised []netip.Addr
	// AdvertisingListOf is the Master whose list that is; invalid if it is ours.
	AdvertisingListOf netip.Addr
	Counters          Counters
}

// State returns the state.
func (r *Router) State() State { return r.state }

// Status returns what there is to know. It shares nothing with the Router.
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
