package proxy

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// filesPerConnection are a socket to each side.
	filesPerConnection = 2
	// filesReserved are left to the pipes and the rest of the daemon.
	filesReserved = 256 + 2*maxPipes*maxLoops
	// maxConnections bounds the memory where files are plenty.
	maxConnections = 16384
)

// limit is a number of connections that may be open at once.
type limit struct {
	max  int64
	open atomic.Int64
}

// enter takes a place, if there is one left. Who got it leaves.
func (l *limit) enter() bool {
	if l.open.Add(1) <= l.max {
		return true
	}
	l.open.Add(-1)
	return false
}

func (l *limit) leave() { l.open.Add(-1) }

// connectionLimit returns how many connections the process may have for this
// many files.
func connectionLimit(files uint64) int64 {
	if files >= filesReserved+filesPerConnection*maxConnections {
		return maxConnections
	}
	return max(int64(files)-filesReserved, filesPerConnection) / filesPerConnection
}

// fileLimit returns RLIMIT_NOFILE, 0 if it is not known.
func fileLimit() uint64 {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 0
	}
	return r.Cur
}
