package proxy

import (
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// socket returns a TCP socket with the options that all have, and the address as
// the kernel takes it. What is accepted has the options of the one that listens.
//
// The keepalive finds out in time that a peer is gone while nothing is sent.
// TCP_USER_TIMEOUT bounds how long sent data may stay unacknowledged, or a window
// closed. Without lingering a close is a reset, also the kernel's when the daemon
// is killed. It is not a Multipath TCP socket: a path more would be one that
// nftables knows nothing of.
func (p *Proxy) socket(address netip.AddrPort) (fd int, _ unix.Sockaddr, err error) {
	family, sockaddr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()})
	if address.Addr().Is4() {
		family, sockaddr = unix.AF_INET, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, nil, os.NewSyscallError("socket", err)
	}
	seconds := func(d time.Duration) int { return max(1, int(d/time.Second)) }
	for _, o := range [...]struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(p.dead / 5)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(p.dead / 10)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 8},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(p.dead / time.Millisecond)},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			_ = unix.Close(fd)
			return -1, nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := linger(fd, false); err != nil {
		_ = unix.Close(fd)
		return -1, nil, os.NewSyscallError("setsockopt", err)
	}
	return fd, sockaddr, nil
}

// linger sets whether a close ends a connection after all was sent, or resets it.
func linger(fd int, yes bool) error {
	option := unix.Linger{Onoff: 1}
	if yes {
		option.Onoff = 0
	}
	return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &option)
}

// bind opens a socket that listens on a port that the kernel chooses.
func (p *Proxy) bind(address netip.Addr) (*os.File, netip.AddrPort, error) {
	fd, sockaddr, err := p.socket(netip.AddrPortFrom(address, 0))
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	var name unix.Sockaddr
	if err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr)); err == nil {
		// The kernel makes it somaxconn.
		err = os.NewSyscallError("listen", unix.Listen(fd, 1<<16-1))
	}
	if err == nil {
		name, err = unix.Getsockname(fd)
		err = os.NewSyscallError("getsockname", err)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, netip.AddrPort{}, err
	}
	return os.NewFile(uintptr(fd), "listener"), addrPort(name), nil
}

// accept waits for a connection. Its socket belongs to the caller.
func accept(listener *os.File) (fd int, client netip.AddrPort, err error) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return -1, client, err
	}
	var sockaddr unix.Sockaddr
	var failed error
	err = raw.Read(func(socket uintptr) bool {
		for {
			fd, sockaddr, failed = unix.Accept4(int(socket), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			// One that was aborted while it waited is not the last.
			if failed != unix.EINTR && failed != unix.ECONNABORTED {
				return failed != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return -1, client, err
	}
	return fd, addrPort(sockaddr), nil
}

// addrPort returns an address of the kernel as a value without zone.
func addrPort(address unix.Sockaddr) netip.AddrPort {
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	default:
		return netip.AddrPort{}
	}
}
