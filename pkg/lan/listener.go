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

// What a Watcher passes on of one family of an interface at most: a burst of
// claimsAtOnce and two of each watched address, and then so many per second. A
// host that claims addresses without end makes no more work than that.
const (
	claimsAtOnce    = 64
	claimsPerSecond = 100
)

// ear is the socket that hears claims of one family on an interface, and the
// goroutine that reads it.
type ear struct {
	Interface
	conn    *packet.Conn
	watched atomic.Pointer[map[netip.Addr]bool]
	// deaf tells that the socket may have stopped hearing.
	deaf    atomic.Bool
	reading sync.WaitGroup
}

func (w *Watcher) listen(i Interface, addresses map[netip.Addr]bool) (*ear, error) {
	filter, err := bpf.Assemble(claims(i))
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
	e := &ear{Interface: i, conn: conn}
	e.watched.Store(&addresses)
	e.reading.Go(func() { e.read(w.heard) })
	return e, nil
}

func (e *ear) close() error {
	err := e.conn.Close()
	e.reading.Wait()
	return err
}

// read passes on what is heard until the socket is closed or fails for good.
func (e *ear) read(heard func(Claim)) {
	b := make([]byte, maxClaim)
	budget := allowance{last: time.Now()}
	for {
		n, from, err := e.conn.ReadFrom(b)
		if err != nil {
			// ENETDOWN is told when the interface goes down, after which the
			// socket hears again, and when it is deleted, after which it does not.
			e.deaf.Store(true)
			if errors.Is(err, unix.ENETDOWN) {
				continue
			}
			return
		}
		c := Claim{Index: e.Index}
		ok := false
		if e.IPv6 {
			if m, valid := parseNeighborMessage(b[:n]); valid {
				c.Address, c.MAC, ok = m.claim(senderOf(from))
			}
		} else if p, valid := parseARP(b[:n]); valid {
			c.Address, c.MAC, ok = p.claim()
		}
		if watched := *e.watched.Load(); ok && watched[c.Address] && budget.take(time.Now(), claimsAtOnce+2*len(watched)) {
			heard(c)
		}
	}
}

func senderOf(a net.Addr) (mac MAC) {
	if p, ok := a.(*packet.Addr); ok {
		copy(mac[:], p.HardwareAddr)
	}
	return mac
}

// allowance is how many claims may still be passed on. It begins full.
type allowance struct {
	spent float64
	last  time.Time
}

// take tells whether one more of at most so many at once may be passed on.
func (a *allowance) take(now time.Time, most int) bool {
	a.spent = max(0, a.spent-claimsPerSecond*now.Sub(a.last).Seconds())
	a.last = now
	if a.spent+1 > float64(most) {
		return false
	}
	a.spent++
	return true
}
