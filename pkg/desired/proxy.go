package desired

import "net/netip"

// ProxyStatus is the status of a port that the daemon's own proxy serves.
type ProxyStatus struct {
	// VIP is the address and port that clients connect to.
	VIP netip.AddrPort `json:"vip"`
	// Listener is the address of the proxy's listener: the node's own address and
	// a private port.
	Listener netip.AddrPort `json:"listener"`
	// Target is the destination of new connections.
	Target netip.AddrPort `json:"target"`
	// Connections is the number of open connections.
	Connections int `json:"connections"`
	// Ended counts the connections that have ended, by result; docs/metrics.md
	// lists the results.
	Ended map[string]uint64 `json:"ended,omitempty"`
}
