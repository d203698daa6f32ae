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

// A listener reports at most a burst of eventBurst events and two for each watched
// address, and then eventsPerSecond. A host that claims addresses without end makes
// no more work than that.
const (
	eventBurst      = 64
	eventsPerSecond = 100
)

// listener receives the ARP or the Neighbor Discovery packets of one interface, and
// reports the claims of watched addresses.
type listener struct {
	Interface
	conn    *packet.Conn
	watched atomic.Pointer[map[netip.Addr]bool]
	// failed reports that the socket may no longer receive: reopen it.
	failed  atomic.Bool
	reading sync.WaitGroup
}

// listen opens a listener, which calls report from its own goroutine.
func listen(i Interface, watched map[netip.Addr]bool, report func(NeighborEvent)) (*listener, error) {
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
	l.watched.Store(&watched)
	l.reading.Go(func() { l.read(report) })
	return l, nil
}

// close closes the socket and waits until report is no longer called.
func (l *listener) close() error {
	err := l.conn.Close()
	l.reading.Wait()
	return err
}

// read reports claims until the socket is closed or fails for good.
func (l *listener) read(report func(NeighborEvent)) {
	b := make([]byte, maxNeighborPacket)
	limit := rateLimit{last: time.Now()}
	for {
		n, from, err := l.conn.ReadFrom(b)
		if err != nil {
			// The kernel returns ENETDOWN when the interface goes down, after which
			// the socket can receive again, and when the interface is deleted, after
			// which it cannot.
			l.failed.Store(true)
			if errors.Is(err, unix.ENETDOWN) {
				continue
			}
			return
		}
		e, ok := l.parse(b[:n], from)
		if watched := *l.watched.Load(); ok && watched[e.IP] && limit.allow(time.Now(), eventBurst+2*len(watched)) {
			report(e)
		}
	}
}

// parse returns the claim in a packet, if there is one. from is the packet's sender.
func (l *listener) parse(b []byte, from net.Addr) (e NeighborEvent, ok bool) {
	e.Index = l.Index
	if l.IPv6 {
		if m, valid := parseNeighborMessage(b); valid {
			e.IP, e.MAC, ok = m.claim(frameSource(from))
		}
	} else if p, valid := parseARP(b); valid {
		e.IP, e.MAC, ok = p.claim()
	}
	return e, ok
}

// frameSource returns the source of the Ethernet frame that a packet socket received.
func frameSource(a net.Addr) (mac MAC) {
	if p, ok := a.(*packet.Addr); ok {
		copy(mac[:], p.HardwareAddr)
	}
	return mac
}

// rateLimit limits how many events are reported. It starts with a full burst.
type rateLimit struct {
	spent float64
	last  time.Time
}

// allow reports whether one more event may be reported now, and counts it if so.
// burst is the most events at once.
func (r *rateLimit) allow(now time.Time, burst int) bool {
	r.spent = max(0, r.spent-eventsPerSecond*now.Sub(r.last).Seconds())
	r.last = now
	if r.spent+1 > float64(burst) {
		return false
	}
	r.spent++
	return true
}
