package proxy

import (
	"maps"
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

// places limits how many connections are open, in all and for each port.
type places struct {
	mu  sync.Mutex
	all limit
}

// limit bounds how many connections are open at once.
type limit struct {
	max, open   int
	connections map[*connection]bool
}

// admit gives a place to a connection, if there is one left.
func (p *places) admit(c *connection) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range []*limit{&c.listener.limit, &p.all} {
		if l.open >= l.max {
			return false
		}
	}
	c.listener.limit.add(c)
	p.all.add(c)
	return true
}

// leave returns the place of a connection.
func (p *places) leave(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.listener.limit.remove(c)
	p.all.remove(c)
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
	return slices.Collect(maps.Keys(l.connections))
}

func (l *limit) add(c *connection) {
	if l.connections == nil {
		l.connections = map[*connection]bool{}
	}
	l.connections[c] = true
	l.open++
}

func (l *limit) remove(c *connection) {
	delete(l.connections, c)
	l.open--
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
