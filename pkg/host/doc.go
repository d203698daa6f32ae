// Package host is this node's own network configuration as far as the daemon
// is concerned: it watches links and IPv4 addresses, and it owns the virtual
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
// # Scope
//
// A virtual address has the scope host, so that the kernel never chooses it as
// the source of what the node sends. The scope link would not do: an on-link
// route without a preferred source, and every multicast and broadcast packet,
// then takes it, even before an older global address.
//
// # Ownership
//
// Ours are the addresses with the protocol attribute (IFA_PROTO) 0xfb, which
// Linux keeps since 5.18, else with the label that label makes, and always
// only /32 with a lifetime. Nothing else is ever changed or removed.
package host
