package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/packet"
)

// announceTimeout bounds how long a device that transmits nothing can hold up
// Announce.
const announceTimeout = time.Second

// Announcer sends gratuitous ARP and unsolicited Neighbor Advertisements. It is
// used by one goroutine. The zero value is ready for use.
type Announcer struct {
	// sockets are by interface index.
	sockets map[int]*packet.Conn
	frame   []byte
	to      packet.Addr
	// closing are goroutines that close what sockets has no more.
	closing sync.WaitGroup
}

// Announce tells the LAN of the interface that mac has each of vips: an IPv6
// address by a Neighbor Advertisement, an IPv4 address by an ARP request, which
// most systems heed.
func (a *Announcer) Announce(index int, mac net.HardwareAddr, vips []netip.Addr) error {
	return a.send(index, mac, vips, arpRequest)
}

// AnnounceReply tells the LAN of the interface by ARP replies that mac has each of
// vips, which are IPv4 addresses: some systems insist on that form.
func (a *Announcer) AnnounceReply(index int, mac net.HardwareAddr, vips []netip.Addr) error {
	return a.send(index, mac, vips, arpReply)
}

// send sends one frame for each of vips; op is that of an ARP packet.
func (a *Announcer) send(index int, mac net.HardwareAddr, vips []netip.Addr, op uint16) error {
	if len(mac) != 6 {
		return fmt.Errorf("announce on link %d: %q is no Ethernet address", index, mac)
	}
	conn, err := a.socket(index)
	if err != nil {
		return fmt.Errorf("announce on link %d: %w", index, err)
	}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("announce on link %d: %w", index, err))
		}
	}
	note(conn.SetWriteDeadline(time.Now().Add(announceTimeout)))
	router := false
	if slices.ContainsFunc(vips, netip.Addr.Is6) {
		router, err = ipv6Setting(index, "forwarding")
		note(err)
	}
	for _, vip := range vips {
		switch {
		case vip.Is4():
			a.frame = gratuitousARP(MAC(mac), vip, op).appendFrame(a.frame[:0])
		case vip.Is6() && !vip.Is4In6():
			a.frame = unsolicitedAdvertisement(MAC(mac), vip, router).appendFrame(a.frame[:0], MAC(mac))
		default:
			note(fmt.Errorf("%q is no IP address", vip))
			continue
		}
		a.to.HardwareAddr = a.frame[:6]
		if _, err := conn.WriteTo(a.frame, &a.to); err != nil {
			note(fmt.Errorf("%s: %w", vip, err))
		}
	}
	if len(errs) > 0 {
		// The link may be another one by now: the next Announce opens it anew.
		delete(a.sockets, index)
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// socket returns a socket that sends. It receives nothing, because it is for no
// protocol; what it sends is of the one that its Ethernet header names.
func (a *Announcer) socket(index int) (*packet.Conn, error) {
	if conn, ok := a.sockets[index]; ok {
		return conn, nil
	}
	if n := len(a.sockets); n&(n-1) == 0 {
		a.closeRemoved() // seldom enough that many links cost little
	}
	conn, err := packet.Listen(&net.Interface{Index: index}, packet.Raw, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	if a.sockets == nil {
		a.sockets = make(map[int]*packet.Conn)
	}
	a.sockets[index] = conn
	return conn, nil
}

// closeRemoved closes the sockets of links that were deleted: those that are made for a
// while, such as for virtual MAC addresses, have another index each time. Each close
// takes the kernel milliseconds, which no announcement waits for.
func (a *Announcer) closeRemoved() {
	var removed []*packet.Conn
	for index, conn := range a.sockets {
		if !attached(conn, index) {
			removed = append(removed, conn)
			delete(a.sockets, index)
		}
	}
	if len(removed) == 0 {
		return
	}
	a.closing.Go(func() {
		for _, conn := range removed {
			_ = conn.Close() // nothing was left to send
		}
	})
}

// attached tells whether the link of a socket is still there.
func attached(conn *packet.Conn, index int) (is bool) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { is = boundTo(int(fd), index) })
	}
	return is
}

// Close closes every socket, and waits until all are closed.
func (a *Announcer) Close() error {
	var errs []error
	for _, conn := range a.sockets {
		errs = append(errs, conn.Close())
	}
	a.sockets = nil
	a.closing.Wait()
	return errors.Join(errs...)
}
