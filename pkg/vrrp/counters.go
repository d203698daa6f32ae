package vrrp

import "fmt"

// Counters are the statistics of one virtual router, named after RFC 6527.
// They count the advertisements in Output.Send; the caller counts copies and
// failures.
type Counters struct {
	MasterTransitions      uint64 `json:"masterTransitions"`
	AdvertisementsReceived uint64 `json:"advertisementsReceived"`
	AdvertisementsSent     uint64 `json:"advertisementsSent"`
	PriorityZeroReceived   uint64 `json:"priorityZeroReceived"`
	PriorityZeroSent       uint64 `json:"priorityZeroSent"`
	// Checksums counts the packets of this virtual router that Parse
	// accepted, by ChecksumForm.
	Checksums map[string]uint64 `json:"checksums,omitempty"`
	// Discarded counts the discarded packets of this virtual router, and Warnings
	// the accepted ones that were unusual, by reason.
	Discarded map[string]uint64 `json:"discarded,omitempty"`
	Warnings  map[string]uint64 `json:"warnings,omitempty"`
}

// warning is an unusual property of an accepted advertisement.
type warning uint8

const (
	// warningAdvertisementInterval: not our interval.
	warningAdvertisementInterval warning = iota
	// warningAddressList: not our addresses.
	warningAddressList
	// warningFirstNotLinkLocal: over IPv6 the first address must be the virtual
	// router's link-local address (RFC 9568 section 5.2.9). FRR does not obey.
	warningFirstNotLinkLocal
	// warningAddressOwner: priority 255, which this project never uses.
	warningAddressOwner
	// warningOtherMaster: from a Master of lower priority while we are Master.
	warningOtherMaster

	warnings // how many there are
)

var warningNames = [warnings]string{
	warningAdvertisementInterval: "advertisementInterval",
	warningAddressList:           "addressList",
	warningFirstNotLinkLocal:     "firstNotLinkLocal",
	warningAddressOwner:          "addressOwner",
	warningOtherMaster:           "otherMaster",
}

func (w warning) String() string { return warningNames[w] }

// statistics is the internal form of Counters: counting a packet allocates nothing.
type statistics struct {
	masterTransitions    uint64
	received             uint64
	sent                 uint64
	priorityZeroReceived uint64
	priorityZeroSent     uint64
	checksums            [checksumForms]uint64
	discarded            [discards]uint64
	warnings             [warnings]uint64
}

// Discard records a packet of this virtual router that Parse discarded. Receive
// calls it for the packets that it discards itself. If the packet was not for us, or
// not from a member, which Parse cannot know, that reason replaces d unless d is
// checked first.
func (r *Router) Discard(now Time, h Header, d Discard) {
	if first := r.checkMember(h); first != DiscardNone && (first < d || d == DiscardPacketLength) {
		d = first
	}
	if d >= discards {
		return
	}
	r.statistics.discarded[d]++
	r.observeDiscard(now, h.Source, d)
}

// CountChecksum counts the checksum form of a packet of this virtual router that
// Parse accepted.
func (r *Router) CountChecksum(f ChecksumForm) {
	if f < checksumForms {
		r.statistics.checksums[f]++
	}
}

func (s *statistics) counters() Counters {
	return Counters{
		MasterTransitions:      s.masterTransitions,
		AdvertisementsReceived: s.received,
		AdvertisementsSent:     s.sent,
		PriorityZeroReceived:   s.priorityZeroReceived,
		PriorityZeroSent:       s.priorityZeroSent,
		Checksums:              byName[ChecksumForm](s.checksums[:]),
		Discarded:              byName[Discard](s.discarded[:]),
		Warnings:               byName[warning](s.warnings[:]),
	}
}

// byName converts counts by index to counts by name, without the zero ones.
func byName[T interface {
	~uint8
	fmt.Stringer
}](counts []uint64) map[string]uint64 {
	var m map[string]uint64
	for i, n := range counts {
		if n == 0 {
			continue
		}
		if m == nil {
			m = make(map[string]uint64)
		}
		m[T(i).String()] = n
	}
	return m
}
