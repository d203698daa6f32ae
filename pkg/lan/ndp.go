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
		typeNA          = 136
		flagRouter      = 0x80
		flagOverride    = 0x20
		optionTargetLLA = 2
		length          = 32
		addresses       = 14 + 8
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
	message := len(b)
	b = append(b, typeNA, 0, 0, 0, flags, 0, 0, 0)
	b = append(b, address[:]...)
	b = append(b, optionTargetLLA, 1)
	b = append(b, mac...)
	// The pseudo-header (RFC 8200 section 8.1) is the addresses, the length and
	// the next header.
	sum := uint32(length + unix.IPPROTO_ICMPV6)
	for i := start + addresses; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(b[message+2:], ^uint16(sum))
	return b
}
