package lan

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// receiveBuffer holds some hundred packets while the thread is not running.
const receiveBuffer = 1 << 20

// group is where VRRP goes to (RFC 9568 section 5.1.1.2).
var group = unix.SockaddrInet4{Addr: [4]byte{224, 0, 0, 18}}

// received lets pass what the receiving socket, whose packets begin with the
// IP header, is for.
var received = []bpf.Instruction{
	// Neither what this node sends nor what is for other hosts, which also is
	// how the kernel marks a packet of a VLAN that has no interface here.
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipTrue: 5},
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolVRRP, SkipTrue: 3},
	// No fragments: More Fragments is not set, the offset is 0.
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 1},
	bpf.RetConstant{Val: maxPacket},
	bpf.RetConstant{Val: 0},
}

// nothing lets nothing pass.
var nothing = []bpf.Instruction{bpf.RetConstant{Val: 0}}

// port is one interface that is listened on.
type port struct {
	index int
	name  string
	// receive is an AF_PACKET socket.
	receive int
	// send is a raw IP socket, which also holds the multicast membership.
	send int
	// broken tells that receive has failed for good.
	broken bool
}

func openPort(index int) (*port, error) {
	receive, err := openReceive(index)
	if err != nil {
		return nil, err
	}
	send, err := openSend(index)
	if err != nil {
		return nil, errors.Join(err, unix.Close(receive))
	}
	return &port{index: index, receive: receive, send: send}, nil
}

func (p *port) close() {
	// Nothing is written to either that could be lost.
	_ = unix.Close(p.receive)
	_ = unix.Close(p.send)
}

// attached tells whether the receiving socket still works: the kernel takes it
// off an interface that is deleted.
func (p *port) attached() bool {
	if p.broken {
		return false
	}
	address, err := unix.Getsockname(p.receive)
	if err != nil {
		return false
	}
	packet, ok := address.(*unix.SockaddrLinklayer)
	return ok && packet.Ifindex == p.index
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
	if err := attach(fd, received); err != nil {
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
