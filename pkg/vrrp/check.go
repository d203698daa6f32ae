package vrrp

import "crypto/subtle"

// checkAdvertisement is what of the validation needs the configuration.
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

// FromMember tells whether a packet is for this virtual router and, with unicast,
// from one of its peers: in any state, and also if the advertisement in it must be
// discarded for other reasons.
func (r *Router) FromMember(h Header) bool { return r.checkMember(h) == DiscardNone }

// checkMember tells whether the packet is for us, and from another who may be
// a member.
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

// countReceived counts an advertisement that will be used, and what is strange about
// it. None of that is a reason to discard it: two Masters are the worse evil.
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
