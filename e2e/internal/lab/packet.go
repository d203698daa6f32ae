package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Packet is something that a host sent. One of the pointers is not nil.
type Packet struct {
	// At is when the switch received it, by the kernel's clock.
	At time.Time
	// Host is the index of the sender.
	Host int
	// From and To are the Ethernet addresses.
	From, To string

	VRRP     *VRRP
	Neighbor *Neighbor
}

// VRRP is an advertisement and what its IP header says. It is read by a parser
// of its own, not by the daemon's.
type VRRP struct {
	Source, Destination netip.Addr
	TTL, TOS            uint8
	// Options means that the IPv4 header has some.
	Options  bool
	Version  int
	VRID     int
	Priority int
	Interval time.Duration
	// AuthType and Password are VRRPv2's.
	AuthType  int
	Password  string
	Addresses []netip.Addr
	Checksum  Checksum
	// Malformed says what is wrong, if anything is.
	Malformed string
}

// Checksum is what a checksum covers.
type Checksum string

// The forms. VRRPv3 over IPv4 is found with and without the pseudo-header.
const (
	ChecksumMessage      Checksum = "message"
	ChecksumPseudoHeader Checksum = "pseudo-header"
	ChecksumWrong        Checksum = "wrong"
)

// Neighbor is a packet of ARP or of IPv6's Neighbor Discovery.
type Neighbor struct {
	// Answer tells an ARP reply or a Neighbor Advertisement from a request or a
	// solicitation.
	Answer bool
	// Address is what it says something about: the sender's in ARP, the target
	// of an advertisement. Of a question it is what is asked for, except with
	// Gratuitous.
	Address netip.Addr
	// To is who is told: the target of an ARP reply, the destination of an
	// advertisement.
	To netip.Addr
	// MAC is the Ethernet address that it gives for Address.
	MAC string
	// Gratuitous means that it answers nobody.
	Gratuitous bool
}

// String shows a packet in one line, without the time.
func (p Packet) String() string {
	switch {
	case p.VRRP != nil:
		return p.VRRP.String()
	case p.Neighbor != nil:
		return p.Neighbor.String()
	default:
		return "nothing"
	}
}

// String shows an advertisement.
func (v VRRP) String() string {
	s := fmt.Sprintf("VRRPv%d %s > %s vrid %d priority %d interval %v %v", v.Version, v.Source, v.Destination, v.VRID, v.Priority, v.Interval, v.Addresses)
	if v.TTL != 255 || v.TOS != 0xc0 || v.Options {
		s += fmt.Sprintf(" ttl %d tos %#x options %v", v.TTL, v.TOS, v.Options)
	}
	if v.AuthType != 0 {
		s += fmt.Sprintf(" auth type %d", v.AuthType)
	}
	return strings.TrimSpace(s + " " + v.Malformed)
}

// String shows a packet of ARP or Neighbor Discovery.
func (n Neighbor) String() string {
	switch {
	case n.Gratuitous && n.Answer:
		return fmt.Sprintf("announcement (answer): %s is at %s", n.Address, n.MAC)
	case n.Gratuitous:
		return fmt.Sprintf("announcement (request): %s is at %s", n.Address, n.MAC)
	case n.Answer:
		return fmt.Sprintf("answer to %s: %s is at %s", n.To, n.Address, n.MAC)
	default:
		return fmt.Sprintf("who has %s?", n.Address)
	}
}

// parsePacket reads an Ethernet frame; ok means that it is one to record.
func parsePacket(frame []byte) (p Packet, ok bool) {
	if len(frame) < 14 {
		return Packet{}, false
	}
	p.To, p.From = mac(frame), mac(frame[6:])
	payload := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		p.Neighbor = parseARP(payload)
	case unix.ETH_P_IP:
		p.VRRP = parseIPv4(payload)
	case unix.ETH_P_IPV6:
		if len(payload) < 40 {
			return Packet{}, false
		}
		switch body := payload[40:]; payload[6] {
		case protocolVRRP:
			p.VRRP = parseIPv6(payload)
		case unix.IPPROTO_ICMPV6:
			p.Neighbor = parseND(netip.AddrFrom16([16]byte(payload[24:40])), body)
		}
	}
	return p, p.VRRP != nil || p.Neighbor != nil
}

const protocolVRRP = 112

func mac(b []byte) string { return net.HardwareAddr(b[:6]).String() }

func parseARP(b []byte) *Neighbor {
	if len(b) < 28 || binary.BigEndian.Uint16(b[2:]) != unix.ETH_P_IP || b[4] != 6 || b[5] != 4 {
		return nil
	}
	sender, target := netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	n := &Neighbor{Answer: binary.BigEndian.Uint16(b[6:]) == 2, Address: target, To: target, MAC: mac(b[8:]), Gratuitous: sender == target}
	if n.Answer {
		n.Address = sender
	}
	return n
}

// parseND reads a Neighbor Solicitation or Advertisement (RFC 4861 section 4).
func parseND(destination netip.Addr, b []byte) *Neighbor {
	const solicitation, advertisement = 135, 136
	if len(b) < 24 || b[0] != solicitation && b[0] != advertisement {
		return nil
	}
	n := &Neighbor{Answer: b[0] == advertisement, Address: netip.AddrFrom16([16]byte(b[8:24])), To: destination}
	if !n.Answer {
		return n
	}
	n.Gratuitous = b[4]&0x40 == 0 // not solicited
	for options := b[24:]; len(options) >= 8 && options[1] > 0 && len(options) >= 8*int(options[1]); options = options[8*int(options[1]):] {
		if options[0] == 2 { // target link-layer address
			n.MAC = mac(options[2:])
		}
	}
	return n
}

func parseIPv4(b []byte) *VRRP {
	if len(b) < 20 {
		return nil
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[9] != protocolVRRP || header < 20 || total < header || total > len(b) {
		return nil
	}
	v := &VRRP{
		Source:      netip.AddrFrom4([4]byte(b[12:16])),
		Destination: netip.AddrFrom4([4]byte(b[16:20])),
		TTL:         b[8],
		TOS:         b[1],
		Options:     header > 20,
	}
	v.parse(b[header:total])
	return v
}

func parseIPv6(b []byte) *VRRP {
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length > len(b)-40 {
		return nil
	}
	v := &VRRP{
		Source:      netip.AddrFrom16([16]byte(b[8:24])),
		Destination: netip.AddrFrom16([16]byte(b[24:40])),
		TTL:         b[7],
		TOS:         uint8(binary.BigEndian.Uint16(b) >> 4),
	}
	v.parse(b[40 : 40+length])
	return v
}

// parse reads a VRRP message (RFC 3768 section 5.1, RFC 9568 section 5.1).
func (v *VRRP) parse(m []byte) {
	if len(m) < 8 {
		v.Malformed = fmt.Sprintf("%d bytes only", len(m))
		return
	}
	v.Version, v.VRID, v.Priority = int(m[0]>>4), int(m[1]), int(m[2])
	count, size, trailer := int(m[3]), 4, 0
	if v.Source.Is6() {
		size = 16
	}
	switch v.Version {
	case 2:
		trailer = 8
		v.AuthType, v.Interval = int(m[4]), time.Duration(m[5])*time.Second
	case 3:
		v.Interval = time.Duration(binary.BigEndian.Uint16(m[4:])&0xfff) * 10 * time.Millisecond
	}
	if len(m) != 8+count*size+trailer || m[0]&0xf != 1 || v.Version != 2 && v.Version != 3 {
		v.Malformed = fmt.Sprintf("version %d, type %d, %d addresses in %d bytes", v.Version, m[0]&0xf, count, len(m))
		return
	}
	for i := range count {
		a, _ := netip.AddrFromSlice(m[8+i*size : 8+(i+1)*size])
		v.Addresses = append(v.Addresses, a)
	}
	if trailer > 0 {
		v.Password = strings.TrimRight(string(m[len(m)-trailer:]), "\x00")
	}
	v.Checksum = ChecksumWrong
	if sum(0, m) == 0xffff {
		v.Checksum = ChecksumMessage
	} else if v.Version == 3 && sum(sum(sum(protocolVRRP+uint32(len(m)), v.Source.AsSlice()), v.Destination.AsSlice()), m) == 0xffff {
		v.Checksum = ChecksumPseudoHeader
	}
}

// sum is RFC 1071's: 0xffff over a message with its right checksum.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return s
}
