package lan

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// AppendGratuitousARP appends an Ethernet frame that announces an IPv4 address
// by ARP (RFC 826, RFC 5944 section 4.6). mac has 6 bytes. The frame is
//
//	 6 bytes: destination ff:ff:ff:ff:ff:ff
//	 6 bytes: source, mac
//	 2 bytes: Ethernet type 0x0806
//	 8 bytes: hardware type 1, protocol type 0x0800, their lengths 6 and 4, op
//	10 bytes: sender, mac and vip
//	10 bytes: target, ff:ff:ff:ff:ff:ff in a request, mac in a reply; and vip
func AppendGratuitousARP(b []byte, mac net.HardwareAddr, vip netip.Addr, op uint16) []byte {
	target := broadcast
	if op == ARPReply {
		target = mac
	}
	address := vip.As4()
	b = append(b, broadcast...)
	b = append(b, mac...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_ARP)
	b = append(b, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(b, mac...)
	b = append(b, address[:]...)
	b = append(b, target...)
	return append(b, address[:]...)
}

// AppendARPProbe appends an Ethernet frame that asks who has an IPv4 address
// without claiming it (RFC 5227 section 2.1.1). mac has 6 bytes. The frame is
//
//	 6 bytes: destination ff:ff:ff:ff:ff:ff
//	 6 bytes: source, mac
//	 2 bytes: Ethernet type 0x0806
//	 8 bytes: hardware type 1, protocol type 0x0800, their lengths 6 and 4, op 1
//	10 bytes: sender, mac and 0.0.0.0
//	10 bytes: target, zero and vip
func AppendARPProbe(b []byte, mac net.HardwareAddr, vip netip.Addr) []byte {
	address := vip.As4()
	b = append(b, broadcast...)
	b = append(b, mac...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_ARP)
	b = append(b, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, ARPRequest)
	b = append(b, mac...)
	b = append(b, make([]byte, 4+6)...)
	return append(b, address[:]...)
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
