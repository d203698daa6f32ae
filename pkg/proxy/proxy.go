package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kube-vrrp-vip/pkg/desired"
)

// drain is how long connections that are open may go on after their port has
// been removed.
const drain = 5 * time.Second

// maxLoops is how many processors are used at most.
const maxLoops = 4

// Port is a TCP port of a VIP that is served here.
type Port struct {
	VIP netip.AddrPort
	// Address is the node's own, which is listened on; of the VIP's family.
	Address netip.Addr
	// Target is what new connections are led to.
	Target netip.AddrPort
	// Header is what Target is told about the client.
	Header desired.Proxy
}

// Proxy serves TCP ports. Open, Prune and Close are called by one goroutine,
// Status by any.
type Proxy struct {
	limit limit
	// drain is how long connections may go on after their port was removed,
	// dead how long a peer may be silent that should say something.
	drain, dead time.Duration
	// serving are the listeners and their connections.
	serving sync.WaitGroup

	// loops move the bytes of all connections; looping are they. next counts
	// what they were given.
	loops   []*loop
	looping sync.WaitGroup
	next    atomic.Uint32

	mu sync.Mutex
	// listeners are those of the last Open, by VIP and port; stale are those
	// that it had no use for.
	listeners map[netip.AddrPort]*listener
	stale     []*listener
}

// New returns a Proxy without ports. It has neither goroutines nor sockets.
func New() *Proxy {
	return &Proxy{
		limit:     limit{max: connectionLimit(fileLimit())},
		drain:     drain,
		dead:      deadAfter,
		listeners: map[netip.AddrPort]*listener{},
	}
}

// Open makes these the ports that are served, and returns by VIP and port where
// each is listened on. That stays as it is for as long as the port and the
// node's address do; another target or header is for new connections.
//
// A port that cannot be listened on is not in the result, and the error names
// it; the others are served. What is not wanted any more goes on until Prune.
func (p *Proxy) Open(ports []Port) (map[netip.AddrPort]netip.AddrPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	private := make(map[netip.AddrPort]netip.AddrPort, len(ports))
	before := p.listeners
	p.listeners = make(map[netip.AddrPort]*listener, len(ports))
	var errs []error
	for _, port := range ports {
		l := before[port.VIP]
		if l == nil || l.address.Addr() != port.Address {
			var err error
			if l, err = p.listen(port); err != nil {
				errs = append(errs, fmt.Errorf("proxy %s: %w", port.VIP, err))
				continue
			}
		} else {
			delete(before, port.VIP)
		}
		l.port.Store(&port)
		p.listeners[port.VIP] = l
		private[port.VIP] = l.address
	}
	for _, l := range before {
		p.stale = append(p.stale, l)
	}
	return private, errors.Join(errs...)
}

// Prune closes what the last Open did not name. It does not wait: connections
// may end within a bound, and are reset then.
func (p *Proxy) Prune() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.stale {
		l.close()
	}
	p.stale = nil
}

// Close closes everything, and waits until all connections have ended.
func (p *Proxy) Close() {
	_, _ = p.Open(nil) // Nothing to open cannot fail.
	p.Prune()
	p.serving.Wait()
	for _, l := range p.loops {
		_ = l.door.Close()
	}
	p.looping.Wait()
	p.loops = nil
}

// start starts the loops, if that was not done yet. They leave a processor to
// the rest of the daemon.
func (p *Proxy) start() error {
	if p.loops != nil {
		return nil
	}
	var loops []*loop
	for range min(max(1, runtime.GOMAXPROCS(0)-1), maxLoops) {
		l, err := newLoop()
		if err != nil {
			for _, l := range loops {
				l.close()
			}
			return err
		}
		loops = append(loops, l)
	}
	p.loops = loops
	for _, l := range loops {
		p.looping.Go(l.serve)
	}
	return nil
}

// loop returns the loop for the next connection.
func (p *Proxy) loop() *loop { return p.loops[p.next.Add(1)%uint32(len(p.loops))] }

// Status returns how the ports of the last Open are doing, sorted by VIP and
// port.
func (p *Proxy) Status() []desired.ProxyStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	status := make([]desired.ProxyStatus, 0, len(p.listeners))
	for _, l := range p.listeners {
		status = append(status, l.status())
	}
	slices.SortFunc(status, func(a, b desired.ProxyStatus) int { return a.VIP.Compare(b.VIP) })
	return status
}
