package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
)

// dialTimeout is how long the target has to take a connection.
const dialTimeout = 5 * time.Second

// side is one of the two connections that make one.
type side struct {
	*net.TCPConn
	// ended tells that its write half was closed, or is about to be.
	ended atomic.Bool
}

// lead leads a client's connection to the port's target until both sides are
// done, or ctx is, or one side fails. It owns the connection.
func (p *Proxy) lead(ctx context.Context, conn *net.TCPConn, port Port) result {
	client := &side{TCPConn: conn}
	defer client.Close()
	conn, err := p.dial(ctx, port.Target)
	if err != nil {
		abort(client)
		if ctx.Err() != nil {
			return drained
		}
		return unreachable
	}
	target := &side{TCPConn: conn}
	defer target.Close()
	defer context.AfterFunc(ctx, func() { abort(client, target) })()

	up := make(chan error, 1)
	go func() {
		err := greet(target, addrPort(client.RemoteAddr()), port)
		if err == nil {
			err = move(target, client, p.dead)
		}
		if err != nil {
			abort(client, target)
		}
		up <- err
	}()
	err = move(client, target, p.dead)
	if err != nil {
		abort(client, target)
	}
	// The first to fail has closed both, so that the other one says closed.
	if other := <-up; err == nil || errors.Is(err, net.ErrClosed) {
		err = other
	}
	switch {
	case err == nil:
		// What the kernel still has to send is to arrive.
		for _, s := range []*side{client, target} {
			_ = s.SetLinger(-1) // It fails only if it is closed already.
		}
		return closed
	case ctx.Err() != nil:
		return drained
	case errors.Is(err, os.ErrDeadlineExceeded):
		return silent
	default:
		return reset
	}
}

func (p *Proxy) dial(ctx context.Context, target netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout, Control: p.prepare, KeepAliveConfig: p.keepAlive()}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// greet tells the target who the client is and what it asked for, if the port
// wants that. It does not block: nothing has been written before.
func greet(target *side, client netip.AddrPort, port Port) error {
	var version byte
	switch port.Header {
	case desired.ProxyV1:
		version = 1
	case desired.ProxyV2:
		version = 2
	default:
		return nil
	}
	_, err := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(client), net.TCPAddrFromAddrPort(port.VIP)).WriteTo(target)
	return err
}

// move moves what comes from one side to the other, and then its end. From
// then on the opposite direction must not be silent for longer than silence.
//
// ReadFrom splices, as long as both are what they are: a wrapper around one of
// them would have every byte copied through the daemon.
func move(to, from *side, silence time.Duration) error {
	for {
		n, err := to.ReadFrom(from.TCPConn)
		if err == nil {
			break
		}
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		// Something came since the deadline was set.
		if err := from.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return err
		}
	}
	if err := from.lost(); err != nil {
		return err
	}
	to.ended.Store(true)
	if err := to.CloseWrite(); err != nil {
		return err
	}
	return to.SetReadDeadline(time.Now().Add(silence))
}

// lost returns an error if a connection that was read to its end did not end by
// a FIN. The kernel tells of a reset once: if who writes was told, who reads
// sees an end like any other, but the connection is in state CLOSE. After a FIN
// it gets there only when this side has closed its half too.
func (s *side) lost() error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var info *unix.TCPInfo
	var failed error
	if err := raw.Control(func(fd uintptr) {
		info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if info.State == unix.BPF_TCP_CLOSE && !s.ended.Load() {
		return unix.ECONNRESET
	}
	return nil
}

// abort closes connections so that the other side sees a reset, whatever is
// waiting to be sent.
func abort(sides ...*side) {
	for _, s := range sides {
		// It does not linger. It fails only if it is closed already.
		_ = s.Close()
	}
}
