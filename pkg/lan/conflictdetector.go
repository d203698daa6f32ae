package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/packet"
)

// ConflictDetector hears by ARP and Neighbor Discovery who claims addresses that it
// watches, and asks for them. It passes on what any host but this one says on the
// interface, our own other interfaces included. Its methods are used by one
// goroutine.
type ConflictDetector struct {
	report    func(NeighborEvent)
	listeners map[Interface]*listener
	// out has the sockets that send.
	out   Announcer
	frame []byte
}

// NewConflictDetector returns a ConflictDetector that hears nothing yet. heard is called by
// goroutines of the ConflictDetector's own.
func NewConflictDetector(report func(NeighborEvent)) *ConflictDetector {
	return &ConflictDetector{report: report, listeners: make(map[Interface]*listener)}
}

// Watch makes exactly these the addresses to hear of, by interface index. It
// opens again what has stopped hearing, and so is to be called from time to time
// too.
func (d *ConflictDetector) Watch(vips map[int][]netip.Addr) error {
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
	for i, l := range d.listeners {
		if wanted[i] == nil || l.failed.Load() {
			errs = append(errs, l.close())
			delete(d.listeners, i)
		}
	}
	for i, addresses := range wanted {
		if l := d.listeners[i]; l != nil {
			l.watched.Store(&addresses)
			continue
		}
		l, err := d.listen(i, addresses)
		if err != nil {
			errs = append(errs, fmt.Errorf("watch link %d for claims: %w", i.Index, err))
			continue
		}
		d.listeners[i] = l
	}
	return errors.Join(errs...)
}

// Probe asks the LAN of an interface who has each of vips. mac is that of the
// interface. Without a source nothing is claimed (RFC 5227 section 2.1.1, RFC 4862
// section 5.4.2); an IPv6 source, which must be the interface's own, has IPv6
// answers come to this host alone.
func (d *ConflictDetector) Probe(index int, mac net.HardwareAddr, source netip.Addr, vips []netip.Addr) error {
	if len(mac) != 6 {
		return fmt.Errorf("probe on link %d: %q is no Ethernet address", index, mac)
	}
	conn, err := d.out.socket(index)
	if err != nil {
		return fmt.Errorf("probe on link %d: %w", index, err)
	}
	errs := []error{conn.SetWriteDeadline(time.Now().Add(announceTimeout))}
	for _, vip := range vips {
		if vip.Is4() {
			d.frame = arpProbe(MAC(mac), vip).appendFrame(d.frame[:0])
		} else {
			d.frame = neighborSolicitation(MAC(mac), source, vip).appendFrame(d.frame[:0], MAC(mac))
		}
		if _, err := conn.WriteTo(d.frame, &packet.Addr{HardwareAddr: d.frame[:6]}); err != nil {
			errs = append(errs, fmt.Errorf("probe for %s on link %d: %w", vip, index, err))
		}
	}
	err = errors.Join(errs...)
	if err != nil {
		// The link may be another one by now: the next Probe opens it anew.
		delete(d.out.sockets, index)
		err = errors.Join(err, conn.Close())
	}
	return err
}

// Close closes every socket and waits until nothing is passed on any more.
func (d *ConflictDetector) Close() error {
	errs := []error{d.out.Close()}
	for _, l := range d.listeners {
		errs = append(errs, l.close())
	}
	clear(d.listeners)
	return errors.Join(errs...)
}
