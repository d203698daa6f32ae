// Package host is this node's own network configuration as far as the daemon
// is concerned: it watches links and their addresses, and it owns the virtual
// addresses that are bound to them.
//
// # Lease
//
// A virtual address is bound with a lifetime of a few seconds, which only a
// daemon that works renews. So the kernel takes it away from one that was
// killed, stopped or hangs, and two nodes do not answer for it for ever. The
// kernel looks once a second: an address is gone at most one second after its
// lifetime has ended.
//
// # Source
//
// An IPv4 virtual address has the scope host, so that the kernel never chooses
// it as the source of what the node sends. The scope link would not do: an
// on-link route without a preferred source, and every multicast and broadcast
// packet, then takes it, even before an older global address.
//
// An IPv6 virtual address has a preferred lifetime of 0, so it is deprecated
// (RFC 4862 section 5.5.4). The kernel chooses it as a source only where RFC 6724
// section 5 leaves no other one: a node without any other global address takes
// it for what is not on the link, and an interface without one takes it for
// multicast of a wider scope than the link. VRRP and neighbor discovery come
// from the link-local address in any case.
//
// # Duplicate address detection
//
// An IPv6 virtual address is bound without it (IFA_F_NODAD): a Master has to
// answer at once, and the Master before may still have the address.
//
// # Ownership
//
// Owned are the addresses with the protocol attribute (IFA_PROTO) 0xfb, which
// Linux keeps since 5.18, and always only /32 or /128 with a lifetime. Without
// any such attribute IPv4 addresses are ours by the label that label makes, and
// IPv6 ones by the flags nodad, noprefixroute and deprecated together with no
// more than 2 s of their lifetime left. Nothing else is ever changed or removed.
package host
