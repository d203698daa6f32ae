package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
)

// deadAfter is how long a peer may be silent that should say something: does
// not acknowledge, does not answer keepalives, does not read, or has half a
// connection open. Resetting what would have come back is worse than keeping
// what does not: it is as long as NAT and firewalls on the way keep their own
// state at least (RFC 5382 has minutes too), not as long as HTTP servers wait.
const deadAfter = 5 * time.Minute

// keepAlive finds out in time that a peer is gone while nothing is sent.
func (p *Proxy) keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: p.dead / 5, Interval: p.dead / 10, Count: 8}
}

// The waits between attempts to accept when the kernel has no more to give.
const (
	minAcceptRetry = 5 * time.Millisecond
	maxAcceptRetry = time.Second
)

// result is how a connection ended.
type result int

const (
	// closed: both sides were done.
	closed result = iota
	// reset: one side was reset or is gone.
	reset
	// silent: half a connection on which nothing came.
	silent
	// unreachable: the target did not take the connection.
	unreachable
	// refused: there are too many connections already.
	refused
	// drained: the port was removed and the connection did not end in time.
	drained
	// failed: the kernel did not hand the connection out.
	failed
	results
)

var resultNames = [results]string{"closed", "reset", "silent", "unreachable", "limit", "drained", "acceptFailed"}

func (r result) String() string { return resultNames[r] }

// listener is one port that is listened on.
type listener struct {
	proxy   *Proxy
	socket  *net.TCPListener
	address netip.AddrPort
	// port is what new connections go by.
	port  atomic.Pointer[Port]
	limit limit
	ended [results]atomic.Uint64

	// closing ends accepting, ctx the connections.
	closing     chan struct{}
	ctx         context.Context
	cancel      context.CancelFunc
	connections sync.WaitGroup
}

// listen opens a port and starts to serve it.
func (p *Proxy) listen(port Port) (*listener, error) {
	if !port.Address.IsValid() {
		return nil, errors.New("the node's own address of this family is not known")
	}
	config := net.ListenConfig{Control: p.prepare, KeepAliveConfig: p.keepAlive()}
	// A path of Multipath TCP more would be one that nftables knows nothing of.
	config.SetMultipathTCP(false)
	s, err := config.Listen(context.Background(), "tcp", netip.AddrPortFrom(port.Address, 0).String())
	if err != nil {
		return nil, err
	}
	socket := s.(*net.TCPListener)
	l := &listener{
		proxy:   p,
		socket:  socket,
		address: addrPort(socket.Addr()),
		// One port leaves something for the others.
		limit:   limit{max: max(1, p.limit.max/2)},
		closing: make(chan struct{}),
	}
	l.port.Store(&port)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	p.serving.Go(l.serve)
	return l, nil
}

// close ends accepting. It is called once.
func (l *listener) close() {
	close(l.closing)
	// What was not accepted yet is reset by the kernel.
	_ = l.socket.Close()
}

// serve accepts until close, and returns when the connections have ended.
func (l *listener) serve() {
	defer l.cancel()
	for retry := minAcceptRetry; ; {
		client, err := l.socket.AcceptTCP()
		if err == nil {
			retry = minAcceptRetry
			l.accepted(client)
			continue
		}
		select {
		case <-l.closing:
			defer time.AfterFunc(l.proxy.drain, l.cancel).Stop()
			l.connections.Wait()
			return
		case <-time.After(retry):
			// No files or no memory left: it may be had again.
			l.ended[failed].Add(1)
			retry = min(2*retry, maxAcceptRetry)
		}
	}
}

// accepted serves a connection on a goroutine of its own, if there is a place
// for it.
func (l *listener) accepted(client *net.TCPConn) {
	if !l.limit.enter() {
		abort(&side{TCPConn: client})
		l.ended[refused].Add(1)
		return
	}
	if !l.proxy.limit.enter() {
		l.limit.leave()
		abort(&side{TCPConn: client})
		l.ended[refused].Add(1)
		return
	}
	l.connections.Go(func() {
		defer l.limit.leave()
		defer l.proxy.limit.leave()
		l.ended[l.proxy.lead(l.ctx, client, *l.port.Load())].Add(1)
	})
}

func (l *listener) status() desired.ProxyStatus {
	port := l.port.Load()
	s := desired.ProxyStatus{VIP: port.VIP, Listener: l.address, Target: port.Target, Connections: int(l.limit.open.Load())}
	for r := range results {
		if n := l.ended[r].Load(); n > 0 {
			if s.Ended == nil {
				s.Ended = map[string]uint64{}
			}
			s.Ended[r.String()] = n
		}
	}
	return s
}

// prepare sets the options of every socket before it connects or listens; what
// is accepted has those of the one that listens.
//
// TCP_USER_TIMEOUT bounds how long sent data may stay unacknowledged, or a window
// closed. Without lingering a close is a reset, also the kernel's when the daemon
// is killed.
func (p *Proxy) prepare(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(p.dead/time.Millisecond)),
			unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		)
	}); e != nil {
		return e
	}
	return err
}

// addrPort returns a TCP address as a value without zone, an IPv4 address as
// such.
func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
