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
	// maxPacket is more than the longest VRRP packet there can be: a header of
	// 60 bytes and a VRRPv2 message of 8 + 255*4 + 8.
	maxPacket = 1500
)

// Packet is one received IPv4 packet of protocol 112 to 224.0.0.18, not a
// fragment.
type Packet struct {
	// Index is the interface it came in on.
	Index int
	// Data is the packet from the IP header on, valid until the next
	// Receive. What a short Ethernet frame is padded with may follow it, and
	// what is beyond 1500 bytes is cut off.
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
	iov unix.Iovec
	msg unix.Msghdr
}

func (r *receiver) init() {
	r.iov.Base = &r.data[0]
	r.iov.SetLen(len(r.data))
	r.msg.Iov = &r.iov
	r.msg.SetIovlen(1)
	r.msg.Control = (*byte)(unsafe.Pointer(&r.control))
}

// receive is unix.Recvmsg without its allocations.
func (r *receiver) receive(fd int) (int, error) {
	for {
		r.msg.SetControllen(int(unsafe.Sizeof(r.control)))
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

// appendPacket appends an IPv4 packet that carries a VRRP message. The kernel
// fills in the identification and the header's checksum (raw(7)).
func appendPacket(b []byte, source netip.Addr, payload []byte) []byte {
	b = append(b, 4<<4|ipv4HeaderLen/4, 0xc0) // version, length; CS6
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4HeaderLen+len(payload)))
	b = append(b, 0, 0, 0, 0)              // identification; fragment offset
	b = append(b, 255, protocolVRRP, 0, 0) // TTL, protocol, checksum
	from := source.As4()
	b = append(b, from[:]...)
	b = append(b, group.Addr[:]...)
	return append(b, payload...)
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
