package host

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// Snapshot is what links and IPv4 addresses the node has.
type Snapshot struct {
	// Links are sorted by index.
	Links []Link
}

// Link is a network interface.
type Link struct {
	Index        int
	Name         string
	HardwareAddr net.HardwareAddr
	// Up tells that the link is administratively up (IFF_UP).
	Up bool
	// Running tells that it has a carrier (IFF_LOWER_UP).
	Running   bool
	Loopback  bool
	Multicast bool
	// Kind is the driver's name of a virtual link ("veth", "bridge"), empty
	// for hardware.
	Kind string
	// Addresses are the IPv4 addresses, in the kernel's order.
	Addresses []Address
}

// Address is an IPv4 address on a link.
type Address struct {
	Prefix netip.Prefix
	// Ours tells that this daemon put it there.
	Ours bool
	// Permanent tells that it has no lifetime.
	Permanent bool
	// Secondary tells that another address of the same prefix came first.
	Secondary bool
	// Scope is the rtnetlink scope: 0 global, 253 link, 254 host.
	Scope uint8
	Label string
}

// Watch calls changed with the present Snapshot, and again whenever it has
// changed, until ctx ends.
func Watch(ctx context.Context, changed func(Snapshot)) error { return errors.ErrUnsupported }
