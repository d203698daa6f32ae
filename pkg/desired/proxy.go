package desired

import "net/netip"

// ProxyStatus is how one port is doing that the daemon serves itself.
type ProxyStatus struct {
	// VIP is the address and port that clients connect to.
	VIP netip.AddrPort `json:"vip"`
	// Listener is the node's own address and the private port that stand
	// behind it.
	Listener netip.AddrPort `json:"listener"`
	// Target is what new connections are led to.
	Target netip.AddrPort `json:"target"`
	// Connections are those that are open.
	Connections int `json:"connections"`
	// Ended counts those that have ended, by how they did.
	Ended map[string]uint64 `json:"ended,omitempty"`
}
