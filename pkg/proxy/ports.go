package proxy

import (
	"net/netip"
	"sync"
	"time"
)

// reusable is how long a local port that a connection has left in TIME_WAIT may be
// taken for another one: somewhat less than TIME_WAIT lasts (TCP_TIMEWAIT_LEN,
// 60 s). After that another program may have the port.
const reusable = 50 * time.Second

// localPorts are the local addresses and ports that connections to a target have
// left in TIME_WAIT, oldest first. Where the client ends a connection first, the
// proxy ends the one to the target first, so that TIME_WAIT is the proxy's. The
// kernel does not choose such a port for another connection to this target
// (net.ipv4.tcp_tw_reuse=2), so 470 connections a second use up all ports. It
// accepts one that bind(2) names with SO_REUSEADDR, if TCP timestamps tell the
// segments of the old connection from those of the new one (RFC 6191).
type localPorts struct {
	mu   sync.Mutex
	left []localPort
}

type localPort struct {
	address netip.AddrPort
	since   time.Time
}

// put adds a port that was left now.
func (p *localPorts) put(address netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = append(p.left, localPort{address, time.Now()})
}

// take removes the oldest port and returns it, the zero value if there is none.
func (p *localPorts) take() netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.left) > 0 {
		first := p.left[0]
		p.left = p.left[1:]
		if time.Since(first.since) < reusable {
			return first.address
		}
	}
	p.left = nil
	return netip.AddrPort{}
}
