// Package host manages the network configuration of this node that the daemon depends
// on: it watches links and their addresses, and it owns the virtual addresses and the
// macvlan links with virtual MAC addresses.
//
// # Lease
//
// A virtual address is bound with a lifetime of a few seconds, which only a working
// daemon renews. So the kernel removes the addresses of a daemon that was killed,
// stopped or hangs, and two nodes do not answer for an address for long. The kernel
// checks once a second: an address is gone at most one second after its lifetime has
// ended.
//
// # Source
//
// An IPv4 virtual address has the scope host, so that the kernel never selects it as
// the source of packets of this node. The scope link is not enough: packets on an
// on-link route without a preferred source, and all multicast and broadcast packets,
// would use the address, even before an older global address.
//
// An IPv6 virtual address has a preferred lifetime of 0, so it is deprecated
// (RFC 4862 section 5.5.4). The kernel selects it as a source only if RFC 6724
// section 5 leaves no other address: a node without another global address uses it for
// destinations that are not on the link, and an interface without another global
// address uses it for multicast of a wider scope than the link. VRRP and Neighbor
// Discovery always use the link-local address.
//
// # Duplicate address detection
//
// An IPv6 virtual address is bound without duplicate address detection (IFA_F_NODAD):
// a Master must answer at once, and the previous Master may still have the address.
//
// # Ownership
//
// The daemon owns the addresses with the protocol attribute (IFA_PROTO) 0xfb, which
// Linux keeps since 5.18, if they are a /32 or /128 with a lifetime. Without a protocol
// attribute, it owns IPv4 addresses with the label that the function label returns, and
// IPv6 addresses with all of the flags nodad, noprefixroute and deprecated and at most
// 2 s of their lifetime left. It never changes or removes any other address.
package host
