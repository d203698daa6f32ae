package lan

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// vrrpFilter accepts VRRP packets that the link layer addressed to this host, to a
// group or to all, and that are not fragments. Packets begin with the IP header.
func vrrpFilter(i Interface) []bpf.Instruction {
	protocol := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1}, // protocol
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolVRRP, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		// No fragments: More Fragments is not set, and the offset is 0.
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0x3fff, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
	if i.IPv6 {
		// A fragment has the next header 44.
		protocol = []bpf.Instruction{
			bpf.LoadAbsolute{Off: 6, Size: 1}, // next header
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolVRRP, SkipTrue: 1},
			bpf.RetConstant{Val: 0},
		}
	}
	return append(protocol, incomingFilter(i.Index, maxPacket)...)
}

// neighborFilter accepts packets that may claim an address. A socket for IPv4
// receives ARP only, and all of it is accepted; for IPv6, Neighbor Solicitations and
// Advertisements are accepted. Packets begin with the ARP or IPv6 header.
func neighborFilter(i Interface) []bpf.Instruction {
	if !i.IPv6 {
		return incomingFilter(i.Index, maxNeighborPacket)
	}
	return append([]bpf.Instruction{
		// Messages with extension headers are ignored: no system sends them.
		bpf.LoadAbsolute{Off: 6, Size: 1}, // next header
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: ipv6HeaderLen, Size: 1}, // ICMPv6 type
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeNeighborSolicitation, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeNeighborAdvertisement, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, incomingFilter(i.Index, maxNeighborPacket)...)
}

// incomingFilter accepts the first bytes of packets that arrived on the interface
// index for this host, for a group or for all.
func incomingFilter(index int, bytes uint32) []bpf.Instruction {
	return []bpf.Instruction{
		// Drop packets that this node sends and packets for other hosts. The kernel
		// also marks a packet of a VLAN without an interface here as for another host.
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipTrue: 3},
		// Drop packets for an interface stacked on this one, such as a VLAN or a
		// macvlan: the kernel passes them to the sockets of both.
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(index), SkipTrue: 1},
		bpf.RetConstant{Val: bytes},
		bpf.RetConstant{Val: 0},
	}
}

// dropAll drops every packet.
var dropAll = []bpf.Instruction{bpf.RetConstant{Val: 0}}

// attach sets the filter of a socket.
func attach(fd int, program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}
