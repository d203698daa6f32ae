package datapath

import (
	"fmt"
	"net/netip"

	"kube-vrrp-vip/pkg/desired"
)

// zoneKey names the ports that have a conntrack zone of their own. In one zone two
// connections of a client must never be the same after the rewrite, and the zone must
// say which address and port a reply gets back. The zone of port 0 is that of all ports of the
// VIP that keep their number, so of them the address alone is to be put back.
// A port that changes its number has one, as two may lead to the same target.
type zoneKey struct {
	vip  netip.Addr
	port uint16
	// keep reports that the client's address is kept.
	keep bool
}

// zoneKeys returns what a forward needs zones for. The first is always there, so
// that a VIP keeps it while its Service comes and goes.
func zoneKeys(f desired.Forward) []zoneKey {
	keys := []zoneKey{{vip: f.VIP}}
	for _, p := range f.Ports {
		keys = append(keys, keyOfPort(f, p))
	}
	return keys
}

func keyOfPort(f desired.Forward, p desired.Port) zoneKey {
	key := zoneKey{vip: f.VIP, keep: keepsSource(p)}
	if p.Target.Port() != p.Port {
		key.port = p.Port
	}
	return key
}

// keepsSource reports whether the client's address is kept. It is for a port that
// the daemon serves itself, too: the daemon reads the client from the connection.
func keepsSource(p desired.Port) bool { return p.KeepSource || p.Proxied() }

// rank is the order in which keys get a zone if there are not enough.
func (k zoneKey) rank() int {
	switch {
	case k == (zoneKey{vip: k.vip}):
		return 0
	case k.port == 0:
		return 1
	default:
		return 2
	}
}

// String names the key in an error.
func (k zoneKey) String() string {
	if k.port == 0 {
		return fmt.Sprintf("forward %s", k.vip)
	}
	return fmt.Sprintf("forward %s port %d", k.vip, k.port)
}
