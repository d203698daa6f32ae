// Package lan is this node's side of the LANs it is on: it receives and sends
// VRRP packets, and announces addresses by gratuitous ARP. It moves bytes and
// never reads a VRRP message.
//
// # Sockets
//
// VRRP is received on AF_PACKET sockets, because those still hear when a
// firewall drops protocol 112 in the input hook, as many do: a node that hears
// nobody makes itself Master beside another one. It is sent on raw IP sockets,
// which also hold the membership of 224.0.0.18 and never receive anything.
//
// # Timing
//
// A Network is for a thread of its own, locked and elevated, and so it keeps
// away from the Go runtime's timers and network poller, which cannot hold a
// schedule on a busy machine: it sleeps in ppoll on the raw descriptors and a
// timerfd, and neither waiting nor receiving nor sending allocates. Opening and
// closing sockets can block, and so Ports does it on other threads.
package lan
