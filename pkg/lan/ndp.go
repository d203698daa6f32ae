package lan

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// allNodes is ff02::1, and allNodesMAC its Ethernet address (RFC 2464 section 7).
var (
	allNodes    = [16]byte{0: 0xff, 1: 0x02, 15: 0x01}
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

// The messages and options of Neighbor Discovery (RFC 4861 sections 4.3, 4.4
// and 4.6.1).
const (
	typeNS          = 135
	typeNA          = 136
	optionSourceLLA = 1
	optionTargetLLA = 2
)

// AppendUnsolicitedNA appends an Ethernet frame that announces an IPv6 address
// by a Neighbor Advertisement nobody asked for (RFC 4861 sections 4.4, 7.2.6).
// mac has 6 bytes; router tells whether this node forwards IPv6. The frame is
//
//	 6 bytes: destination 33:33:00:00:00:01
//	 6 bytes: source, mac
//	 2 bytes: Ethernet type 0x86dd
//	 8 bytes: version 6; payload length 32, next header 58, hop limit 255
//	16 bytes: source, vip
//	16 bytes: destination ff02::1
//	 4 bytes: type 136, code 0, checksum
//	 4 bytes: flags, Router (0x80) if router, not Solicited (0x40), Override (0x20)
//	16 bytes: target, vip
//	 8 bytes: option Target Link-Layer Address, length 1 (times 8 bytes), mac
func AppendUnsolicitedNA(b []byte, mac net.HardwareAddr, vip netip.Addr, router bool) []byte {
	const (
		flagRouter   = 0x80
		flagOverride = 0x20
		length       = 32
	)
	flags := byte(flagOverride)
	if router {
		flags |= flagRouter
	}
	start := len(b)
	address := vip.As16()
	b = append(b, allNodesMAC...)
	b = append(b, mac...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IPV6)
	b = append(b, 6<<4, 0, 0, 0, 0, length, unix.IPPROTO_ICMPV6, 255)
	b = append(b, address[:]...)
	b = append(b, allNodes[:]...)
	b = append(b, typeNA, 0, 0, 0, flags, 0, 0, 0)
	b = append(b, address[:]...)
	b = append(b, optionTargetLLA, 1)
	b = append(b, mac...)
	putChecksum(b[start+14:])
	return b
}

// AppendNeighborSolicitation appends an Ethernet frame that asks who has an
// IPv6 address. From no source it is the probe of duplicate address detection
// (RFC 4862 section 5.4.2), which is answered to all nodes; from an address of
// this node it is answered to this node alone (RFC 4861 section 4.3). mac has 6
// bytes. The frame is
//
//	 6 bytes: destination 33:33:ff and the last 3 bytes of vip
//	 6 bytes: source, mac
//	 2 bytes: Ethernet type 0x86dd
//	 8 bytes: version 6; payload length 24 or 32, next header 58, hop limit 255
//	16 bytes: source, or zero
//	16 bytes: destination ff02::1:ff00:0 and the last 3 bytes of vip
//	 4 bytes: type 135, code 0, checksum
//	 4 bytes: zero
//	16 bytes: target, vip
//	 8 bytes: with a source, option Source Link-Layer Address, length 1, mac
func AppendNeighborSolicitation(b []byte, mac net.HardwareAddr, source, vip netip.Addr) []byte {
	const length = 24
	var from [16]byte
	options := 0
	if source.Is6() {
		from, options = source.As16(), 8
	}
	target := vip.As16()
	start := len(b)
	b = append(b, 0x33, 0x33, 0xff, target[13], target[14], target[15])
	b = append(b, mac...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IPV6)
	b = append(b, 6<<4, 0, 0, 0, 0, byte(length+options), unix.IPPROTO_ICMPV6, 255)
	b = append(b, from[:]...)
	b = append(b, 0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, target[13], target[14], target[15])
	b = append(b, typeNS, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, target[:]...)
	if options > 0 {
		b = append(b, optionSourceLLA, 1)
		b = append(b, mac...)
	}
	putChecksum(b[start+14:])
	return b
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

// putChecksum fills in the checksum of an ICMPv6 message that follows the fixed
// header, both of an even length. The pseudo-header (RFC 8200 section 8.1) is the
// addresses, the length and the next header.
func putChecksum(packet []byte) {
	sum := uint32(len(packet) - ipv6HeaderLen + unix.IPPROTO_ICMPV6)
	for i := 8; i < len(packet); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(packet[i:]))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(packet[ipv6HeaderLen+2:], ^uint16(sum))
}
