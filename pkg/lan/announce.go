package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The operations of an ARP packet (RFC 826).
const (
	ARPRequest uint16 = 1
	ARPReply   uint16 = 2
)

// announceTimeout bounds how long a device that transmits nothing can hold up
// Announce.
const announceTimeout = time.Second

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Announcer sends gratuitous ARP. It is used by one goroutine. The zero value
// is ready for use.
type Announcer struct {
	// sockets are by interface index.
	sockets map[int]*packet.Conn
	frame   []byte
}

// Announce tells the LAN of the interface that mac has each of vips: by a
// request, which most systems heed, and by a reply, which some insist on. The
// requests of all go out before the replies.
func (a *Announcer) Announce(index int, mac net.HardwareAddr, vips []netip.Addr) error {
	if len(mac) != 6 {
		return fmt.Errorf("announce on link %d: %q is no Ethernet address", index, mac)
	}
	conn, err := a.socket(index)
	if err != nil {
		return fmt.Errorf("announce on link %d: %w", index, err)
	}
	var errs []error
	if err := conn.SetWriteDeadline(time.Now().Add(announceTimeout)); err != nil {
		errs = append(errs, fmt.Errorf("announce on link %d: %w", index, err))
	}
	for _, op := range []uint16{ARPRequest, ARPReply} {
		for _, vip := range vips {
			if !vip.Is4() {
				errs = append(errs, fmt.Errorf("announce on link %d: %q is no IPv4 address", index, vip))
				continue
			}
			a.frame = AppendGratuitousARP(a.frame[:0], mac, vip, op)
			if _, err := conn.WriteTo(a.frame, &packet.Addr{HardwareAddr: broadcast}); err != nil {
				errs = append(errs, fmt.Errorf("announce %s on link %d: %w", vip, index, err))
			}
		}
	}
	if len(errs) > 0 {
		// The link may be another one by now: the next Announce opens it anew.
		delete(a.sockets, index)
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// socket returns a socket that sends ARP and receives nothing.
func (a *Announcer) socket(index int) (*packet.Conn, error) {
	if conn, ok := a.sockets[index]; ok {
		return conn, nil
	}
	filter, err := bpf.Assemble(nothing)
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	conn, err := packet.Listen(&net.Interface{Index: index}, packet.Raw, unix.ETH_P_ARP, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	if a.sockets == nil {
		a.sockets = make(map[int]*packet.Conn)
	}
	a.sockets[index] = conn
	return conn, nil
}

// Close closes every socket.
func (a *Announcer) Close() error {
	var errs []error
	for _, conn := range a.sockets {
		errs = append(errs, conn.Close())
	}
	a.sockets = nil
	return errors.Join(errs...)
}
