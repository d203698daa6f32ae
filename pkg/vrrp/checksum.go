package vrrp

import (
	"encoding/binary"
	"net/netip"
)

// ChecksumForm is the coverage of a packet's checksum.
type ChecksumForm uint8

// The forms. In version 2 and, for IPv4, RFC 9568 section 5.2.8 the checksum covers
// the message alone. RFC 5798 could be read either way; keepalived and FRR have
// always included the pseudo-header and accept nothing else, so Append writes that
// form in version 3 by default. Parse accepts both. Over IPv6 all implementations
// include the pseudo-header.
const (
	ChecksumNone ChecksumForm = iota
	ChecksumMessage
	ChecksumPseudoHeader
	// ChecksumGroupPseudoHeader is the form of old versions of keepalived, whose
	// pseudo-header has the multicast group as the destination of a unicast IPv4
	// packet. It is accepted but never sent: a keepalived that receives it once
	// sends no other form from then on.
	ChecksumGroupPseudoHeader

	checksumForms // how many there are
)

var checksumFormNames = [checksumForms]string{
	ChecksumNone:              "none",
	ChecksumMessage:           "message",
	ChecksumPseudoHeader:      "pseudoHeader",
	ChecksumGroupPseudoHeader: "groupPseudoHeader",
}

// String returns the form's name, as in metrics and logs. It never changes.
func (f ChecksumForm) String() string {
	if f < checksumForms {
		return checksumFormNames[f]
	}
	return "unknown"
}

// checksumForm returns the form in which the message's checksum is right. It
// returns ChecksumNone if it is right in none of the forms that v and the family
// allow.
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

// checksum returns the Internet checksum (RFC 1071) of message, added to sum.
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

// pseudoHeader returns the sum of the pseudo-header (RFC 793 section 3.1, RFC 8200
// section 8.1) of a message of length octets. It has the same words in both
// families.
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
