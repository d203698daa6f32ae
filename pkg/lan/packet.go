package lan

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	protocolVRRP  = 112
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
	// maxPacket is the longest VRRP packet there can be, of IPv6 with 255
	// addresses.
	maxPacket = ipv6HeaderLen + 8 + 255*16
)

// Packet is one received packet of protocol 112, not a fragment, that the link
// layer addressed to this host, to a group or to all. In an IPv6 packet the VRRP
// message follows the fixed header. Whom the IP header names is not looked at.
type Packet struct {
	// Index is the interface it came in on.
	Index int
	// MAC is the Ethernet address that sent it on the link.
	MAC MAC
	// Data is the packet from the IP header on, valid until the next
	// Receive. What a short Ethernet frame is padded with may follow it, and
	// what is beyond the longest VRRP packet there can be is cut off.
	Data []byte
	// Arrived is when the kernel received it, in nanoseconds of
	// CLOCK_MONOTONIC. It is never before the last Receive that returned
	// false, and never in the future.
	Arrived int64
}

// receiver is the memory that recvmsg(2) fills.
type receiver struct {
	data [maxPacket]byte
	// control has room for the one control message that is asked for.
	control struct {
		unix.Cmsghdr
		stamp unix.Timespec
	}
	name unix.RawSockaddrLinklayer
	iov  unix.Iovec
	msg  unix.Msghdr
}

func (r *receiver) init() {
	r.iov.Base = &r.data[0]
	r.iov.SetLen(len(r.data))
	r.msg.Iov = &r.iov
	r.msg.SetIovlen(1)
	r.msg.Control = (*byte)(unsafe.Pointer(&r.control))
	r.msg.Name = (*byte)(unsafe.Pointer(&r.name))
}

// receive is unix.Recvmsg without its allocations.
func (r *receiver) receive(fd int) (int, error) {
	for {
		r.msg.SetControllen(int(unsafe.Sizeof(r.control)))
		r.msg.Namelen = uint32(unsafe.Sizeof(r.name))
		n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.msg)), 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// fill makes p the packet of n bytes just received, which was not there yet at
// the time of empty.
func (r *receiver) fill(p *Packet, n int, empty int64) {
	p.Data = r.data[:n]
	p.MAC = MAC(r.name.Addr[:6])
	p.Arrived = clock(unix.CLOCK_MONOTONIC)
	if r.msg.Controllen > 0 && r.control.Level == unix.SOL_SOCKET && r.control.Type == unix.SCM_TIMESTAMPNS {
		age := clock(unix.CLOCK_REALTIME) - r.control.stamp.Nano()
		p.Arrived = arrival(p.Arrived, age, empty)
	}
}

// arrival returns the monotonic time at which a packet of some age arrived,
// no earlier than empty. The kernel's timestamps are of the wall clock, so
// that a step of it makes any age possible.
func arrival(now, age, empty int64) int64 {
	if age <= 0 {
		return now
	}
	if age > now-empty {
		return empty
	}
	return now - age
}

// appendPacket appends a packet that carries a VRRP message between two
// addresses of one family.
func appendPacket(b []byte, source, destination netip.Addr, payload []byte) []byte {
	if source.Is6() {
		return appendIPv6(b, source, destination, payload)
	}
	return appendIPv4(b, source, destination, payload)
}

// appendIPv4 leaves the identification and the header's checksum to the kernel
// (raw(7)).
func appendIPv4(b []byte, source, destination netip.Addr, payload []byte) []byte {
	b = append(b, 4<<4|ipv4HeaderLen/4, 0xc0) // version, length; CS6
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4HeaderLen+len(payload)))
	b = append(b, 0, 0, 0, 0)              // identification; fragment offset
	b = append(b, 255, protocolVRRP, 0, 0) // TTL, protocol, checksum
	from, to := source.As4(), destination.As4()
	b = append(b, from[:]...)
	b = append(b, to[:]...)
	return append(b, payload...)
}

func appendIPv6(b []byte, source, destination netip.Addr, payload []byte) []byte {
	b = append(b, 6<<4|0xc0>>4, 0, 0, 0) // version, traffic class CS6, flow label
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(b, protocolVRRP, 255) // next header, hop limit
	from, to := source.As16(), destination.As16()
	b = append(b, from[:]...)
	b = append(b, to[:]...)
	return append(b, payload...)
}
