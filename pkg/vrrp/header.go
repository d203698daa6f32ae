package vrrp

import "net/netip"

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

// Header is what VRRP looks at in the IP header of a packet.
type Header struct {
	Source      netip.Addr
	Destination netip.Addr
	TTL         uint8
}

// ParseIPv4 splits a whole IPv4 packet, as an AF_PACKET socket receives it,
// into its header and its payload. The payload ends where the header's total
// length says, since Ethernet pads short frames. It is part of packet.
func ParseIPv4(packet []byte) (Header, []byte, Discard) {
	return Header{}, nil, DiscardPacketLength
}
