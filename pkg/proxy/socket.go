package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// control returns what sets the options of a socket before it is bound. A connection
// that is accepted has those of the socket that listens.
//
// The keepalive finds out in time that a peer is gone while nothing is sent.
// TCP_USER_TIMEOUT bounds how long sent data may stay unacknowledged, or a window
// closed. Without lingering a close is a reset, also the kernel's when the daemon
// is killed. With reuseAddress sockets may share a port, see localPorts.
func (p *Proxy) control(reuseAddress int) func(network, address string, socket syscall.RawConn) error {
	seconds := func(d time.Duration) int { return max(1, int(d/time.Second)) }
	return func(_, _ string, socket syscall.RawConn) error {
		var failed error
		err := socket.Control(func(fd uintptr) {
			for _, o := range [...]struct{ level, name, value int }{
				{unix.SOL_SOCKET, unix.SO_REUSEADDR, reuseAddress},
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
				{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(p.dead / 5)},
				{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(p.dead / 10)},
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 8},
				{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(p.dead / time.Millisecond)},
			} {
				if failed = unix.SetsockoptInt(int(fd), o.level, o.name, o.value); failed != nil {
					return
				}
			}
			failed = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		})
		return errors.Join(err, os.NewSyscallError("setsockopt", failed))
	}
}

// bind opens a socket that listens on a port that the kernel chooses. It is not a
// Multipath TCP socket: another path would be one that nftables does not know.
// Nor does it share the port with a connection to a target: nftables guards it.
func (p *Proxy) bind(address netip.Addr) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: p.control(0), KeepAlive: -1}
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), "tcp", netip.AddrPortFrom(address, 0).String())
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// dial opens a connection to a target, from a local port that is in TIME_WAIT if
// there is one that can be used.
func (l *listener) dial(ctx context.Context, target netip.AddrPort) (*net.TCPConn, error) {
	dialer := net.Dialer{Control: l.proxy.control(1), KeepAlive: -1}
	dialer.SetMultipathTCP(false)
	if local := l.ports.take(); local.IsValid() {
		c, err := dialer.DialTCP(ctx, "tcp", local, target)
		// Otherwise another program has the port, or the target knows no
		// timestamps, or the node has another address now.
		if !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return c, err
		}
	}
	return dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, target)
}

// info returns what the kernel knows about a connection.
func info(c *net.TCPConn) (info *unix.TCPInfo, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	failed := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	return info, errors.Join(failed, err)
}

// waiting returns how many bytes the peer of a connection has not acknowledged.
func waiting(c *net.TCPConn) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n, errors.Join(failed, err)
}
