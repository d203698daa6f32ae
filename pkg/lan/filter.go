package lan

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// vrrpFilter lets pass what the receiving socket of a port, whose packets begin
// with the IP header, is for.
func vrrpFilter(i Interface) []bpf.Instruction {
	protocol := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolVRRP, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		// No fragments: More Fragments is not set, the offset is 0.
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0x3fff, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
	if i.IPv6 {
		// A fragment has another next header, of its own.
		protocol = []bpf.Instruction{
			bpf.LoadAbsolute{Off: 6, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolVRRP, SkipTrue: 1},
			bpf.RetConstant{Val: 0},
		}
	}
	return append(protocol, incomingFilter(i.Index, maxPacket)...)
}

// incomingFilter lets pass the first bytes of what came in on an interface for this host,
// for a group or for all.
func incomingFilter(index int, bytes uint32) []bpf.Instruction {
	return []bpf.Instruction{
		// Neither what this node sends nor what is for other hosts, which also
		// is how the kernel marks a packet of a VLAN that has no interface here.
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipTrue: 3},
		// Not what is for an interface stacked on this one, a VLAN or a
		// macvlan: the kernel hands it to the sockets of both.
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(index), SkipTrue: 1},
		bpf.RetConstant{Val: bytes},
		bpf.RetConstant{Val: 0},
	}
}

// neighborFilter lets pass what may say who has an address: with IPv4 all that a socket
// for ARP hears, with IPv6 Neighbor Solicitations and Advertisements. Packets begin
// with the header of ARP or IPv6.
func neighborFilter(i Interface) []bpf.Instruction {
	if !i.IPv6 {
		return incomingFilter(i.Index, maxNeighborPacket)
	}
	return append([]bpf.Instruction{
		// They have no extension headers: nobody sends any with them.
		bpf.LoadAbsolute{Off: 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: ipv6HeaderLen, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeNeighborSolicitation, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeNeighborAdvertisement, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, incomingFilter(i.Index, maxNeighborPacket)...)
}

// dropAll lets nothing pass.
var dropAll = []bpf.Instruction{bpf.RetConstant{Val: 0}}

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
