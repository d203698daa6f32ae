package desired

import "time"

// DatapathStatus is how the nftables tables and the built-in proxy are doing.
type DatapathStatus struct {
	// LastSync is when the tables were last made what they should be; zero:
	// never.
	LastSync time.Time `json:"lastSync,omitzero"`
	// Err is the error of the latest attempt; empty: it succeeded.
	Err string `json:"error,omitempty"`
	// ProxyErr names the ports that the daemon was to serve itself and could
	// not listen for in the latest attempt.
	ProxyErr string `json:"proxyError,omitempty"`
	// Errors counts the failed attempts.
	Errors uint64 `json:"errors"`
	// Repairs counts how often the tables had to be repaired because another
	// program had changed them.
	Repairs uint64 `json:"repairs"`
	// Proxy are the ports that the daemon serves itself.
	Proxy []ProxyStatus `json:"proxy,omitempty"`
	// Conflicts describe the rules of other programs that keep traffic of VIPs
	// from arriving.
	Conflicts []string `json:"conflicts,omitempty"`
}
