package netnstest

import (
	"net"
	"strings"
	"time"
)

// patience is how long something that ought to be quick may take.
const patience = 5 * time.Second

// Resolves asks on eth0, by ARP or a neighbor solicitation, for an address, and
// reports whether there was an answer.
func (ns *NS) Resolves(address string) bool {
	ns.t.Helper()
	ns.Run("ip", "route", "replace", address, "dev", "eth0", "scope", "link")
	defer ns.Run("ip", "route", "del", address)
	ns.Run("ip", "neigh", "flush", "all")
	c, err := ns.DialContext(ns.t.Context(), "udp", net.JoinHostPort(address, "9"))
	if err != nil {
		ns.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("?")); err != nil {
		ns.t.Fatal(err)
	}
	asking := false
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		state := ns.Run("ip", "neigh", "show", address)
		if strings.Contains(state, "lladdr") {
			return true
		}
		// The kernel has one table for all namespaces, and throws away what has
		// failed when there is much in it.
		if strings.Contains(state, "FAILED") || asking && state == "" {
			return false
		}
		asking = asking || strings.Contains(state, "INCOMPLETE")
	}
	ns.t.Fatalf("no end of the question for %s", address)
	return false
}
