package engine

import (
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
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

// A router of another version that advertises once a second is heard three times
// in any listening, the last time maybe when we are Backup already.
func TestSimulatedStartBesideAnotherVersion(t *testing.T) {
	for phase := time.Duration(0); phase < time.Second; phase += 90 * time.Millisecond {
		for _, ours := range []vrrp.Version{vrrp.V2, vrrp.V3} {
			w := newWorld(t, 41, 1)
			other := foreign(50, vipA.String())
			other.advert.Version, other.advert.Interval, other.next = vrrp.V2+vrrp.V3-ours, time.Second, int64(phase)
			w.strangers = []*stranger{other}
			s := stateOf(vipA)
			s.Routers[0].Version = ours
			if ours == vrrp.V2 {
				s.Routers[0].AdvertisementInterval = time.Second
			}
			w.apply(s)
			w.run(20 * time.Second)
			n := w.nodes[0]
			if got := n.engine.Status().Routers[0].Reason; got != desired.FaultVRIDConflict || len(n.sent) != 0 {
				w.fatalf("state %s for %q, %d packets sent beside version %d that begins after %s", n.state(), got, len(n.sent), other.advert.Version, phase)
			}
			w.strangers = nil
			w.run(20 * time.Second)
			w.oneMaster("after the other is gone")
		}
	}
}
