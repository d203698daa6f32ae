package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

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
	// noPort: all local ports to the target are in use.
	noPort
	// refused: there are too many connections, and most are this client's.
	refused
	// drained: the port was removed and the connection did not end in time.
	drained
	// failed: the kernel did not hand the connection out.
	failed
	results
)

var resultNames = [results]string{"closed", "reset", "silent", "unreachable", "noPort", "limit", "drained", "acceptFailed"}

func (r result) String() string { return resultNames[r] }

// listener is one port that is listened on.
type listener struct {
	proxy   *Proxy
	socket  *net.TCPListener
	address netip.AddrPort
	// port is what new connections go by.
	port atomic.Pointer[Port]
	// limit is guarded by the proxy's places.
	limit limit
	ports localPorts
	ended [results]atomic.Uint64

	// closing ends accepting.
	closing     chan struct{}
	connections sync.WaitGroup
}

// listen opens a port and starts to serve it.
func (p *Proxy) listen(port Port) (*listener, error) {
	if !port.Address.IsValid() {
		return nil, errors.New("the node's own address of this family is not known")
	}
	socket, err := p.bind(port.Address)
	if err != nil {
		return nil, err
	}
	l := &listener{
		proxy:   p,
		socket:  socket,
		address: socket.Addr().(*net.TCPAddr).AddrPort(),
		// One port leaves something for the others.
		limit:   limit{max: max(1, p.places.all.max/2)},
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
		conn, err := l.socket.AcceptTCP()
		if err == nil {
			retry = minAcceptRetry
			l.accepted(conn)
			continue
		}
		select {
		case <-l.closing:
			defer time.AfterFunc(l.proxy.drain, l.cut).Stop()
			l.connections.Wait()
			return
		case <-time.After(retry):
			// No files or no memory left: it may be had again.
			l.ended[failed].Add(1)
			retry = min(2*retry, maxAcceptRetry)
		}
	}
}

// cut ends the connections that are still open.
func (l *listener) cut() {
	for _, c := range l.proxy.places.of(&l.limit) {
		c.end(drained)
	}
}

// accepted serves a connection, if there is a place for it.
func (l *listener) accepted(conn *net.TCPConn) {
	address := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	c := &connection{listener: l, source: clientOf(address.Addr().Unmap()), cancel: cancel, client: &side{TCPConn: conn}}
	evicted, ok := l.proxy.places.admit(c)
	if evicted != nil {
		evicted.end(refused)
	}
	if !ok {
		c.end(refused)
		return
	}
	l.connections.Go(func() { c.serve(ctx, address) })
}

func (l *listener) status() desired.ProxyStatus {
	port := l.port.Load()
	s := desired.ProxyStatus{VIP: port.VIP, Listener: l.address, Target: port.Target, Connections: l.proxy.places.count(&l.limit)}
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
