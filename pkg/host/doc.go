// Package host is this node's own network configuration as far as the daemon
// is concerned: it watches links and IPv4 addresses, and it owns the virtual
// addresses that are bound to them.
package host
