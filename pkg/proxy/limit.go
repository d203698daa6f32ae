package proxy

import (
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// filesPerConnection counts a socket to each side.
	filesPerConnection = 2
	// filesReserved are left to the pipes and the rest of the daemon.
	filesReserved = 256 + 2*maxPipes
	// maxConnections bounds the memory where files are plenty.
	maxConnections = 16384
)

// places limits how many connections are open, in all and for each port, and
// divides what there is among the clients: see admit.
type places struct {
	mu  sync.Mutex
	all limit
}

// limit bounds how many connections are open at once. clients has those that are
// open, oldest first.
type limit struct {
	max, open int
	clients   map[netip.Prefix][]*connection
}

// clientOf returns what counts as one client: an address of IPv4, or the 64 bits
// of an IPv6 address that a host cannot choose.
func clientOf(address netip.Addr) netip.Prefix {
	bits := 64
	if address.Is4() {
		bits = 32
	}
	prefix, _ := address.Prefix(bits) // An address has as many bits.
	return prefix
}

// admit gives a place to a connection and reports whether it could. If none is
// left, the client with the most connections loses its newest one, unless the new
// connection's client would have more than that client then. So a client cannot
// keep the others out, and may use all places that they leave. admit returns the
// connection that has lost its place, if there is one: the caller has to end it.
func (p *places) admit(c *connection) (evicted *connection, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range []*limit{&c.listener.limit, &p.all} {
		if l.open < l.max {
			continue
		}
		// It leaves both limits, so at most one has to go.
		if evicted = l.newestOfMost(c.source); evicted == nil {
			return nil, false
		}
		p.remove(evicted)
	}
	c.listener.limit.add(c)
	p.all.add(c)
	return evicted, true
}

// leave returns the place of a connection, if it still has it.
func (p *places) leave(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(c)
}

func (p *places) remove(c *connection) {
	if c.listener.limit.remove(c) {
		p.all.remove(c)
	}
}

// count returns how many connections of a limit are open.
func (p *places) count(l *limit) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.open
}

// of returns the connections of a limit that are open.
func (p *places) of(l *limit) []*connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*connection
	for _, connections := range l.clients {
		all = append(all, connections...)
	}
	return all
}

func (l *limit) add(c *connection) {
	if l.clients == nil {
		l.clients = map[netip.Prefix][]*connection{}
	}
	l.clients[c.source] = append(l.clients[c.source], c)
	l.open++
}

// remove reports whether the connection was there.
func (l *limit) remove(c *connection) bool {
	connections := l.clients[c.source]
	i := slices.Index(connections, c)
	if i < 0 {
		return false
	}
	if connections = slices.Delete(connections, i, i+1); len(connections) > 0 {
		l.clients[c.source] = connections
	} else {
		delete(l.clients, c.source)
	}
	l.open--
	return true
}

// newestOfMost returns the newest connection of the client that has the most. It
// returns nil if source would have more than that client after the exchange.
func (l *limit) newestOfMost(source netip.Prefix) *connection {
	most := l.clients[source]
	for _, connections := range l.clients {
		if len(connections) > len(most) {
			most = connections
		}
	}
	if len(most) <= len(l.clients[source])+1 {
		return nil
	}
	return most[len(most)-1]
}

// connectionLimit returns how many connections the process may have for this
// many files.
func connectionLimit(files uint64) int {
	if files >= filesReserved+filesPerConnection*maxConnections {
		return maxConnections
	}
	return max(int(files)-filesReserved, filesPerConnection) / filesPerConnection
}

// fileLimit returns RLIMIT_NOFILE, 0 if it is not known.
func fileLimit() uint64 {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 0
	}
	return r.Cur
}
