package vrrp

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// AlarmReason is the reason of an Alarm. Operators see these words in logs, Events
// and metrics.
type AlarmReason string

// The reasons.
const (
	// AlarmIncompatiblePeer: advertisements for this virtual router must be
	// discarded; Detail is the Discard. Their sender and we will both be Master.
	AlarmIncompatiblePeer AlarmReason = "incompatiblePeer"
	// AlarmSplitBrain: another Master stays Master beside us.
	AlarmSplitBrain AlarmReason = "splitBrain"
	// AlarmPeerDeaf: another Master stays Master despite many answers, so it does
	// not hear us.
	AlarmPeerDeaf AlarmReason = "peerDeaf"
	// AlarmAddressList: a Master advertises addresses that are not ours; keepalived
	// discards advertisements with a list that is not its own.
	AlarmAddressList AlarmReason = "addressList"
	// AlarmAddressOwner: an unknown router advertises priority 255.
	AlarmAddressOwner AlarmReason = "addressOwner"
	// AlarmOwnSource: another host sends from our own address.
	AlarmOwnSource AlarmReason = "ownSource"
	// AlarmVRIDConflict: other routers use this VRID for other addresses.
	AlarmVRIDConflict AlarmReason = "vridConflict"
	// AlarmVIPInUse: another host had some of the addresses before we claimed them
	// for the first time, so we do not claim these.
	AlarmVIPInUse AlarmReason = "vipInUse"
	// AlarmDuplicateAddress: another host claims an address that we hold.
	AlarmDuplicateAddress AlarmReason = "duplicateAddress"
)

// Alarm is a condition of a virtual router that an operator must look at.
type Alarm struct {
	Reason AlarmReason
	// Source is the sender of the packets that caused the alarm.
	Source netip.Addr
	// Detail describes the condition in a few words.
	Detail string
	// Since is when it began.
	Since Time
}

// Alarms returns the current alarms, in a fixed order. An alarm begins when its
// condition has lasted for some time, so that a stray packet does not raise it, and
// ends three Master_Down_Intervals after the last packet that showed it. Each alarm
// has one source: another source is considered only once the first is silent for
// that long.
func (r *Router) Alarms(now Time) []Alarm {
	var on []Alarm
	for i := range r.detectors {
		d := &r.detectors[i]
		if !d.raised || d.expired(now) {
			continue
		}
		a := Alarm{Reason: detectorReasons[i], Source: d.source, Since: d.since}
		switch i {
		case detectIncompatiblePeer:
			a.Detail = d.discard.String()
		case detectSplitBrain, detectPeerDeaf:
			a.Detail = fmt.Sprintf("priority %d", d.priority)
		case detectAddressList:
			a.Detail = fmt.Sprintf("%s instead of %s", formatAddresses(d.list[:min(d.listLength, len(d.list))], d.listLength),
				formatAddresses(r.lists.own[:min(len(r.lists.own), describedAddresses)], len(r.lists.own)))
		}
		on = append(on, a)
	}
	return on
}

// The indexes of detectors, in the order of Alarms. AlarmVRIDConflict comes from a
// Monitor, AlarmVIPInUse and AlarmDuplicateAddress from ARP and ND, outside this
// package.
const (
	detectIncompatiblePeer = iota
	detectSplitBrain
	detectPeerDeaf
	detectAddressList
	detectAddressOwner
	detectOwnSource

	detectorCount
)

var detectorReasons = [detectorCount]AlarmReason{
	detectIncompatiblePeer: AlarmIncompatiblePeer,
	detectSplitBrain:       AlarmSplitBrain,
	detectPeerDeaf:         AlarmPeerDeaf,
	detectAddressList:      AlarmAddressList,
	detectAddressOwner:     AlarmAddressOwner,
	detectOwnSource:        AlarmOwnSource,
}

const (
	// minPackets is how many packets from one source raise an alarm, over at least
	// two intervals.
	minPackets = 3
	// minDeafPackets is how many advertisements of another Master within five
	// Master_Down_Intervals show that it is deaf: a good half of those it sends.
	minDeafPackets = 10
	// rolloutTime is how long the members' addresses may differ: they do not learn
	// of a change all at once.
	rolloutTime = 3 * time.Second
	// describedAddresses is how many addresses of a list a Detail shows.
	describedAddresses = 4
)

// detectors has one detector for each reason, so that a flood does not make it
// grow.
type detectors [detectorCount]detector

// detector records the packets from one source that show a condition, and decides
// when they raise an alarm.
type detector struct {
	source      netip.Addr
	first, last Time
	packets     int
	// hold is how long the condition lasts after the last packet.
	hold time.Duration
	// raised reports whether there is an alarm, and since has its beginning.
	raised bool
	since  Time

	discard    Discard                        // detectIncompatiblePeer
	priority   uint8                          // detectSplitBrain, detectPeerDeaf
	list       [describedAddresses]netip.Addr // detectAddressList
	listLength int                            // the length of the whole list
}

// expired reports whether the condition is over.
func (d *detector) expired(now Time) bool { return now.Sub(d.last) > d.hold }

// observe records a packet that shows the condition. It raises the alarm after that
// many packets over at least that time. It returns false if it ignored the packet
// because the condition has another source.
func (d *detector) observe(now Time, source netip.Addr, packets int, duration, hold time.Duration) bool {
	switch {
	case d.packets == 0 || d.expired(now):
		*d = detector{source: source, first: now}
	case source != d.source:
		return false
	}
	d.last, d.hold = now, hold
	d.packets++
	if !d.raised && d.packets >= packets && now.Sub(d.first) >= duration {
		d.raised, d.since = true, now
	}
	return true
}

// reset ends a condition at once.
func (ds *detectors) reset(which int) { ds[which] = detector{} }

// ignorable are the reasons to discard a packet that raise no alarm: the packet
// was not for us, or no router on this link can have sent it.
var ignorable = [discards]bool{
	DiscardNone:       true,
	DiscardProtocol:   true,
	DiscardSource:     true,
	DiscardIPTTL:      true,
	DiscardVRID:       true,
	DiscardInitialize: true,
}

// observeDiscard records a discarded packet. The interval of its sender is not
// known; most incompatible routers have 1 s.
func (r *Router) observeDiscard(now Time, source netip.Addr, d Discard) {
	hold := r.holdTime(time.Second)
	switch {
	case d == DiscardIPTTL && r.config.Unicast && r.isPeer(source):
		// There is a router in between, or the peer sends another value:
		// keepalived 2.2.7 does with unicast over IPv6, unless unicast_ttl is set.
		r.observeIncompatible(now, source, d, hold)
	case ignorable[d]:
	case d == DiscardOwnSource:
		r.detectors[detectOwnSource].observe(now, source, 1, 0, hold)
	default:
		r.observeIncompatible(now, source, d, hold)
	}
}

// observeIncompatible records a packet of an incompatible peer.
func (r *Router) observeIncompatible(now Time, source netip.Addr, d Discard, hold time.Duration) {
	incompatible := &r.detectors[detectIncompatiblePeer]
	if incompatible.observe(now, source, minPackets, 2*r.config.AdvertisementInterval, hold) {
		incompatible.discard = d
	}
}

// observeAdvertisement records what is unusual about an accepted advertisement.
func (r *Router) observeAdvertisement(now Time, source netip.Addr, a *Advertisement, list listMatch) {
	interval := r.judgedInterval(a)
	if list == listMismatch {
		duration := 2 * interval
		if r.mayBePeer(source) {
			duration = max(duration, rolloutTime)
		}
		differs := &r.detectors[detectAddressList]
		if differs.observe(now, source, minPackets, duration, r.holdTime(interval)) {
			copy(differs.list[:], a.Addresses)
			differs.listLength = len(a.Addresses)
		}
	}
	if a.Priority == PriorityOwner && !r.isPeer(source) {
		r.detectors[detectAddressOwner].observe(now, source, minPackets, 2*interval, r.holdTime(interval))
	}
}

// observeOtherMaster records an advertisement of another Master that ought to have
// yielded to us. A single one is normal in a failover.
func (r *Router) observeOtherMaster(now Time, source netip.Addr, a *Advertisement) {
	interval := r.judgedInterval(a)
	split, deaf := &r.detectors[detectSplitBrain], &r.detectors[detectPeerDeaf]
	if split.observe(now, source, minPackets, 3*interval+1, r.holdTime(interval)) {
		split.priority = a.Priority
	}
	if deaf.observe(now, source, minDeafPackets, 5*r.config.MasterDownInterval(interval)+1, r.holdTime(interval)) {
		deaf.priority = a.Priority
	}
}

// judgedInterval returns the interval by which to judge a sender: its own within
// bounds, and no less than ours.
func (r *Router) judgedInterval(a *Advertisement) time.Duration {
	return max(r.config.boundInterval(a.Interval), r.config.AdvertisementInterval)
}

// holdTime returns how long a condition lasts after the last packet of a Master that
// advertises every interval; a shorter interval than ours counts as ours.
func (r *Router) holdTime(interval time.Duration) time.Duration {
	return 3 * r.config.MasterDownInterval(max(interval, r.config.AdvertisementInterval))
}

// formatAddresses formats a list of n addresses, of which only the first are given.
func formatAddresses(first []netip.Addr, n int) string {
	var b strings.Builder
	for i, a := range first {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	if n > len(first) {
		fmt.Fprintf(&b, " and %d more", n-len(first))
	}
	return b.String()
}
