package vrrp

import (
	"encoding/binary"
	"net/netip"
)

// ChecksumForm is what the checksum of a packet was computed over.
type ChecksumForm uint8

// The forms. Version 2 and, for IPv4, RFC 9568 section 5.2.8 take the message
// alone. RFC 5798 could be read either way, and keepalived and FRR have always
// taken in the pseudo-header and accept nothing else, so that is what Append
// writes in version 3 unless it is told otherwise. Parse accepts both. Over
// IPv6 everybody takes in the pseudo-header.
const (
	ChecksumNone ChecksumForm = iota
	ChecksumMessage
	ChecksumPseudoHeader
	// ChecksumGroupPseudoHeader is that of old versions of keepalived, in
	// whose pseudo-header a unicast IPv4 packet goes to the multicast group.
	// It is accepted but never sent: a keepalived that hears it once sends no
	// other from then on.
	ChecksumGroupPseudoHeader

	checksumForms // how many there are
)

var checksumFormNames = [checksumForms]string{
	ChecksumNone:              "none",
	ChecksumMessage:           "message",
	ChecksumPseudoHeader:      "pseudoHeader",
	ChecksumGroupPseudoHeader: "groupPseudoHeader",
}

// String returns the form's word, which metrics and logs show and which never
// changes.
func (f ChecksumForm) String() string {
	if f < checksumForms {
		return checksumFormNames[f]
	}
	return "unknown"
}

// checksumForm returns the form in which the message's checksum is right,
// ChecksumNone if in none that v and the family allow.
func checksumForm(v Version, message []byte, source, destination netip.Addr) ChecksumForm {
	// A message with its right checksum in it sums up to all ones.
	const right = 0
	sum := uint32(^checksum(message, 0))
	with := func(destination netip.Addr) uint16 {
		return checksum(nil, sum+pseudoHeader(len(message), source, destination))
	}
	switch {
	case v == V3 && with(destination) == right:
		return ChecksumPseudoHeader
	case source.Is4() && checksum(nil, sum) == right:
		return ChecksumMessage
	case v == V3 && source.Is4() && with(GroupIPv4) == right:
		return ChecksumGroupPseudoHeader
	default:
		return ChecksumNone
	}
}

// checksum is the Internet checksum (RFC 1071) of message, on top of sum.
func checksum(message []byte, sum uint32) uint16 {
	for ; len(message) >= 2; message = message[2:] {
		sum += uint32(binary.BigEndian.Uint16(message))
	}
	if len(message) == 1 {
		sum += uint32(message[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// pseudoHeader is the sum of the pseudo-header (RFC 793 section 3.1, RFC 8200
// section 8.1) of a message that is length octets long. It has the same words
// in either family.
func pseudoHeader(length int, source, destination netip.Addr) uint32 {
	return addressSum(source) + addressSum(destination) + Protocol + uint32(length)
}

func addressSum(a netip.Addr) (sum uint32) {
	if a.Is4() {
		octets := a.As4()
		return uint32(^checksum(octets[:], 0))
	}
	octets := a.As16()
	return uint32(^checksum(octets[:], 0))
}
