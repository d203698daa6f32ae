package lan

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// receiveBuffer is the size in bytes of a receive buffer. It holds some hundred packets
// while the thread is not running.
const receiveBuffer = 1 << 20

// The multicast groups of VRRP (RFC 9568 sections 5.1.1.2 and 5.1.2.2).
var (
	groupIPv4 = [4]byte{224, 0, 0, 18}
	groupIPv6 = [16]byte{0: 0xff, 1: 0x02, 15: 0x12}
)

// openReceive opens the AF_PACKET socket that receives VRRP. The socket has no
// protocol at first, so that it receives nothing before its filter is attached.
func openReceive(i Interface) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	if err := setUpReceive(fd, i); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// setUpReceive attaches the filter, sets the options, and then binds the socket.
func setUpReceive(fd int, i Interface) error {
	if err := attach(fd, vrrpFilter(i)); err != nil {
		return err
	}
	// SO_RCVBUFFORCE may exceed net.core.rmem_max and needs CAP_NET_ADMIN.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return fmt.Errorf("set receive buffer: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("enable timestamps: %w", err)
	}
	protocol := uint16(unix.ETH_P_IP)
	if i.IPv6 {
		protocol = unix.ETH_P_IPV6
	}
	here := unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: i.Index}
	if err := unix.Bind(fd, &here); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// openSend opens the raw IP socket that sends VRRP. It also keeps the kernel from
// answering VRRP packets to this host with "protocol unreachable": the kernel does so
// unless a socket for the protocol is open.
func openSend(i Interface) (int, error) {
	family := unix.AF_INET
	if i.IPv6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocolVRRP)
	if err != nil {
		return -1, fmt.Errorf("open raw IP socket: %w", err)
	}
	if err := setUpSend(fd, i); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// setUpSend sets the options of the sending socket and joins the group.
func setUpSend(fd int, i Interface) error {
	if err := attach(fd, dropAll); err != nil {
		return err
	}
	err := setOptions(fd, []option{
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 0},
		{"SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, 7}, // TC_PRIO_CONTROL
	})
	if err != nil {
		return err
	}
	if i.IPv6 {
		return setUpIPv6(fd, i)
	}
	return setUpIPv4(fd, i.Index)
}

// setUpIPv4 binds a socket's packets to the interface index, and joins 224.0.0.18.
func setUpIPv4(fd, index int) error {
	err := setOptions(fd, []option{
		{"IP_HDRINCL", unix.IPPROTO_IP, unix.IP_HDRINCL, 1},
		{"IP_UNICAST_IF", unix.IPPROTO_IP, unix.IP_UNICAST_IF, unicastInterface(index)},
		{"IP_MULTICAST_LOOP", unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0},
	})
	if err != nil {
		return err
	}
	here := unix.IPMreqn{Multiaddr: groupIPv4, Ifindex: int32(index)}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &here); err != nil {
		return fmt.Errorf("choose the interface for multicast: %w", err)
	}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &here); err != nil {
		return fmt.Errorf("join 224.0.0.18: %w", err)
	}
	return nil
}

// setUpIPv6 binds a socket's packets to the interface, and joins ff02::12.
func setUpIPv6(fd int, i Interface) error {
	// The kernel lets a socket join a group on an interface with IPv6 disabled, but
	// sends and answers nothing there.
	off, err := ipv6Setting(i.Index, "disable_ipv6")
	if err != nil {
		return err
	}
	if off {
		return fmt.Errorf("IPv6 is disabled: net.ipv6.conf.%s.disable_ipv6 is not 0", i.Name)
	}
	err = setOptions(fd, []option{
		{"IPV6_HDRINCL", unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1},
		{"IPV6_UNICAST_IF", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_IF, unicastInterface(i.Index)},
		{"IPV6_MULTICAST_IF", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, i.Index},
		{"IPV6_MULTICAST_LOOP", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0},
	})
	if err != nil {
		return err
	}
	here := unix.IPv6Mreq{Multiaddr: groupIPv6, Interface: uint32(i.Index)}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &here); err != nil {
		return fmt.Errorf("join ff02::12: %w", err)
	}
	return nil
}

// boundTo reports whether a packet socket is bound to the interface index. The kernel
// unbinds it for good when the interface is deleted.
func boundTo(fd, index int) bool {
	address, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	link, ok := address.(*unix.SockaddrLinklayer)
	return ok && link.Ifindex == index
}

// option is an integer socket option and its value.
type option struct {
	name                 string
	level, option, value int
}

// setOptions sets options in order.
func setOptions(fd int, options []option) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.name, err)
		}
	}
	return nil
}

// unicastInterface returns an interface index in network byte order, as IP_UNICAST_IF
// and IPV6_UNICAST_IF expect it.
func unicastInterface(index int) int {
	return int(binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, uint32(index))))
}

// networkOrder returns v in network byte order.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
