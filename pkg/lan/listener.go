package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What a ConflictDetector passes on of one family of an interface at most: a burst of
// eventBurst and two of each watched address, and then so many per second. A
// host that claims addresses without end makes no more work than that.
const (
	eventBurst      = 64
	eventsPerSecond = 100
)

// listener is the socket that hears claims of one family on an interface, and the
// goroutine that reads it.
type listener struct {
	Interface
	conn    *packet.Conn
	watched atomic.Pointer[map[netip.Addr]bool]
	// failed tells that the socket may have stopped hearing.
	failed  atomic.Bool
	reading sync.WaitGroup
}

func (d *ConflictDetector) listen(i Interface, addresses map[netip.Addr]bool) (*listener, error) {
	filter, err := bpf.Assemble(neighborFilter(i))
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	protocol := unix.ETH_P_ARP
	if i.IPv6 {
		protocol = unix.ETH_P_IPV6
	}
	conn, err := packet.Listen(&net.Interface{Index: i.Index}, packet.Datagram, protocol, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	l := &listener{Interface: i, conn: conn}
	l.watched.Store(&addresses)
	l.reading.Go(func() { l.read(d.report) })
	return l, nil
}

func (l *listener) close() error {
	err := l.conn.Close()
	l.reading.Wait()
	return err
}

// read passes on what is heard until the socket is closed or fails for good.
func (l *listener) read(report func(NeighborEvent)) {
	b := make([]byte, maxNeighborPacket)
	limit := rateLimit{last: time.Now()}
	for {
		n, from, err := l.conn.ReadFrom(b)
		if err != nil {
			// ENETDOWN is told when the interface goes down, after which the
			// socket hears again, and when it is deleted, after which it does not.
			l.failed.Store(true)
			if errors.Is(err, unix.ENETDOWN) {
				continue
			}
			return
		}
		e := NeighborEvent{Index: l.Index}
		ok := false
		if l.IPv6 {
			if m, valid := parseNeighborMessage(b[:n]); valid {
				e.IP, e.MAC, ok = m.claim(frameSource(from))
			}
		} else if p, valid := parseARP(b[:n]); valid {
			e.IP, e.MAC, ok = p.claim()
		}
		if watched := *l.watched.Load(); ok && watched[e.IP] && limit.allow(time.Now(), eventBurst+2*len(watched)) {
			report(e)
		}
	}
}

func frameSource(a net.Addr) (mac MAC) {
	if p, ok := a.(*packet.Addr); ok {
		copy(mac[:], p.HardwareAddr)
	}
	return mac
}

// rateLimit is how many claims may still be passed on. It begins full.
type rateLimit struct {
	spent float64
	last  time.Time
}

// allow tells whether one more of at most so many at once may be passed on.
func (r *rateLimit) allow(now time.Time, burst int) bool {
	r.spent = max(0, r.spent-eventsPerSecond*now.Sub(r.last).Seconds())
	r.last = now
	if r.spent+1 > float64(burst) {
		return false
	}
	r.spent++
	return true
}
