// Package lan is this node's side of the LANs it is on: it receives and sends
// VRRP packets of IPv4 and IPv6, and announces addresses by gratuitous ARP and
// unsolicited Neighbor Advertisements. It moves bytes and never reads a VRRP
// message.
//
// # Sockets
//
// A port is for one interface and one family. VRRP is received on AF_PACKET
// sockets, because those still hear when a firewall drops protocol 112 in the
// input hook, as many do: a node that hears nobody makes itself Master beside
// another one. It is sent on raw IP sockets, which also hold the membership of
// 224.0.0.18 or ff02::12 and never receive anything.
//
// # Unicast
//
// A port receives whatever of protocol 112 reaches this host on its interface,
// and whom a packet is addressed to is for others to judge. What it sends to a
// single host leaves by its interface, even where the kernel has a better route
// by another one: the transport of a virtual router is one interface. Among that
// interface's own routes the kernel chooses, so that a peer may be behind a
// router. An IPv4 host that none of them leads to is taken to be on the link; an
// IPv6 host is unreachable then. The TTL or hop limit is 255 in any case, and a
// peer behind a router receives less.
//
// # Who has an address
//
// A ConflictDetector hears by ARP and Neighbor Discovery who claims addresses, and asks
// for them. It is apart from the ports, on goroutines of its own, and what a flood
// of claims makes it pass on is bounded.
//
// # Timing
//
// A Poller is for a thread of its own, locked and elevated, and so it keeps
// away from the Go runtime's timers and network poller, which cannot hold a
// schedule on a busy machine: it sleeps in ppoll on the raw descriptors and a
// timerfd, and neither waiting nor receiving nor sending allocates. Opening and
// closing sockets can block, and so Conns does it on other threads.
package lan
