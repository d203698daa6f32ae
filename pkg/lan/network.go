package lan

import (
	"errors"
	"net/netip"
)

// Interface is a link to listen on.
type Interface struct {
	Index int
	Name  string
	// Source is the address that what we send comes from.
	Source netip.Addr
}

// Packet is one received IPv4 packet of protocol 112.
type Packet struct {
	// Index is the interface it came in on.
	Index int
	// Data is the packet from the IP header on, valid until the next
	// Receive. It may be longer than the header's total length.
	Data []byte
	// Arrived is when the kernel saw it, in nanoseconds of CLOCK_MONOTONIC.
	Arrived int64
	// HardwareAddr is the sender's.
	HardwareAddr [6]byte
}

// Network is the VRRP side of the LANs this node is on. It is used by one
// goroutine, except Wake.
type Network struct{}

// NewNetwork returns a Network that listens on no interface yet.
func NewNetwork() (*Network, error) { return nil, errors.ErrUnsupported }

// Now returns CLOCK_MONOTONIC in nanoseconds.
func (n *Network) Now() int64 { return 0 }

// Listen makes the given interfaces, and no others, the ones listened on.
func (n *Network) Listen(interfaces []Interface) error { return errors.ErrUnsupported }

// Wait returns when a packet has arrived, Wake was called, or the clock has
// reached deadline (as of Now; math.MaxInt64 means never).
func (n *Network) Wait(deadline int64) error { return errors.ErrUnsupported }

// Receive fills p with the next waiting packet. It never blocks; false means
// that no interface has one.
func (n *Network) Receive(p *Packet) bool { return false }

// Send sends payload, one VRRP message, to 224.0.0.18 on the interface.
func (n *Network) Send(index int, source netip.Addr, payload []byte) error {
	return errors.ErrUnsupported
}

// Wake makes the Wait that runs, or else the next one, return at once. It may
// be called by any goroutine.
func (n *Network) Wake() {}

// Close closes every socket.
func (n *Network) Close() error { return nil }
