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

// Watcher hears by ARP and Neighbor Discovery who claims addresses that it
// watches, and asks for them. It passes on what any host but this one says on the
// interface, our own other interfaces included. Its methods are used by one
// goroutine.
type Watcher struct {
	heard func(Claim)
	ears  map[Interface]*ear
	// out has the sockets that send.
	out   Announcer
	frame []byte
}

// NewWatcher returns a Watcher that hears nothing yet. heard is called by
// goroutines of the Watcher's own.
func NewWatcher(heard func(Claim)) *Watcher {
	return &Watcher{heard: heard, ears: make(map[Interface]*ear)}
}

// Watch makes exactly these the addresses to hear of, by interface index. It
// opens again what has stopped hearing, and so is to be called from time to time
// too.
func (w *Watcher) Watch(vips map[int][]netip.Addr) error {
	wanted := make(map[Interface]map[netip.Addr]bool)
	for index, addresses := range vips {
		for _, a := range addresses {
			i := Interface{Index: index, IPv6: a.Is6()}
			if wanted[i] == nil {
				wanted[i] = make(map[netip.Addr]bool)
			}
			wanted[i][a] = true
		}
	}
	var errs []error
	for i, e := range w.ears {
		if wanted[i] == nil || e.deaf.Load() {
			errs = append(errs, e.close())
			delete(w.ears, i)
		}
	}
	for i, addresses := range wanted {
		if e := w.ears[i]; e != nil {
			e.watched.Store(&addresses)
			continue
		}
		e, err := w.listen(i, addresses)
		if err != nil {
			errs = append(errs, fmt.Errorf("watch link %d for claims: %w", i.Index, err))
			continue
		}
		w.ears[i] = e
	}
	return errors.Join(errs...)
}

// Probe asks the LAN of an interface who has each of vips. mac is that of the
// interface. Without a source nothing is claimed (RFC 5227 section 2.1.1, RFC 4862
// section 5.4.2); an IPv6 source, which must be the interface's own, has IPv6
// answers come to this host alone.
func (w *Watcher) Probe(index int, mac net.HardwareAddr, source netip.Addr, vips []netip.Addr) error {
	if len(mac) != 6 {
		return fmt.Errorf("probe on link %d: %q is no Ethernet address", index, mac)
	}
	conn, err := w.out.socket(index)
	if err != nil {
		return fmt.Errorf("probe on link %d: %w", index, err)
	}
	errs := []error{conn.SetWriteDeadline(time.Now().Add(announceTimeout))}
	for _, vip := range vips {
		if vip.Is4() {
			w.frame = AppendARPProbe(w.frame[:0], mac, vip)
		} else {
			w.frame = AppendNeighborSolicitation(w.frame[:0], mac, source, vip)
		}
		if _, err := conn.WriteTo(w.frame, &packet.Addr{HardwareAddr: w.frame[:6]}); err != nil {
			errs = append(errs, fmt.Errorf("probe for %s on link %d: %w", vip, index, err))
		}
	}
	err = errors.Join(errs...)
	if err != nil {
		// The link may be another one by now: the next Probe opens it anew.
		delete(w.out.sockets, index)
		err = errors.Join(err, conn.Close())
	}
	return err
}

// Close closes every socket and waits until nothing is passed on any more.
func (w *Watcher) Close() error {
	errs := []error{w.out.Close()}
	for _, e := range w.ears {
		errs = append(errs, e.close())
	}
	clear(w.ears)
	return errors.Join(errs...)
}

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
			c.Address, c.MAC, ok = parseNeighbor(b[:n], senderOf(from))
		} else {
			c.Address, c.MAC, ok = parseARP(b[:n])
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
