// Package netnstest gives a test network namespaces of its own: real links,
// addresses, sockets and nftables, and never the host's. It is package netns with a
// testing.T: what fails ends the test, and what is left over ends with it.
package netnstest
