package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/packet"
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
			w.frame = arpProbe(MAC(mac), vip).appendFrame(w.frame[:0])
		} else {
			w.frame = neighborSolicitation(MAC(mac), source, vip).appendFrame(w.frame[:0], MAC(mac))
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
