package lan

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// receiveBuffer holds some hundred packets while the thread is not running.
const receiveBuffer = 1 << 20

// group is where VRRP goes to (RFC 9568 section 5.1.1.2).
var group = unix.SockaddrInet4{Addr: [4]byte{224, 0, 0, 18}}

// received lets pass what the receiving socket of an interface, whose packets
// begin with the IP header, is for.
func received(index int) []bpf.Instruction {
	return []bpf.Instruction{
		// First what most traffic fails.
		bpf.LoadAbsolute{Off: 16, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(group.Addr[:]), SkipTrue: 9},
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolVRRP, SkipTrue: 7},
		// No fragments: More Fragments is not set, the offset is 0.
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 5},
		// Neither what this node sends nor what is for other hosts, which also
		// is how the kernel marks a packet of a VLAN that has no interface here.
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipTrue: 3},
		// Not what is for an interface stacked on this one, a VLAN or a
		// macvlan: the kernel hands it to the sockets of both.
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(index), SkipTrue: 1},
		bpf.RetConstant{Val: maxPacket},
		bpf.RetConstant{Val: 0},
	}
}

// nothing lets nothing pass.
var nothing = []bpf.Instruction{bpf.RetConstant{Val: 0}}

// Interface is an interface to open a port on.
type Interface struct {
	Index int
	// Name is for errors.
	Name string
	// IPv6 tells which family's packets the port is for.
	IPv6 bool
}

// Port is the sockets of one interface.
type Port struct {
	Interface
	// receive is an AF_PACKET socket.
	receive int
	// send is a raw IP socket, which also holds the multicast membership.
	send int
	// broken tells the Network that uses the port that receive has failed for
	// good.
	broken bool
}

// Ports opens and closes ports. Both block for as long as others hold the lock
// of the kernel's network configuration, and closing one always takes some
// milliseconds, so they are not for the thread of a Network. The zero value is
// ready for use, by any number of goroutines.
type Ports struct{}

// Open opens a port, which collects packets from then on. The error is an
// *InterfaceError.
func (Ports) Open(i Interface) (*Port, error) {
	receive, err := openReceive(i.Index)
	if err != nil {
		return nil, &InterfaceError{Interface: i, Err: err}
	}
	send, err := openSend(i.Index)
	if err != nil {
		return nil, &InterfaceError{Interface: i, Err: errors.Join(err, unix.Close(receive))}
	}
	return &Port{Interface: i, receive: receive, send: send}, nil
}

// Close closes a port that no Network uses any longer.
func (Ports) Close(p *Port) error {
	err := errors.Join(unix.Close(p.receive), unix.Close(p.send))
	// Their numbers may be another's by the time of a second Close.
	p.receive, p.send = -1, -1
	if err != nil {
		return fmt.Errorf("close the sockets of %s: %w", p.Name, err)
	}
	return nil
}

// attached tells whether the receiving socket still works: the kernel takes it
// off an interface that is deleted.
func (p *Port) attached() bool {
	address, err := unix.Getsockname(p.receive)
	if err != nil {
		return false
	}
	packet, ok := address.(*unix.SockaddrLinklayer)
	return ok && packet.Ifindex == p.Index
}

// openReceive opens the socket without a protocol, so that it hears nothing
// before the filter is in place.
func openReceive(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open packet socket: %w", err)
	}
	if err := setUpReceive(fd, index); err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func setUpReceive(fd, index int) error {
	if err := attach(fd, received(index)); err != nil {
		return err
	}
	// SO_RCVBUFFORCE goes beyond net.core.rmem_max and needs CAP_NET_ADMIN.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return fmt.Errorf("set receive buffer: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ask for timestamps: %w", err)
	}
	ip := networkOrder(unix.ETH_P_IP)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: index}); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

func openSend(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocolVRRP)
	if err != nil {
		return 0, fmt.Errorf("open raw IP socket: %w", err)
	}
	if err := setUpSend(fd, index); err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func setUpSend(fd, index int) error {
	if err := attach(fd, nothing); err != nil {
		return err
	}
	options := []struct {
		name                 string
		level, option, value int
	}{
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 0},
		{"SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, 7}, // TC_PRIO_CONTROL
		{"IP_HDRINCL", unix.IPPROTO_IP, unix.IP_HDRINCL, 1},
		{"IP_MULTICAST_LOOP", unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0},
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.name, err)
		}
	}
	here := unix.IPMreqn{Multiaddr: group.Addr, Ifindex: int32(index)}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &here); err != nil {
		return fmt.Errorf("choose the interface for multicast: %w", err)
	}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &here); err != nil {
		return fmt.Errorf("join 224.0.0.18: %w", err)
	}
	return nil
}

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
