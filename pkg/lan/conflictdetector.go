package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// ConflictDetector detects hosts that claim watched addresses by ARP (RFC 5227) or
// Neighbor Discovery (RFC 4862 section 5.4), and sends probes for such addresses. It
// reports the claims of every host on the interface except this one; the other
// interfaces of this node count as other hosts. Its methods are used by one
// goroutine.
type ConflictDetector struct {
	report    func(NeighborEvent)
	listeners map[Interface]*listener
	sockets   frameSockets
	frame     []byte
}

// NewConflictDetector returns a ConflictDetector that watches no addresses yet.
// It calls report from its own goroutines, one for each interface and family.
func NewConflictDetector(report func(NeighborEvent)) *ConflictDetector {
	return &ConflictDetector{report: report, listeners: make(map[Interface]*listener)}
}

// Watch sets the watched addresses, by interface index. It also reopens failed
// sockets, so call it periodically. The error joins the errors of the interfaces
// that cannot be listened on.
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
		l, err := listen(i, addresses, d.report)
		if err != nil {
			errs = append(errs, fmt.Errorf("watch link %d for claims: %w", i.Index, err))
			continue
		}
		d.listeners[i] = l
	}
	return errors.Join(errs...)
}

// Probe asks on the interface index, whose Ethernet address is mac, for each of vips.
// An IPv4 address is probed without a claim (RFC 5227 section 2.1.1). For an IPv6
// address, a zero source makes the probe of duplicate address detection (RFC 4862
// section 5.4.2), and a source, which must be an address of the interface, makes
// hosts answer to it alone. The error joins the errors of the probes that were not
// sent; the others were.
func (d *ConflictDetector) Probe(index int, mac net.HardwareAddr, source netip.Addr, vips []netip.Addr) error {
	if len(mac) != len(MAC{}) {
		return fmt.Errorf("probe on link %d: %q is no Ethernet address", index, mac)
	}
	conn, err := d.sockets.get(index)
	if err != nil {
		return fmt.Errorf("probe on link %d: %w", index, err)
	}
	errs := []error{conn.SetWriteDeadline(time.Now().Add(sendTimeout))}
	for _, vip := range vips {
		if vip.Is4() {
			d.frame = arpProbe(MAC(mac), vip).appendFrame(d.frame[:0])
		} else {
			d.frame = neighborSolicitation(MAC(mac), source, vip).appendFrame(d.frame[:0], MAC(mac))
		}
		if err := d.sockets.send(conn, d.frame); err != nil {
			errs = append(errs, fmt.Errorf("probe for %s on link %d: %w", vip, index, err))
		}
	}
	err = errors.Join(errs...)
	if err != nil {
		err = errors.Join(err, d.sockets.discard(index))
	}
	return err
}

// Close closes every socket, and waits until report is no longer called.
func (d *ConflictDetector) Close() error {
	errs := []error{d.sockets.close()}
	for _, l := range d.listeners {
		errs = append(errs, l.close())
	}
	clear(d.listeners)
	return errors.Join(errs...)
}
