package host

import (
	"net"
	"net/netip"
)

// Snapshot is the set of links and addresses of this node at one moment.
type Snapshot struct {
	// Links are sorted by index.
	Links []Link
}

// Link is a network interface.
type Link struct {
	// Index is the interface index.
	Index int
	Name  string
	// HardwareAddr is empty if the link has no address, or only zeros.
	HardwareAddr net.HardwareAddr
	// Up reports whether the link is administratively up (IFF_UP).
	Up bool
	// Running reports whether the link has a carrier (IFF_LOWER_UP).
	Running bool
	// Loopback and Multicast report the flags IFF_LOOPBACK and IFF_MULTICAST.
	Loopback, Multicast bool
	// Kind is the type of a virtual link as vishvananda/netlink names it
	// ("veth", "dummy"). It is empty for hardware.
	Kind string
	// Virtual is the VirtualLink that the link is, or the zero value.
	Virtual VirtualLink
	// Addresses are the IPv4 addresses and then the IPv6 addresses, each in the
	// kernel's order. Of two global IPv4 addresses the older comes first. Of two IPv6
	// addresses the one of wider scope comes first and, in the same scope, the newer.
	Addresses []Address
}

// Address is an address of a link.
type Address struct {
	// Prefix is the address and its prefix length. A Prefix has no zone: the link is
	// the zone of a link-local address.
	Prefix netip.Prefix
	// Owned reports whether this daemon or an earlier process of it bound the address.
	Owned bool
	// Secondary reports whether an older IPv4 address has the same prefix.
	Secondary bool
	// Tentative reports whether duplicate address detection (RFC 4862 section 5.4) has
	// not ended or has found a duplicate: the address cannot be a source. With
	// optimistic detection (RFC 4429) an address is usable before detection ends.
	Tentative bool
	// permanent reports whether the address has no lifetime.
	permanent bool
	// scope is rtnetlink's number: 0 global, 253 link, 254 host.
	scope uint8
	// label is empty for IPv6.
	label string
}
