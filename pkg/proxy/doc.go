// Package proxy serves TCP ports of VIPs in the daemon itself, for backends
// that are to be told the client's address by the PROXY protocol, and for nodes
// on which nothing translates ClusterIPs for other hosts.
//
// For each such port it listens on one private port of the node's own address.
// nftables leads VIP:port there and lets nobody else in. For each connection that
// is accepted it opens one to the Service's ClusterIP, as any process of the node
// could. Two goroutines move the bytes of the two directions; long bursts are
// moved by the kernel (splice(2)).
//
// # Ends
//
// An end of one direction (FIN) is passed on, and the other direction goes on.
// Anything else that ends a connection, as a reset, a host that is gone or the
// bound of the drain, is a reset for both sides, so that a transfer that is cut
// short is never taken for complete.
//
// # Bounds
//
// The number of connections is bounded, in all and for each port, so that file
// descriptors and memory are. At the bound the client with the most connections
// gives way to others, and otherwise a new connection is reset at once. A
// connection that is alive may be idle for as long as it likes. A peer that does
// not answer, or does not take what waits for it, or keeps half a connection open
// without saying anything, has deadAfter.
package proxy
