package engine

import (
	"testing"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// A Master that advertises ten times less often than we do, as keepalived does
// in a migration, is left alone by a node that starts beside it, whether the
// virtual router is configured from the beginning or later.
func TestSimulatedStartBesideSlowMaster(t *testing.T) {
	for phase := time.Duration(0); phase < time.Second; phase += 90 * time.Millisecond {
		for _, later := range []time.Duration{0, 10 * time.Second} {
			w := newWorld(t, 40, 1)
			slow := foreign(50, vipA.String())
			slow.advert.Priority, slow.advert.Interval = 100, time.Second
			w.strangers = []*stranger{slow}
			w.run(phase + later)
			w.apply(stateOf(vipA, vipB))
			w.run(10 * time.Second)
			if n := w.nodes[0]; n.state() != vrrp.Backup || len(n.sent) != 0 {
				w.fatalf("state %s, %d packets sent beside a Master of 1 s, configured after %s", n.state(), len(n.sent), phase+later)
			}
		}
	}
}
