package probe

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ICMPv6 types of RFC 4861 sections 4.3 and 4.4.
const (
	icmpNeighborSolicitation  = 135
	icmpNeighborAdvertisement = 136
)

// NeighborSolicitation is an Ethernet frame that asks who has an IPv6 address
// (RFC 4861 section 4.3), to its solicited-node multicast group, from own at mac.
func NeighborSolicitation(mac net.HardwareAddr, own, addr netip.Addr) []byte {
	target := addr.As16()
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], target[13:])
	m := []byte{icmpNeighborSolicitation, 0, 0, 0, 0, 0, 0, 0}
	m = append(m, target[:]...)
	m = append(m, 1, 1) // source link-layer address, 8 bytes
	m = append(m, mac...)
	s := onesComplement(uint32(unix.IPPROTO_ICMPV6+len(m)), own.AsSlice())
	binary.BigEndian.PutUint16(m[2:], ^uint16(onesComplement(onesComplement(s, group[:]), m)))

	b := []byte{0x33, 0x33, 0xff, target[13], target[14], target[15]}
	b = append(b, mac...)
	b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(m)), unix.IPPROTO_ICMPV6, 255)
	b = append(b, own.AsSlice()...)
	b = append(b, group[:]...)
	return append(b, m...)
}

// onesComplement adds the 16-bit words of b, an even number of bytes, to a sum
// (RFC 1071).
func onesComplement(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

// parseNeighborAdvertisement returns the address that a frame gives an answer about
// (RFC 4861 section 4.4). Unsolicited ones answer nobody.
func parseNeighborAdvertisement(frame []byte) (netip.Addr, bool) {
	const message = 14 + 40
	if len(frame) < message+24 ||
		binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IPV6 || frame[20] != unix.IPPROTO_ICMPV6 ||
		frame[message] != icmpNeighborAdvertisement || frame[message+4]&0x40 == 0 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(frame[message+8 : message+24])), true
}
