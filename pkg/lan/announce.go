package lan

import (
	"errors"
	"net"
	"net/netip"
)

// Announcer sends gratuitous ARP. It is used by one goroutine.
type Announcer struct{}

// Announce tells the LAN of the interface that mac has each of vips.
func (a *Announcer) Announce(index int, mac net.HardwareAddr, vips []netip.Addr) error {
	return errors.ErrUnsupported
}

// Close closes every socket.
func (a *Announcer) Close() error { return nil }

// AppendGratuitousARP appends one Ethernet frame to b.
func AppendGratuitousARP(b []byte, mac net.HardwareAddr, vip netip.Addr, op uint16) []byte { return b }
