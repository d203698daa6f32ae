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
// writes in version 3. Parse accepts both.
const (
	ChecksumNone ChecksumForm = iota
	ChecksumMessage
	ChecksumPseudoHeader

	checksumForms // how many there are
)

var checksumFormNames = [checksumForms]string{
	ChecksumNone:         "none",
	ChecksumMessage:      "message",
	ChecksumPseudoHeader: "pseudoHeader",
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
// ChecksumNone if in none that v allows.
func checksumForm(v Version, message []byte, source, destination netip.Addr) ChecksumForm {
	// A message with its right checksum in it sums up to all ones.
	const right = 0
	if v == V3 && checksum(message, pseudoHeader(len(message), source, destination)) == right {
		return ChecksumPseudoHeader
	}
	if checksum(message, 0) == right {
		return ChecksumMessage
	}
	return ChecksumNone
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

// pseudoHeader is the sum of the IPv4 pseudo-header of a message that is
// length octets long.
func pseudoHeader(length int, source, destination netip.Addr) uint32 {
	s, d := source.As4(), destination.As4()
	return uint32(binary.BigEndian.Uint16(s[0:])) + uint32(binary.BigEndian.Uint16(s[2:])) +
		uint32(binary.BigEndian.Uint16(d[0:])) + uint32(binary.BigEndian.Uint16(d[2:])) +
		Protocol + uint32(length)
}
