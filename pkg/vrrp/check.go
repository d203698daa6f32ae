package vrrp

import (
	"net/netip"
	"slices"
)

// check is what of the validation needs the configuration.
func (r *Router) check(source netip.Addr, a *Advertisement) Discard {
	switch {
	case r.state == Initialize:
		return DiscardInitialize
	case source == r.config.Source:
		return DiscardOwnSource
	case a.VRID != r.config.VRID:
		return DiscardVRID
	case a.Version != r.config.Version:
		return DiscardVersion
	case a.Version == V2 && a.Interval != r.config.AdvertisementInterval:
		// RFC 3768 section 7.1. Version 3 learns it instead.
		return DiscardAdvertisementInterval
	default:
		return DiscardNone
	}
}

// count counts an advertisement that will be used, and what is strange about
// it. None of that is a reason to discard it: two Masters are the worse evil.
func (r *Router) count(a *Advertisement) {
	r.statistics.received++
	if a.Priority == PriorityResign {
		r.statistics.priorityZeroReceived++
	}
	if a.Priority == PriorityOwner {
		r.statistics.warnings[warningAddressOwner]++
	}
	if a.Interval != r.config.AdvertisementInterval {
		r.statistics.warnings[warningAdvertisementInterval]++
	}
	if !r.hasAddresses(a.Addresses) {
		r.statistics.warnings[warningAddressList]++
	}
}

// hasAddresses tells whether list is our own in any order.
func (r *Router) hasAddresses(list []netip.Addr) bool {
	if slices.Equal(list, r.config.Addresses) {
		return true
	}
	if len(list) != len(r.sorted) {
		return false
	}
	r.scratch = append(r.scratch[:0], list...)
	slices.SortFunc(r.scratch, netip.Addr.Compare)
	return slices.Equal(r.scratch, r.sorted)
}
