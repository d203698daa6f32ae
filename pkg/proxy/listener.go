package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
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
	socket  *os.File
	address netip.AddrPort
	// port is what new connections go by.
	port  atomic.Pointer[Port]
	limit limit
	ended [results]atomic.Uint64

	// closing ends accepting, cut the connections.
	closing     chan struct{}
	cut         atomic.Bool
	connections sync.WaitGroup
}

// listen opens a port and starts to serve it.
func (p *Proxy) listen(port Port) (*listener, error) {
	if !port.Address.IsValid() {
		return nil, errors.New("the node's own address of this family is not known")
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	socket, address, err := p.bind(port.Address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", port.Address, err)
	}
	l := &listener{
		proxy:   p,
		socket:  socket,
		address: address,
		// One port leaves something for the others.
		limit:   limit{max: max(1, p.limit.max/2)},
		closing: make(chan struct{}),
	}
	l.port.Store(&port)
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
	for retry := minAcceptRetry; ; {
		fd, client, err := accept(l.socket)
		if err == nil {
			retry = minAcceptRetry
			l.accepted(fd, client)
			continue
		}
		select {
		case <-l.closing:
			loops := l.proxy.loops // Close may have forgotten them.
			defer time.AfterFunc(l.proxy.drain, func() {
				l.cut.Store(true)
				for _, loop := range loops {
					loop.wake()
				}
			}).Stop()
			l.connections.Wait()
			return
		case <-time.After(retry):
			// No files or no memory left: it may be had again.
			l.ended[failed].Add(1)
			retry = min(2*retry, maxAcceptRetry)
		}
	}
}

// accepted gives a connection to a loop, if there is a place for it.
func (l *listener) accepted(fd int, client netip.AddrPort) {
	if !l.limit.enter() {
		_ = unix.Close(fd)
		l.ended[refused].Add(1)
		return
	}
	if !l.proxy.limit.enter() {
		l.limit.leave()
		_ = unix.Close(fd)
		l.ended[refused].Add(1)
		return
	}
	l.connections.Add(1)
	port := l.port.Load()
	c := &connection{listener: l, deadline: time.Now().Add(dialTimeout)}
	c.client = side{connection: c, fd: fd, peer: &c.target}
	c.target = side{connection: c, fd: -1, peer: &c.client}
	loop := l.proxy.loop()
	var err error
	ends := failed
	if c.header, err = header(client, port); err == nil {
		ends, err = c.dial(port.Target)
	}
	if err == nil {
		ends, err = failed, loop.watch(&c.target)
	}
	if err != nil {
		_ = unix.Close(fd)
		if c.target.fd >= 0 {
			_ = unix.Close(c.target.fd)
		}
		l.left(ends)
	}
}

// left counts a connection that has ended.
func (l *listener) left(r result) {
	l.ended[r].Add(1)
	l.limit.leave()
	l.proxy.limit.leave()
	l.connections.Done()
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
