package vrrp

import "crypto/subtle"

// checkAdvertisement validates what depends on the state and the configuration.
func (r *Router) checkAdvertisement(h Header, a *Advertisement) Discard {
	if r.state == Initialize {
		return DiscardInitialize
	}
	if d := r.checkMember(h); d != DiscardNone {
		return d
	}
	switch c := &r.config; {
	case a.VRID != c.VRID:
		return DiscardVRID
	case a.Version != c.Version:
		return DiscardVersion
	case a.Authentication != c.authentication():
		return DiscardAuthTypeMismatch
	case subtle.ConstantTimeCompare(a.Password[:], c.Password[:]) == 0:
		return DiscardAuthFailure
	case a.Version == V2 && a.Interval != c.AdvertisementInterval:
		// RFC 3768 section 7.1. Version 3 learns it instead.
		return DiscardAdvertisementInterval
	default:
		return DiscardNone
	}
}

// FromMember reports whether a packet is addressed to this virtual router and, with
// unicast, comes from one of its peers. It does not depend on the state, nor on
// whether the advertisement is discarded for other reasons.
func (r *Router) FromMember(h Header) bool { return r.checkMember(h) == DiscardNone }

// checkMember checks that a packet is for us and that its sender may be a member.
func (r *Router) checkMember(h Header) Discard {
	c := &r.config
	destination := Group(c.Family)
	if c.Unicast {
		destination = c.Source
	}
	switch {
	case h.Destination != destination:
		return DiscardWrongDestination
	case h.Source == c.Source:
		return DiscardOwnSource
	case c.Unicast && !r.isPeer(h.Source):
		return DiscardUnknownPeer
	default:
		return DiscardNone
	}
}

// countReceived counts an accepted advertisement and what is unusual about it. None
// of that is a reason to discard it: two Masters would be worse.
func (r *Router) countReceived(a *Advertisement, list listMatch) {
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
	if list != listFull {
		r.statistics.warnings[warningAddressList]++
	}
	if r.config.Family == IPv6 && !a.Addresses[0].IsLinkLocalUnicast() {
		r.statistics.warnings[warningFirstNotLinkLocal]++
	}
}
