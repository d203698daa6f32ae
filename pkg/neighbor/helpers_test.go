package neighbor_test

import (
	"time"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

// The addresses of a node on the LAN of netnstest.
const (
	nodeIP   = "192.0.2.2"
	vip      = "192.0.2.100"
	vip6     = "2001:db8::100"
	plainVIP = "192.0.2.104" // Not in the table.
)

// patience is how long something that ought to be quick may take.
const patience = 5 * time.Second

// serve accepts connections and closes them.
func serve(ns *netnstest.NS, address string) {
	l := ns.Listen("tcp", address)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
}
