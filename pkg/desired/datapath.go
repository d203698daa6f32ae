package desired

import "time"

// DatapathStatus is how the nftables tables and the built-in proxy are doing.
type DatapathStatus struct {
	// LastSync is the time when the tables were last in sync; zero if they never
	// were.
	LastSync time.Time `json:"lastSync,omitzero"`
	// Err is the error of the latest attempt to write the tables; empty if it
	// succeeded.
	Err string `json:"error,omitempty"`
	// ProxyErr names the ports for which the proxy could not listen in the latest
	// attempt; empty if there are none.
	ProxyErr string `json:"proxyError,omitempty"`
	// Errors counts failed attempts.
	Errors uint64 `json:"errors"`
	// Repairs counts the repairs of the tables after another program had changed
	// them.
	Repairs uint64 `json:"repairs"`
	// Proxy are the ports that the daemon serves itself.
	Proxy []ProxyStatus `json:"proxy,omitempty"`
	// Conflicts describe the rules of other programs that block traffic to VIPs.
	Conflicts []string `json:"conflicts,omitempty"`
}
