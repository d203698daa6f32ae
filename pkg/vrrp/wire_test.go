package vrrp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// message is an advertisement as the peers' models read and write it. It uses nothing
// of the codec under test, so that the two check each other.
type message struct {
	version, kind, vrid, priority uint8
	count                         int
	// authentication is version 2's type, and data what goes with it.
	authentication uint8
	data           [8]byte
	// interval is the field as it is: seconds, or centiseconds with the
	// reserved bits above them.
	interval  int
	addresses []netip.Addr
	// exact reports whether the length is that of the count, and right whether the
	// checksum is correct, in version 3 with the pseudo-header.
	exact, right bool
}

// ipPacket puts a payload between an IP header and the reader.
func ipPacket(source, destination netip.Addr, payload []byte) []byte {
	var p []byte
	if source.Is4() {
		p = append(p, 0x45, 0xc0, 0, 0, 0, 0, 0, 0, 255, 112, 0, 0)
		binary.BigEndian.PutUint16(p[2:], uint16(20+len(payload)))
	} else {
		p = append(p, 0x6c, 0, 0, 0, 0, 0, 112, 255)
		binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	}
	p = append(p, source.AsSlice()...)
	p = append(p, destination.AsSlice()...)
	return append(p, payload...)
}

// splitPacket is the way back; the packet is known to be good.
func splitPacket(p []byte) (source, destination netip.Addr, payload []byte) {
	if p[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:])), p[20:]
	}
	return netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:])), p[40:]
}

// onesSum adds up 16-bit words in one's complement arithmetic.
func onesSum(parts ...[]byte) uint16 {
	var sum uint16
	for _, part := range parts {
		for i := 0; i < len(part); i += 2 {
			word := uint16(part[i]) << 8
			if i+1 < len(part) {
				word |= uint16(part[i+1])
			}
			if sum += word; sum < word {
				sum++
			}
		}
	}
	return sum
}

// messageSum returns the sum of a message, 0xffff if its checksum is right.
func messageSum(source, destination netip.Addr, payload []byte) uint16 {
	if payload[0]>>4 == 2 {
		return onesSum(payload)
	}
	length := []byte{0, 112, byte(len(payload) >> 8), byte(len(payload))}
	return onesSum(source.AsSlice(), destination.AsSlice(), length, payload)
}

func readMessage(p []byte) (source, destination netip.Addr, m message) {
	source, destination, payload := splitPacket(p)
	if len(payload) < 8 {
		return source, destination, message{}
	}
	m = message{
		version: payload[0] >> 4, kind: payload[0] & 15,
		vrid: payload[1], priority: payload[2], count: int(payload[3]),
		right: messageSum(source, destination, payload) == 0xffff,
	}
	size := len(source.AsSlice())
	length := 8 + size*m.count
	if m.version == 2 {
		m.authentication, m.interval = payload[4], int(payload[5])
		length += 8
	} else {
		m.interval = int(payload[4])<<8 | int(payload[5])
	}
	if m.exact = len(payload) == length; !m.exact {
		return source, destination, m
	}
	for i := range m.count {
		a, _ := netip.AddrFromSlice(payload[8+size*i : 8+size*(i+1)])
		m.addresses = append(m.addresses, a)
	}
	if m.version == 2 {
		copy(m.data[:], payload[length-8:])
	}
	return source, destination, m
}

// writeMessage returns the packet that a router with this configuration sends.
func writeMessage(c Config, priority uint8, destination netip.Addr) []byte {
	p := []byte{byte(c.Version)<<4 | 1, c.VRID, priority, byte(len(c.Addresses)), 0, 0, 0, 0}
	if c.Version == V2 {
		p[5] = byte(c.AdvertisementInterval / time.Second)
	} else {
		cs := int(c.AdvertisementInterval / (10 * ms))
		p[4], p[5] = byte(cs>>8), byte(cs)
	}
	for _, a := range c.Addresses {
		p = append(p, a.AsSlice()...)
	}
	if c.Version == V2 {
		if c.Password != (Password{}) {
			p[4] = 1
		}
		p = append(p, c.Password[:]...)
	}
	sum := ^messageSum(c.Source, destination, p)
	p[6], p[7] = byte(sum>>8), byte(sum)
	return ipPacket(c.Source, destination, p)
}
