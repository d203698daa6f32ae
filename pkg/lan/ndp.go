package lan

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The types of the ICMPv6 messages (RFC 4861 sections 4.3 and 4.4).
const (
	typeNeighborSolicitation  = 135
	typeNeighborAdvertisement = 136
)

// The types of the options (RFC 4861 section 4.6.1).
const (
	optionSourceLinkLayerAddr = 1
	optionTargetLinkLayerAddr = 2
)

// The flags of a Neighbor Advertisement (RFC 4861 section 4.4).
const (
	flagRouter    = 0x80
	flagSolicited = 0x40
	flagOverride  = 0x20
)

const (
	// ndpLen is the length in bytes of a Neighbor Solicitation or Advertisement
	// without options.
	ndpLen = 24
	// linkLayerOptionLen is the length in bytes of an option with an Ethernet
	// address.
	linkLayerOptionLen = 8
	// ndpHopLimit proves that no router forwarded a message (RFC 4861 section
	// 7.1).
	ndpHopLimit = 255
)

// allNodes is the all-nodes multicast address, ff02::1.
var allNodes = netip.IPv6LinkLocalAllNodes()

// neighborMessage is a Neighbor Solicitation or a Neighbor Advertisement
// (RFC 4861 sections 4.3 and 4.4) in its IPv6 packet. The layout, with offsets
// and lengths in bytes, is
//
//	 0   4  version 6, traffic class 0, flow label 0
//	 4   2  payload length, 24 or, with the option, 32
//	 6   1  next header, 58 for ICMPv6
//	 7   1  hop limit, 255
//	 8  16  source address
//	24  16  destination address
//	40   1  type, 135 for a solicitation, 136 for an advertisement
//	41   1  code, 0
//	42   2  checksum
//	44   1  advertisement: flags Router (0x80), Solicited (0x40), Override (0x20)
//	45   3  reserved
//	48  16  target address
//	64   1  option type, 1 for Source, 2 for Target Link-Layer Address
//	65   1  option length in units of 8 bytes, 1
//	66   6  link-layer address
//
// All numbers are in network byte order. All addresses are IPv6 addresses
// without a zone.
type neighborMessage struct {
	// source is unspecified in a solicitation of duplicate address detection.
	source, destination netip.Addr
	// typ is typeNeighborSolicitation or typeNeighborAdvertisement.
	typ byte
	// router, solicited and override are false in a solicitation.
	router, solicited, override bool
	target                      netip.Addr
	// linkLayerAddr is the Source Link-Layer Address of a solicitation or the
	// Target Link-Layer Address of an advertisement, if hasLinkLayerAddr is true.
	linkLayerAddr    MAC
	hasLinkLayerAddr bool
}

// unsolicitedAdvertisement returns the Neighbor Advertisement that announces the
// address ip at mac to all nodes (RFC 4861 section 7.2.6). router is the Router
// flag: it reports whether this node forwards IPv6 packets.
func unsolicitedAdvertisement(mac MAC, ip netip.Addr, router bool) neighborMessage {
	return neighborMessage{
		source: ip, destination: allNodes, typ: typeNeighborAdvertisement,
		router: router, override: true, target: ip,
		linkLayerAddr: mac, hasLinkLayerAddr: true,
	}
}

// neighborSolicitation returns the Neighbor Solicitation that asks for the
// address ip. If source is not an IPv6 address, the message is the probe of
// duplicate address detection (RFC 4862 section 5.4.2), which hosts answer to all
// nodes. If source is an address of this node, hosts answer to source alone
// (RFC 4861 section 7.2.4).
func neighborSolicitation(mac MAC, source, ip netip.Addr) neighborMessage {
	m := neighborMessage{
		source: netip.IPv6Unspecified(), destination: solicitedNode(ip), typ: typeNeighborSolicitation,
		target: ip,
	}
	if source.Is6() {
		m.source, m.linkLayerAddr, m.hasLinkLayerAddr = source, mac, true
	}
	return m
}

// solicitedNode returns the solicited-node multicast address of ip:
// ff02::1:ff00:0 with the last three bytes of ip (RFC 4291 section 2.7.1).
func solicitedNode(ip netip.Addr) netip.Addr {
	a := ip.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
}

// append appends the IPv6 packet with m to b and returns the result.
func (m neighborMessage) append(b []byte) []byte {
	start := len(b)
	length, option := byte(ndpLen), byte(optionSourceLinkLayerAddr)
	if m.hasLinkLayerAddr {
		length += linkLayerOptionLen
	}
	var flags byte
	if m.typ == typeNeighborAdvertisement {
		option, flags = optionTargetLinkLayerAddr, m.flags()
	}
	source, destination, target := m.source.As16(), m.destination.As16(), m.target.As16()
	b = append(b, 6<<4, 0, 0, 0, 0, length, unix.IPPROTO_ICMPV6, ndpHopLimit)
	b = append(b, source[:]...)
	b = append(b, destination[:]...)
	b = append(b, m.typ, 0, 0, 0, flags, 0, 0, 0)
	b = append(b, target[:]...)
	if m.hasLinkLayerAddr {
		b = append(b, option, 1)
		b = append(b, m.linkLayerAddr[:]...)
	}
	putChecksum(b[start:])
	return b
}

// flags returns the flags of an advertisement as a byte.
func (m neighborMessage) flags() (flags byte) {
	if m.router {
		flags |= flagRouter
	}
	if m.solicited {
		flags |= flagSolicited
	}
	if m.override {
		flags |= flagOverride
	}
	return flags
}

// parseNeighborMessage parses an IPv6 packet, which starts behind the Ethernet
// header, as a Neighbor Solicitation or Advertisement. Other options may surround
// the link-layer address, and padding may follow the packet. The result is false
// if the packet is not such a message or fails the validation of RFC 4861 sections
// 7.1.1 and 7.1.2, except that the checksum, the addresses and the flags are not
// verified.
func parseNeighborMessage(b []byte) (neighborMessage, bool) {
	if len(b) < ipv6HeaderLen+ndpLen || b[0]>>4 != 6 || b[6] != unix.IPPROTO_ICMPV6 || b[7] != ndpHopLimit || b[ipv6HeaderLen+1] != 0 {
		return neighborMessage{}, false
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < ndpLen {
		return neighborMessage{}, false
	}
	message := b[ipv6HeaderLen:]
	message = message[:min(length, len(message))]
	m := neighborMessage{
		source: netip.AddrFrom16([16]byte(b[8:])), destination: netip.AddrFrom16([16]byte(b[24:])),
		typ: message[0], target: netip.AddrFrom16([16]byte(message[8:])),
	}
	var option byte
	switch m.typ {
	case typeNeighborSolicitation:
		option = optionSourceLinkLayerAddr
	case typeNeighborAdvertisement:
		option = optionTargetLinkLayerAddr
		m.router, m.solicited, m.override = message[4]&flagRouter != 0, message[4]&flagSolicited != 0, message[4]&flagOverride != 0
	default:
		return neighborMessage{}, false
	}
	return m, m.parseOptions(message[ndpLen:], option)
}

// parseOptions sets the link-layer address of m from the last option of the given
// type. It reports whether every option has a length (RFC 4861 section 4.6). An
// option that ends behind b counts as another option.
func (m *neighborMessage) parseOptions(b []byte, typ byte) bool {
	for len(b) >= linkLayerOptionLen {
		length := 8 * int(b[1])
		if length == 0 {
			return false
		}
		if b[0] == typ && length == linkLayerOptionLen {
			m.linkLayerAddr, m.hasLinkLayerAddr = MAC(b[2:]), true
		}
		b = b[min(length, len(b)):]
	}
	return true
}

// appendFrame appends the Ethernet frame from mac that multicasts m to b and
// returns the result. The frame's destination is 33:33 and the last four bytes of
// the IPv6 destination (RFC 2464 section 7).
func (m neighborMessage) appendFrame(b []byte, mac MAC) []byte {
	d := m.destination.As16()
	return m.append(appendEthernet(b, MAC{0x33, 0x33, d[12], d[13], d[14], d[15]}, mac, unix.ETH_P_IPV6))
}

// claim returns the address that the sender claims and its MAC address: the target
// of an advertisement, or the source of a solicitation. The MAC address is the
// link-layer address of m or, without one, frameSource, the source of the Ethernet
// frame. The result is false if the sender claims no address, as in duplicate
// address detection.
func (m neighborMessage) claim(frameSource MAC) (ip netip.Addr, mac MAC, ok bool) {
	ip, mac = m.target, frameSource
	if m.typ == typeNeighborSolicitation {
		ip = m.source
	}
	if m.hasLinkLayerAddr {
		mac = m.linkLayerAddr
	}
	return ip, mac, !ip.IsUnspecified()
}

// putChecksum sets the checksum of the ICMPv6 message that follows the IPv6 header
// of packet, both of an even length. The checksum covers the pseudo-header of
// RFC 8200 section 8.1: the addresses, the payload length and the next header.
func putChecksum(packet []byte) {
	sum := uint32(len(packet) - ipv6HeaderLen + unix.IPPROTO_ICMPV6)
	for i := 8; i < len(packet); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(packet[i:]))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(packet[ipv6HeaderLen+2:], ^uint16(sum))
}
