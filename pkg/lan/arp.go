package lan

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The operations of ARP (RFC 826) that are sent and read.
const (
	arpRequest uint16 = 1
	arpReply   uint16 = 2
)

// The fixed values of an ARP packet for IPv4 over Ethernet.
const (
	arpLen              = 28
	arpHardwareEthernet = 1
	arpHardwareAddrLen  = 6
	arpProtocolAddrLen  = 4
)

// arpPacket is an ARP packet for IPv4 over Ethernet (RFC 826). Its layout,
// with offsets and lengths in bytes and the RFC's field names, is
//
//	 0  2  hardware type (ar$hrd), 1 for Ethernet
//	 2  2  protocol type (ar$pro), 0x0800 for IPv4
//	 4  1  length of a hardware address (ar$hln), 6
//	 5  1  length of a protocol address (ar$pln), 4
//	 6  2  operation (ar$op), 1 for a request, 2 for a reply
//	 8  6  sender hardware address (ar$sha)
//	14  4  sender protocol address (ar$spa)
//	18  6  target hardware address (ar$tha)
//	24  4  target protocol address (ar$tpa)
//
// All numbers are in network byte order. IP addresses are IPv4 addresses.
type arpPacket struct {
	operation          uint16
	senderHardwareAddr MAC
	senderIP           netip.Addr
	targetHardwareAddr MAC
	targetIP           netip.Addr
}

// gratuitousARP returns the packet that announces the address ip at mac
// (RFC 5944 section 4.6). The operation is arpRequest or arpReply. The target
// hardware address, which receivers ignore, is the broadcast address in a
// request, as keepalived sends it, and mac in a reply.
func gratuitousARP(mac MAC, ip netip.Addr, operation uint16) arpPacket {
	p := arpPacket{operation, mac, ip, broadcast, ip}
	if operation == arpReply {
		p.targetHardwareAddr = mac
	}
	return p
}

// arpProbe returns the packet that asks for the address ip without claiming it:
// a request whose sender protocol address is 0.0.0.0 (RFC 5227 section 2.1.1).
func arpProbe(mac MAC, ip netip.Addr) arpPacket {
	return arpPacket{operation: arpRequest, senderHardwareAddr: mac, senderIP: netip.IPv4Unspecified(), targetIP: ip}
}

// append appends p to b and returns the result.
func (p arpPacket) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, arpHardwareEthernet)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	b = append(b, arpHardwareAddrLen, arpProtocolAddrLen)
	b = binary.BigEndian.AppendUint16(b, p.operation)
	sender, target := p.senderIP.As4(), p.targetIP.As4()
	b = append(b, p.senderHardwareAddr[:]...)
	b = append(b, sender[:]...)
	b = append(b, p.targetHardwareAddr[:]...)
	return append(b, target[:]...)
}

// parseARP parses an ARP packet, which starts behind the Ethernet header.
// Padding may follow it. The result is false if b is too short, is not for IPv4
// over Ethernet, or is neither a request nor a reply.
func parseARP(b []byte) (arpPacket, bool) {
	if len(b) < arpLen ||
		binary.BigEndian.Uint16(b) != arpHardwareEthernet || binary.BigEndian.Uint16(b[2:]) != unix.ETH_P_IP ||
		b[4] != arpHardwareAddrLen || b[5] != arpProtocolAddrLen {
		return arpPacket{}, false
	}
	p := arpPacket{
		operation:          binary.BigEndian.Uint16(b[6:]),
		senderHardwareAddr: MAC(b[8:]),
		senderIP:           netip.AddrFrom4([4]byte(b[14:])),
		targetHardwareAddr: MAC(b[18:]),
		targetIP:           netip.AddrFrom4([4]byte(b[24:])),
	}
	return p, p.operation == arpRequest || p.operation == arpReply
}

// appendFrame appends the Ethernet frame that broadcasts p to b and returns the
// result. The frame's source is the sender hardware address.
func (p arpPacket) appendFrame(b []byte) []byte {
	return p.append(appendEthernet(b, broadcast, p.senderHardwareAddr, unix.ETH_P_ARP))
}

// claim returns the address that the sender claims and its MAC address. The
// sender of a request claims its address too; the sender of a probe (RFC 5227
// section 2.1.1) claims none, and the result is false.
func (p arpPacket) claim() (ip netip.Addr, mac MAC, ok bool) {
	return p.senderIP, p.senderHardwareAddr, !p.senderIP.IsUnspecified()
}
