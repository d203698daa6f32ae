package vrrp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// The most addresses that one advertisement can carry: the count field limits IPv4,
// a packet of 1500 octets IPv6.
const (
	MaxAddressesIPv4 = 255
	MaxAddressesIPv6 = 90
)

// MaxAddresses returns how many addresses an advertisement of a family can
// carry.
func MaxAddresses(f Family) int {
	if f == IPv6 {
		return MaxAddressesIPv6
	}
	return MaxAddressesIPv4
}

// The layout of a message, all integers big-endian (RFC 9568 section 5.2,
// RFC 3768 section 5.3):
//
//	0  version (4 bits), type (4 bits, 1)
//	1  VRID
//	2  priority
//	3  n, the count of addresses
//	4  version 3: reserved (4 bits), Max Advertise Interval in
//	   centiseconds (12 bits)
//	   version 2: authentication type (8 bits), Adver Int in seconds (8 bits)
//	6  checksum
//	8  n addresses of 4 octets, over IPv6 of 16
//	   version 2: 8 octets of authentication data, the password (RFC 2338
//	   section 5.3.10) or 0
const (
	fixedLength          = 8
	addressLengthIPv4    = 4
	addressLengthIPv6    = 16
	authenticationLength = 8

	typeAdvertisement = 1
	intervalMask      = 0x0fff

	centisecond = 10 * time.Millisecond
)

// Append appends to b the message as sent from source to destination, and allocates
// only if b has too little capacity. Priority, count and interval must be those of a
// valid Config, and the addresses of the family of source and destination. An
// interval that the field cannot hold becomes the nearest one that it can, which is
// never 0.
func (a *Advertisement) Append(b []byte, source, destination netip.Addr) []byte {
	start := len(b)
	b = append(b, uint8(a.Version)<<4|typeAdvertisement, a.VRID, a.Priority, uint8(len(a.Addresses)))
	if a.Version == V2 {
		b = append(b, uint8(a.Authentication), uint8(min(max(a.Interval/time.Second, 1), 255)))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(min(max(a.Interval/centisecond, 1), intervalMask)))
	}
	b = append(b, 0, 0)
	for _, address := range a.Addresses {
		if source.Is4() {
			octets := address.As4()
			b = append(b, octets[:]...)
		} else {
			octets := address.As16()
			b = append(b, octets[:]...)
		}
	}
	if a.Version == V2 {
		b = append(b, a.Password[:]...)
	}
	message := b[start:]
	var sum uint32
	if a.Version == V3 && (source.Is6() || a.Checksum != ChecksumMessage) {
		sum = pseudoHeader(len(message), source, destination)
	}
	binary.BigEndian.PutUint16(message[6:], checksum(message, sum))
	return b
}

// PeekVRID returns the VRID of a payload, so that the caller can look up the virtual
// router before it checks the packet. It returns false for a payload that is too
// short to be a message.
func PeekVRID(payload []byte) (vrid uint8, ok bool) {
	if len(payload) < fixedLength {
		return 0, false
	}
	return payload[1], true
}

// Parse performs every check of a packet that does not depend on the virtual router,
// and decodes the packet into a. It returns the form of the checksum, or the reason to
// discard the packet; then a is unchanged. Parse reuses the slice a.Addresses: with a
// capacity of MaxAddressesIPv4 it never allocates.
func Parse(h Header, payload []byte, a *Advertisement) (ChecksumForm, Discard) {
	if d := checkIPHeader(h); d != DiscardNone {
		return ChecksumNone, d
	}
	if len(payload) < fixedLength {
		return ChecksumNone, DiscardPacketLength
	}
	version, count := Version(payload[0]>>4), int(payload[3])
	length := fixedLength + count*addressLengthIPv4
	switch {
	case version == V2 && h.Source.Is4():
		length += authenticationLength
	case version == V3 && h.Source.Is6():
		length = fixedLength + count*addressLengthIPv6
	case version == V3:
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
	read := Advertisement{Version: version, VRID: payload[1], Priority: payload[2], Addresses: a.Addresses[:0]}
	if version == V2 {
		read.Authentication = AuthenticationType(payload[4])
		read.Interval = time.Duration(payload[5]) * time.Second
		switch read.Authentication {
		case AuthenticationNone:
			// The authentication data are ignored (RFC 2338 section 5.3.10).
		case AuthenticationSimpleTextPassword:
			read.Password = Password(payload[length-authenticationLength:])
		default:
			return ChecksumNone, DiscardInvalidAuthType
		}
	} else {
		// The reserved bits are ignored (RFC 9568 section 5.2.6).
		read.Interval = time.Duration(binary.BigEndian.Uint16(payload[4:])&intervalMask) * centisecond
	}
	if read.Interval == 0 {
		return ChecksumNone, DiscardAdvertisementInterval
	}

	for list := payload[fixedLength:]; count > 0; count-- {
		if h.Source.Is4() {
			read.Addresses = append(read.Addresses, netip.AddrFrom4([4]byte(list)))
			list = list[addressLengthIPv4:]
		} else {
			read.Addresses = append(read.Addresses, netip.AddrFrom16([16]byte(list)))
			list = list[addressLengthIPv6:]
		}
	}
	*a = read
	return form, DiscardNone
}

// checkIPHeader checks the IP header: an advertisement goes from a host to the group
// or to another host, and its time to live proves that it comes from this link
// (RFC 9568 sections 5.1.1.3 and 5.1.2.3). An advertisement to the IPv6 group has a
// link-local source (section 5.1.2.1).
func checkIPHeader(h Header) Discard {
	family := FamilyOf(h.Destination)
	multicast := h.Destination == Group(family)
	switch {
	case !multicast && !isHost(h.Destination, family):
		return DiscardWrongDestination
	case !isHost(h.Source, family), multicast && family == IPv6 && !h.Source.IsLinkLocalUnicast():
		return DiscardSource
	case h.TTL != TTL:
		return DiscardIPTTL
	default:
		return DiscardNone
	}
}
