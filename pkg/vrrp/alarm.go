package vrrp

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// AlarmReason says what an operator must look at. The words are part of what
// operators see in logs, Events and metrics.
type AlarmReason string

// The reasons.
const (
	// AlarmIncompatiblePeer: somebody sends advertisements for this virtual
	// router that must be discarded; Detail is the Discard. Both sides will be
	// Master.
	AlarmIncompatiblePeer AlarmReason = "incompatiblePeer"
	// AlarmSplitBrain: another Master goes on beside us.
	AlarmSplitBrain AlarmReason = "splitBrain"
	// AlarmPeerDeaf: it goes on although we answered it again and again, so
	// it does not hear us.
	AlarmPeerDeaf AlarmReason = "peerDeaf"
	// AlarmAddressList: a Master advertises addresses that are not ours;
	// keepalived discards advertisements with another list than its own.
	AlarmAddressList AlarmReason = "addressList"
	// AlarmAddressOwner: a stranger claims priority 255.
	AlarmAddressOwner AlarmReason = "addressOwner"
	// AlarmOwnSource: somebody else sends from our own address.
	AlarmOwnSource AlarmReason = "ownSource"
	// AlarmVRIDConflict: other routers use this VRID for other addresses.
	AlarmVRIDConflict AlarmReason = "vridConflict"
	// AlarmVIPInUse: some of the addresses are left alone, because another host
	// had them before they were claimed for the first time.
	AlarmVIPInUse AlarmReason = "vipInUse"
	// AlarmDuplicateAddress: another host claims an address that we hold.
	AlarmDuplicateAddress AlarmReason = "duplicateAddress"
)

// Alarm is something about a virtual router that an operator must look at.
type Alarm struct {
	Reason AlarmReason
	// Source is who sent what caused it.
	Source netip.Addr
	// Detail says more in a few words.
	Detail string
	// Since is when it began.
	Since Time
}

// Alarms returns the alarms that are on, in a fixed order. An alarm begins when
// its cause has lasted, so that no single stray packet raises it, and ends
// three Master_Down_Intervals after the cause was last seen. Each has one
// source: another is looked at only when that one is silent for as long.
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

// What alarms are raised for, in the order of Alarms. AlarmVRIDConflict is
// from Monitor, and the engine hears of the last two by ARP and ND.
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
	// minPackets is how many packets from one source it takes, over two
	// intervals, for an alarm.
	minPackets = 3
	// minDeafPackets is how many advertisements of another Master there must be
	// in the five Master_Down_Intervals after which it counts as deaf: a good
	// half of what it sends.
	minDeafPackets = 10
	// rolloutTime is for how long members may differ in their addresses: they do
	// not learn of a change all at once.
	rolloutTime = 3 * time.Second
	// describedAddresses is how many addresses a Detail shows of a list.
	describedAddresses = 4
)

// causes has one place for each reason, so that no flood makes it grow.
type detectors [detectorCount]detector

// cause is what was seen of what an alarm is raised for, from one source.
type detector struct {
	source      netip.Addr
	first, last Time
	packets     int
	// hold is for how long after the last packet the cause is still there.
	hold time.Duration
	// on tells that there is an alarm, since when there is.
	raised bool
	since  Time

	discard    Discard                        // detectIncompatiblePeer
	priority   uint8                          // detectSplitBrain, detectPeerDeaf
	list       [describedAddresses]netip.Addr // detectAddressList
	listLength int                            // how long that list really is
}

// over tells whether the cause is no longer there.
func (d *detector) expired(now Time) bool { return now.Sub(d.last) > d.hold }

// note takes in a packet that shows the cause. The alarm is raised when there
// were so many in at least so long. It is false if the packet is not from the
// source that is being looked at.
func (d *detector) observe(now Time, source netip.Addr, packets int, lasting, hold time.Duration) bool {
	switch {
	case d.packets == 0 || d.expired(now):
		*d = detector{source: source, first: now}
	case source != d.source:
		return false
	}
	d.last, d.hold = now, hold
	d.packets++
	if !d.raised && d.packets >= packets && now.Sub(d.first) >= lasting {
		d.raised, d.since = true, now
	}
	return true
}

// end ends a cause at once.
func (ds *detectors) reset(which int) { ds[which] = detector{} }

// ignorable are the reasons to discard a packet that say nothing about a peer:
// it was not for us, or no router on this link can have sent it.
var ignorable = [discards]bool{
	DiscardNone:       true,
	DiscardProtocol:   true,
	DiscardSource:     true,
	DiscardIPTTL:      true,
	DiscardVRID:       true,
	DiscardInitialize: true,
}

// noticeDiscard takes in a packet that was discarded. What interval its sender
// has is not known; most of those that are not like us have 1 s.
func (r *Router) observeDiscard(now Time, source netip.Addr, d Discard) {
	hold := r.holdTime(time.Second)
	switch {
	case d == DiscardIPTTL && r.config.Unicast && r.isPeer(source):
		// A router on the way, or a peer that sends so: keepalived 2.2.7 does by
		// unicast over IPv6, unless it has unicast_ttl.
		r.observeIncompatible(now, source, d, hold)
	case ignorable[d]:
	case d == DiscardOwnSource:
		r.detectors[detectOwnSource].observe(now, source, 1, 0, hold)
	default:
		r.observeIncompatible(now, source, d, hold)
	}
}

// incompatible takes in a packet of a peer whose packets must be discarded.
func (r *Router) observeIncompatible(now Time, source netip.Addr, d Discard, hold time.Duration) {
	incompatible := &r.detectors[detectIncompatiblePeer]
	if incompatible.observe(now, source, minPackets, 2*r.config.AdvertisementInterval, hold) {
		incompatible.discard = d
	}
}

// notice takes in an advertisement that is used although it is strange.
func (r *Router) observeAdvertisement(now Time, source netip.Addr, a *Advertisement, list listMatch) {
	interval := r.judgedInterval(a)
	if list == listMismatch {
		lasting := 2 * interval
		if r.mayBePeer(source) {
			lasting = max(lasting, rolloutTime)
		}
		differs := &r.detectors[detectAddressList]
		if differs.observe(now, source, minPackets, lasting, r.holdTime(interval)) {
			copy(differs.list[:], a.Addresses)
			differs.listLength = len(a.Addresses)
		}
	}
	if a.Priority == PriorityOwner && !r.isPeer(source) {
		r.detectors[detectAddressOwner].observe(now, source, minPackets, 2*interval, r.holdTime(interval))
	}
}

// observeOtherMaster takes in an advertisement of another Master, which should
// have yielded to us. A single one is what a failover may look like.
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

// judgedInterval is the interval to judge a sender by: its own as far as it is
// believed, and no less than ours.
func (r *Router) judgedInterval(a *Advertisement) time.Duration {
	return max(r.config.boundInterval(a.Interval), r.config.AdvertisementInterval)
}

// hold is for how long something counts that was seen from a Master which
// advertises every interval, or as often as we do.
func (r *Router) holdTime(interval time.Duration) time.Duration {
	return 3 * r.config.MasterDownInterval(max(interval, r.config.AdvertisementInterval))
}

// describe says what an address list of n addresses is of which the first are
// given.
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
