// Package netnstest gives a test network namespaces of its own: real links,
// addresses, sockets and nftables, and never the host's.
//
// A namespace here has no name: it lives as long as the test process holds its
// file descriptor or a process runs in it, so nothing is left behind by a
// test that was killed.
package netnstest
