package vrrp

import (
	"encoding/binary"
	"net/netip"
)

// Constants of the IP header of every advertisement (RFC 9568 section 5.1.1).
const (
	// Protocol is VRRP's IP protocol number.
	Protocol = 112
	// TTL is the time to live, in IPv6 the hop limit, of every advertisement; one
	// with another value is discarded.
	TTL = 255
)

// GroupIPv4 is the multicast group that IPv4 advertisements are sent to.
var GroupIPv4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})

// GroupIPv6 is the multicast group that IPv6 advertisements are sent to.
var GroupIPv6 = netip.MustParseAddr("ff02::12")

// Group returns the multicast group of a family.
func Group(f Family) netip.Addr {
	if f == IPv6 {
		return GroupIPv6
	}
	return GroupIPv4
}

var broadcastIPv4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Header has the fields of the IP header that VRRP uses.
type Header struct {
	Source      netip.Addr
	Destination netip.Addr
	// TTL is the hop limit in IPv6.
	TTL uint8
}

// ParseIP splits a whole IP packet, as an AF_PACKET socket receives it, into
// its header and its payload, which is part of packet. Fragments are discarded:
// no advertisement is long enough to be one.
func ParseIP(packet []byte) (Header, []byte, Discard) {
	if len(packet) > 0 {
		switch Family(packet[0] >> 4) {
		case IPv4:
			return parseIPv4(packet)
		case IPv6:
			return parseIPv6(packet)
		}
	}
	return Header{}, nil, DiscardPacketLength
}

// parseIPv4 is ParseIP for IPv4:
//
//	 0  version (4 bits, 4), header length in words (4 bits)
//	 2  total length (16 bits): the payload ends here, whatever follows it,
//	    since Ethernet pads short frames
//	 6  flags (3 bits), fragment offset (13 bits)
//	 8  time to live
//	 9  protocol
//	12  source (32 bits)
//	16  destination (32 bits)
//	20  options, up to the header length
//
// The header's checksum is not verified: the link's covers the same bytes.
func parseIPv4(packet []byte) (Header, []byte, Discard) {
	const (
		minHeader     = 20
		moreFragments = 0x2000
		offsetMask    = 0x1fff
	)
	if len(packet) < minHeader {
		return Header{}, nil, DiscardPacketLength
	}
	header := int(packet[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(packet[2:]))
	if header < minHeader || total < header || total > len(packet) {
		return Header{}, nil, DiscardPacketLength
	}
	if packet[9] != Protocol {
		return Header{}, nil, DiscardProtocol
	}
	if binary.BigEndian.Uint16(packet[6:])&(moreFragments|offsetMask) != 0 {
		return Header{}, nil, DiscardPacketLength
	}
	return Header{
		Source:      netip.AddrFrom4([4]byte(packet[12:])),
		Destination: netip.AddrFrom4([4]byte(packet[16:])),
		TTL:         packet[8],
	}, packet[header:total], DiscardNone
}

// parseIPv6 is ParseIP for IPv6:
//
//	 0  version (4 bits, 6), traffic class, flow label
//	 4  payload length (16 bits): the payload ends here
//	 6  next header: extension headers, of which a fragment has one, are
//	    discarded
//	 7  hop limit
//	 8  source (128 bits)
//	24  destination (128 bits)
//	40  payload
func parseIPv6(packet []byte) (Header, []byte, Discard) {
	const header = 40
	if len(packet) < header {
		return Header{}, nil, DiscardPacketLength
	}
	total := header + int(binary.BigEndian.Uint16(packet[4:]))
	if total > len(packet) {
		return Header{}, nil, DiscardPacketLength
	}
	if packet[6] != Protocol {
		return Header{}, nil, DiscardProtocol
	}
	return Header{
		Source:      netip.AddrFrom16([16]byte(packet[8:])),
		Destination: netip.AddrFrom16([16]byte(packet[24:])),
		TTL:         packet[7],
	}, packet[header:total], DiscardNone
}

// isHost reports whether a is a unicast address of family f that a host can have.
func isHost(a netip.Addr, f Family) bool {
	return a.IsValid() && a.Is4() == (f != IPv6) && !a.Is4In6() && a.Zone() == "" &&
		!a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a != broadcastIPv4
}
