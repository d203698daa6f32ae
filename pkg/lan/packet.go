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
	// maxPacket is the length in bytes of the longest possible VRRP packet: IPv6 with
	// 255 addresses.
	maxPacket = ipv6HeaderLen + 8 + 255*16
)

// Packet is a received packet of protocol 112. It is not a fragment, and the link
// layer addressed it to this host, to a group or to all; its destination IP address
// is not checked. In an IPv6 packet the VRRP message directly follows the fixed
// header.
type Packet struct {
	// Index is the index of the interface that received the packet.
	Index int
	// MAC is the source of the Ethernet frame.
	MAC MAC
	// Data is the packet from the IP header on, valid until the next Receive. The
	// padding of a short Ethernet frame may follow the packet. Bytes beyond the
	// longest possible VRRP packet are cut off.
	Data []byte
	// Arrived is the time when the kernel received the packet, in nanoseconds of
	// CLOCK_MONOTONIC. It is never before the last Receive that returned false, and
	// never in the future.
	Arrived int64
}

// receiver is the memory that recvmsg(2) fills.
type receiver struct {
	data [maxPacket]byte
	// control has room for one control message, the timestamp.
	control struct {
		unix.Cmsghdr
		stamp unix.Timespec
	}
	name unix.RawSockaddrLinklayer
	iov  unix.Iovec
	msg  unix.Msghdr
}

// init points the message header to the buffers. r must not be copied afterwards.
func (r *receiver) init() {
	r.iov.Base = &r.data[0]
	r.iov.SetLen(len(r.data))
	r.msg.Iov = &r.iov
	r.msg.SetIovlen(1)
	r.msg.Control = (*byte)(unsafe.Pointer(&r.control))
	r.msg.Name = (*byte)(unsafe.Pointer(&r.name))
}

// receive is unix.Recvmsg without its allocations. It returns the packet's length in
// bytes.
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

// fill sets p to the packet of n bytes that was just received. empty is a time at
// which the packet had not arrived yet.
func (r *receiver) fill(p *Packet, n int, empty int64) {
	p.Data = r.data[:n]
	p.MAC = MAC(r.name.Addr[:6])
	p.Arrived = clock(unix.CLOCK_MONOTONIC)
	if r.msg.Controllen > 0 && r.control.Level == unix.SOL_SOCKET && r.control.Type == unix.SCM_TIMESTAMPNS {
		age := clock(unix.CLOCK_REALTIME) - r.control.stamp.Nano()
		p.Arrived = arrival(p.Arrived, age, empty)
	}
}

// arrival returns the monotonic time at which a packet of the given age arrived, no
// earlier than empty. All are in nanoseconds. The kernel's timestamps are from the
// wall clock, so a step of that clock makes any age possible.
func arrival(now, age, empty int64) int64 {
	if age <= 0 {
		return now
	}
	if age > now-empty {
		return empty
	}
	return now - age
}

// appendPacket appends an IP packet with a VRRP message to b and returns the result.
// Both addresses are of one family.
func appendPacket(b []byte, source, destination netip.Addr, payload []byte) []byte {
	if source.Is6() {
		return appendIPv6(b, source, destination, payload)
	}
	return appendIPv4(b, source, destination, payload)
}

// appendIPv4 appends an IPv4 packet (RFC 791 section 3.1). The kernel sets the
// identification and the header checksum (raw(7)).
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

// appendIPv6 appends an IPv6 packet (RFC 8200 section 3).
func appendIPv6(b []byte, source, destination netip.Addr, payload []byte) []byte {
	b = append(b, 6<<4|0xc0>>4, 0, 0, 0) // version, traffic class CS6, flow label
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(b, protocolVRRP, 255) // next header, hop limit
	from, to := source.As16(), destination.As16()
	b = append(b, from[:]...)
	b = append(b, to[:]...)
	return append(b, payload...)
}
