package host

import (
	"net"
	"net/netip"
)

// Snapshot is what links and addresses the node has at one moment.
type Snapshot struct {
	// Links are sorted by index.
	Links []Link
}

// Link is a network interface.
type Link struct {
	Index int
	Name  string
	// HardwareAddr is empty if the link has none, or only zeros.
	HardwareAddr net.HardwareAddr
	// Up tells that it is administratively up (IFF_UP).
	Up bool
	// Running tells that it has a carrier (IFF_LOWER_UP).
	Running bool
	// Loopback and Multicast are what it is and can do (IFF_LOOPBACK,
	// IFF_MULTICAST).
	Loopback, Multicast bool
	// Kind is the type of a virtual link as vishvananda/netlink names it
	// ("veth", "dummy"), empty for hardware.
	Kind string
	// Virtual is what the link is if it is one of VirtualLinks'.
	Virtual VirtualLink
	// Addresses are the IPv4 addresses and then the IPv6 ones, each in the
	// kernel's order. Of two global IPv4 addresses the older comes first; of two
	// IPv6 addresses the one of wider scope and, of the same scope, the newer.
	Addresses []Address
}

// Address is an address on a link.
type Address struct {
	// Prefix has no zone, as no Prefix has: the link says it.
	Prefix netip.Prefix
	// Owned tells that this daemon, or an earlier process of it, bound it.
	Owned bool
	// Permanent tells that it has no lifetime.
	permanent bool
	// Secondary tells that an older IPv4 address has the same prefix.
	Secondary bool
	// Tentative tells that duplicate address detection (RFC 4862 section 5.4)
	// has not ended, or found a duplicate: nothing can be sent from it. With
	// optimistic detection (RFC 4429) an address is of use before it ends.
	Tentative bool
	// Scope is rtnetlink's: 0 global, 253 link, 254 host.
	scope uint8
	// Label is empty with IPv6.
	label string
}
