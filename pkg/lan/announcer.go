package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Announcer sends gratuitous ARP packets and unsolicited Neighbor Advertisements.
// It is used by one goroutine. The zero value is ready for use.
type Announcer struct {
	sockets frameSockets
	frame   []byte
}

// Announce announces each of vips at mac, an Ethernet address, to all hosts on the
// interface index. It sends an unsolicited Neighbor Advertisement for an IPv6
// address (RFC 4861 section 7.2.6) and a gratuitous ARP request for an IPv4
// address (RFC 5944 section 4.6), which most systems accept. The Router flag of an
// advertisement is the interface's IPv6 forwarding setting, and is not set if the
// setting cannot be read, which is an error too. The error joins the errors of the
// VIPs that were not announced; the others were.
func (a *Announcer) Announce(index int, mac net.HardwareAddr, vips []netip.Addr) error {
	return a.send(index, mac, vips, arpRequest)
}

// AnnounceReply is Announce for IPv4 addresses with gratuitous ARP replies instead
// of requests: some systems accept only those.
func (a *Announcer) AnnounceReply(index int, mac net.HardwareAddr, vips []netip.Addr) error {
	return a.send(index, mac, vips, arpReply)
}

// send sends one frame for each of vips. operation is that of an ARP packet.
func (a *Announcer) send(index int, mac net.HardwareAddr, vips []netip.Addr, operation uint16) error {
	if len(mac) != len(MAC{}) {
		return fmt.Errorf("announce on link %d: %q is no Ethernet address", index, mac)
	}
	conn, err := a.sockets.get(index)
	if err != nil {
		return fmt.Errorf("announce on link %d: %w", index, err)
	}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("announce on link %d: %w", index, err))
		}
	}
	note(conn.SetWriteDeadline(time.Now().Add(sendTimeout)))
	router := false
	if slices.ContainsFunc(vips, netip.Addr.Is6) {
		router, err = ipv6Setting(index, "forwarding")
		note(err)
	}
	for _, vip := range vips {
		switch {
		case vip.Is4():
			a.frame = gratuitousARP(MAC(mac), vip, operation).appendFrame(a.frame[:0])
		case vip.Is6() && !vip.Is4In6():
			a.frame = unsolicitedAdvertisement(MAC(mac), vip, router).appendFrame(a.frame[:0], MAC(mac))
		default:
			note(fmt.Errorf("%q is no IP address", vip))
			continue
		}
		if err := a.sockets.send(conn, a.frame); err != nil {
			note(fmt.Errorf("%s: %w", vip, err))
		}
	}
	if len(errs) > 0 {
		errs = append(errs, a.sockets.discard(index))
	}
	return errors.Join(errs...)
}

// Close closes every socket, and waits until all are closed.
func (a *Announcer) Close() error { return a.sockets.close() }
