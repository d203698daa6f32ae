package vrrp

import (
	"encoding/binary"
	"net/netip"
)

// Constants of the IP header of every advertisement (RFC 9568 section 5.1.1).
const (
	// Protocol is VRRP's IP protocol number.
	Protocol = 112
	// TTL is the time to live that advertisements are sent with, and the only
	// one they are accepted with.
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

// Header is what VRRP looks at in the IP header of a packet.
type Header struct {
	Source      netip.Addr
	Destination netip.Addr
	TTL         uint8
}

// ParseIPv4 splits a whole IPv4 packet, as an AF_PACKET socket receives it,
// into its header and its payload, which is part of packet:
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
// Fragments are discarded: no advertisement is long enough to be one. The
// header's checksum is left to the link's, which covers the same bytes.
func ParseIPv4(packet []byte) (Header, []byte, Discard) {
	const (
		minHeader     = 20
		moreFragments = 0x2000
		offsetMask    = 0x1fff
	)
	if len(packet) < minHeader || packet[0]>>4 != 4 {
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
		Source:      netip.AddrFrom4([4]byte(packet[12:16])),
		Destination: netip.AddrFrom4([4]byte(packet[16:20])),
		TTL:         packet[8],
	}, packet[header:total], DiscardNone
}

// ParseIP is ParseIPv4 or its counterpart for IPv6, by the version that the
// packet begins with.
func ParseIP(packet []byte) (Header, []byte, Discard) { return ParseIPv4(packet) }

// isHostIPv4 tells whether a is an IPv4 address that one host can have.
func isHostIPv4(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a != broadcastIPv4
}
