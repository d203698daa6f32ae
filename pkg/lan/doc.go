// Package lan sends and receives on the LANs of this node: VRRP packets for IPv4
// and IPv6, gratuitous ARP and Neighbor Advertisements, and the claims of other
// hosts. It moves bytes and never parses a VRRP message.
//
// # Sockets
//
// A Conn is the pair of sockets of one interface and one family. An AF_PACKET
// socket receives VRRP, because it still receives when a firewall drops protocol 112
// in the input hook, as many firewalls do: a node that receives no advertisements
// becomes a second Master. A raw IP socket sends VRRP. It also holds the membership
// of 224.0.0.18 or ff02::12, and never receives.
//
// # Unicast
//
// A Conn receives every packet of protocol 112 that reaches this host on its
// interface. The caller checks the destination address. A packet to a single host
// leaves by the interface of the Conn, even if the kernel has a better route by
// another interface: the transport of a virtual router is one interface. The kernel
// chooses among the routes of that interface, so a peer may be behind a router. An
// IPv4 host that no such route leads to is assumed to be on the link; an IPv6 host
// is then unreachable. The TTL or hop limit sent is always 255, and routers on the
// way decrement it.
//
// # Address conflicts
//
// A ConflictDetector listens for ARP and Neighbor Discovery packets by which hosts
// claim addresses, and sends probes. It is independent of the Conns, and runs on its
// own goroutines. The number of events that it reports is bounded, even in a flood.
//
// # Timing
//
// A Poller runs on a locked thread with raised priority. It does not use the Go
// runtime's timers and network poller, which cannot keep a schedule on a busy
// machine: it sleeps in ppoll on the raw descriptors and a timerfd. Waiting,
// receiving and sending do not allocate. Opening and closing sockets can block, so
// Conns does both on other threads.
package lan
