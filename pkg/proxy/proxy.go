package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"kube-vrrp-vip/pkg/desired"
)

// drain is how long connections that are open may go on after their port has
// been removed.
const drain = 5 * time.Second

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
	places places
	// pipes has an element for each one in use.
	pipes chan struct{}
	// drain is how long connections may go on after their port was removed,
	// dead how long a peer may be silent that should say something.
	drain, dead time.Duration
	// serving are the listeners and their connections.
	serving sync.WaitGroup

	mu sync.Mutex
	// listeners are those of the last Open, by VIP and port; stale are those
	// that it had no use for.
	listeners map[netip.AddrPort]*listener
	stale     []*listener
}

// New returns a Proxy without ports. It has neither goroutines nor sockets.
func New() *Proxy {
	return &Proxy{
		places:    places{all: limit{max: connectionLimit(fileLimit())}},
		pipes:     make(chan struct{}, maxPipes),
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
}

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
