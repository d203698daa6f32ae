package lan

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// maxClaim is how much is read of what may be a claim: its options end long before.
const maxClaim = 256

// MAC is an Ethernet address.
type MAC [6]byte

// String returns it in hexadecimal, with colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Claim is what a host on the LAN said: that it has an address.
type Claim struct {
	// Index is the interface it was heard on.
	Index   int
	Address netip.Addr
	MAC     MAC
}

// parseARP reads who claims which address by an ARP packet of Ethernet and IPv4
// (RFC 826): the sender, of a request too. A probe (RFC 5227) claims nothing.
func parseARP(b []byte) (address netip.Addr, mac MAC, ok bool) {
	if len(b) < 28 || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != unix.ETH_P_IP || b[4] != 6 || b[5] != 4 {
		return address, mac, false
	}
	if op := binary.BigEndian.Uint16(b[6:]); op != ARPRequest && op != ARPReply {
		return address, mac, false
	}
	address = netip.AddrFrom4([4]byte(b[14:]))
	return address, MAC(b[8:]), !address.IsUnspecified()
}

// parseNeighbor reads who claims which address by an IPv6 packet with a Neighbor
// Advertisement, its target, or a Neighbor Solicitation, its source (RFC 4861
// sections 7.1.1 and 7.1.2). A solicitation without one, as duplicate address
// detection sends it, claims nothing. The link-layer address is that of the option
// or else the frame's source. The checksum is not looked at.
func parseNeighbor(b []byte, source MAC) (address netip.Addr, mac MAC, ok bool) {
	const options = ipv6HeaderLen + 24
	if len(b) < options || b[0]>>4 != 6 || b[6] != unix.IPPROTO_ICMPV6 || b[7] != 255 || b[ipv6HeaderLen+1] != 0 {
		return address, mac, false
	}
	if length := int(binary.BigEndian.Uint16(b[4:])); length < options-ipv6HeaderLen {
		return address, mac, false
	} else if end := ipv6HeaderLen + length; end < len(b) {
		b = b[:end]
	}
	var option byte
	switch b[ipv6HeaderLen] {
	case typeNS:
		address, option = netip.AddrFrom16([16]byte(b[8:])), optionSourceLLA
	case typeNA:
		address, option = netip.AddrFrom16([16]byte(b[ipv6HeaderLen+8:])), optionTargetLLA
	default:
		return address, mac, false
	}
	mac = source
	for rest := b[options:]; len(rest) >= 8; {
		length := 8 * int(rest[1])
		if length == 0 {
			return address, mac, false
		}
		if rest[0] == option && length == 8 {
			mac = MAC(rest[2:])
		}
		rest = rest[min(length, len(rest)):]
	}
	return address, mac, !address.IsUnspecified()
}
