package vrrp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// MaxAddresses is how many addresses one advertisement can carry.
const MaxAddresses = 255

// The layout of a message, all integers big-endian (RFC 9568 section 5.2,
// RFC 3768 section 5.3):
//
//	0  version (4 bits), type (4 bits, 1)
//	1  VRID
//	2  priority
//	3  n, the count of addresses
//	4  version 3: reserved (4 bits), Max Advertise Interval in
//	   centiseconds (12 bits)
//	   version 2: authentication type (8 bits, 0), Adver Int in seconds (8 bits)
//	6  checksum
//	8  n addresses of 4 octets
//	   version 2: 8 octets of authentication data, 0
const (
	fixedLength          = 8
	addressLength        = 4
	authenticationLength = 8

	typeAdvertisement = 1
	intervalMask      = 0x0fff

	centisecond = 10 * time.Millisecond
)

// Append appends to b the message as it goes from source to destination, and
// allocates only if b has no room for it. Priority, count and interval must be
// what a valid Config has, the addresses IPv4; an interval that the field
// cannot hold becomes the nearest it can, which is never 0.
func (a *Advertisement) Append(b []byte, source, destination netip.Addr) []byte {
	start := len(b)
	b = append(b, uint8(a.Version)<<4|typeAdvertisement, a.VRID, a.Priority, uint8(len(a.Addresses)))
	if a.Version == V2 {
		b = append(b, 0, uint8(min(max(a.Interval/time.Second, 1), 255)))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(min(max(a.Interval/centisecond, 1), intervalMask)))
	}
	b = append(b, 0, 0)
	for _, address := range a.Addresses {
		octets := address.As4()
		b = append(b, octets[:]...)
	}
	if a.Version == V2 {
		b = append(b, make([]byte, authenticationLength)...)
	}
	message := b[start:]
	var sum uint32
	if a.Version == V3 {
		sum = pseudoHeader(len(message), source, destination)
	}
	binary.BigEndian.PutUint16(message[6:], checksum(message, sum))
	return b
}

// PeekVRID returns the VRID of a payload, so that the caller can look up the
// virtual router before anything is checked. It is false for a payload that is
// too short to be a message.
func PeekVRID(payload []byte) (vrid uint8, ok bool) {
	if len(payload) < fixedLength {
		return 0, false
	}
	return payload[1], true
}

// Parse checks everything about a packet that can be checked without knowing
// the virtual router, and reads it into a. It returns over what the checksum
// was computed, or why the packet is to be discarded; a is then as it was.
// The slice a.Addresses is used again: with a capacity of MaxAddresses nothing
// is ever allocated.
func Parse(h Header, payload []byte, a *Advertisement) (ChecksumForm, Discard) {
	if d := checkHeader(h); d != DiscardNone {
		return ChecksumNone, d
	}
	if len(payload) < fixedLength {
		return ChecksumNone, DiscardPacketLength
	}
	version, count := Version(payload[0]>>4), int(payload[3])
	length := fixedLength + count*addressLength
	switch version {
	case V2:
		length += authenticationLength
	case V3:
	default:
		return ChecksumNone, DiscardVersion
	}
	if payload[0]&0x0f != typeAdvertisement {
		return ChecksumNone, DiscardType
	}
	if count == 0 {
		return ChecksumNone, DiscardAddressList
	}
	if len(payload) != length {
		return ChecksumNone, DiscardPacketLength
	}
	form := checksumForm(version, payload, h.Source, h.Destination)
	if form == ChecksumNone {
		return ChecksumNone, DiscardChecksum
	}
	var interval time.Duration
	if version == V2 {
		if payload[4] != 0 {
			return ChecksumNone, DiscardAuthentication
		}
		interval = time.Duration(payload[5]) * time.Second
	} else {
		// The reserved bits are ignored (RFC 9568 section 5.2.6).
		interval = time.Duration(binary.BigEndian.Uint16(payload[4:])&intervalMask) * centisecond
	}
	if interval == 0 {
		return ChecksumNone, DiscardAdvertisementInterval
	}

	a.Version, a.VRID, a.Priority, a.Interval = version, payload[1], payload[2], interval
	a.Addresses = a.Addresses[:0]
	for list := payload[fixedLength:]; count > 0; count-- {
		a.Addresses = append(a.Addresses, netip.AddrFrom4([4]byte(list)))
		list = list[addressLength:]
	}
	return form, DiscardNone
}

// checkHeader checks what the IP header says: an advertisement comes from a
// host, to the group, and from this link, which is what its time to live
// proves (RFC 9568 section 5.1.1.3).
func checkHeader(h Header) Discard {
	switch {
	case h.Destination != GroupIPv4:
		return DiscardWrongDestination
	case !isHostIPv4(h.Source):
		return DiscardSource
	case h.TTL != TTL:
		return DiscardIPTTL
	default:
		return DiscardNone
	}
}
