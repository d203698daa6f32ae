package vrrp

import "fmt"

// Counters are the statistics of one virtual router, named after RFC 6527.
// They count what the Router asked to be sent; copies and failures are the
// caller's to count.
type Counters struct {
	MasterTransitions      uint64 `json:"masterTransitions"`
	AdvertisementsReceived uint64 `json:"advertisementsReceived"`
	AdvertisementsSent     uint64 `json:"advertisementsSent"`
	PriorityZeroReceived   uint64 `json:"priorityZeroReceived"`
	PriorityZeroSent       uint64 `json:"priorityZeroSent"`
	// Checksums counts the packets of this virtual router that Parse
	// accepted, by ChecksumForm.
	Checksums map[string]uint64 `json:"checksums,omitempty"`
	// Discarded counts the packets of this virtual router that were not
	// used, and Warnings those that were used but looked wrong, by reason.
	Discarded map[string]uint64 `json:"discarded,omitempty"`
	Warnings  map[string]uint64 `json:"warnings,omitempty"`
}

// warning is what looked wrong about an advertisement that was used.
type warning uint8

const (
	// warningAdvertisementInterval: not our interval.
	warningAdvertisementInterval warning = iota
	// warningAddressList: not our addresses.
	warningAddressList
	// warningFirstNotLinkLocal: over IPv6 the first address is to be the
	// virtual router's link-local one (RFC 9568 section 5.2.9). FRR does not
	// care.
	warningFirstNotLinkLocal
	// warningAddressOwner: priority 255, which this project never uses.
	warningAddressOwner
	// warningOtherMaster: from a Master of lower priority while we are it.
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

// statistics are Counters as the Router keeps them: nothing is allocated when
// a packet is counted.
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

// Discard takes in that a packet of this virtual router was not accepted by
// Parse. What Receive discards it takes in itself. What Parse found wrong about
// a packet is of no interest if it was not for us, or not from a member, which
// Parse could not know.
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

// CountChecksum counts the form of the checksum of a packet of this virtual
// router that Parse accepted.
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

// byName turns counts by index into counts by name, without those that are 0.
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
