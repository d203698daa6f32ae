package engine

import (
	"slices"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// endpoints tells a node whether it has an endpoint of the Service behind its
// VIPs.
func (n *simNode) endpoints(s desired.State, local bool) {
	n.noLocalEndpoint = !local
	n.applyNow(s)
}

// A Master that loses its last endpoint resigns, and the next node that has one
// takes over at once. When it has one again it takes part at once.
func TestSimulatedNoLocalEndpoint(t *testing.T) {
	for _, s := range []desired.State{stateOf(vipA), stateOf(vip6A), statesOf(unicast(routerOf(50, vipA)))} {
		vip := s.Routers[0].VIPs[0].Address
		w := settledWith(t, 40, 3, s)
		old := w.nodes[w.oneMaster("before")]
		never := w.nodes[(old.id+1)%3]
		never.endpoints(s, false)
		w.run(time.Second)
		if in := never.loop.instances[0]; in.state() != vrrp.Initialize || in.cause.Reason != desired.FaultNoLocalEndpoint || w.oneMaster("with two nodes") != old.id {
			w.fatalf("a Backup without endpoints: state %s for reason %q", in.state(), in.cause.Reason)
		}
		before := len(old.transitions)
		old.endpoints(s, false)
		start := w.now
		for len(w.holders(vip)) == 0 || slices.Contains(w.holders(vip), old.id) {
			if w.now-start > int64(10*time.Second) {
				w.fatalf("%s is held by %v", vip, w.holders(vip))
			}
			w.run(time.Millisecond)
		}
		// Skew_Time is 41 ms, the take-over delay at most 13 ms.
		if gap := time.Duration(w.now - start); gap > 70*time.Millisecond {
			w.fatalf("%s was taken over after %s, want at once", vip, gap)
		}
		want := desired.Transition{From: vrrp.Master, To: vrrp.Initialize, Cause: desired.Cause{Reason: desired.FaultNoLocalEndpoint}}
		if got := old.transitions[before:]; len(got) != 1 || got[0].From != want.From || got[0].To != want.To || got[0].Reason != want.Reason {
			w.fatalf("told of %+v, want of %+v", got, want)
		}
		w.run(time.Second)
		next := 3 - old.id - never.id
		if got := w.oneMaster("after the endpoints moved"); got != next {
			w.fatalf("the Master is n%d, want n%d", got, next)
		}
		old.endpoints(s, true)
		if in := old.loop.instances[0]; in.state() != vrrp.Backup {
			w.fatalf("state %s when it had an endpoint again, want Backup at once", in.state())
		}
		w.run(time.Second)
		if got := w.oneMaster("after the endpoint came back"); got != next {
			w.fatalf("the Master is n%d, want still n%d", got, next)
		}
	}
}

// A node that gets the first endpoint there is has listened all the time.
func TestSimulatedFirstLocalEndpoint(t *testing.T) {
	w := newWorld(t, 41, 2)
	for _, n := range w.nodes {
		n.noLocalEndpoint = true
	}
	s := stateOf(vipA)
	w.apply(s)
	w.run(10 * time.Second)
	if got := w.holders(vipA); len(got) != 0 {
		w.fatalf("held by %v without any endpoint", got)
	}
	for _, n := range w.nodes {
		if got := n.transitions; len(got) != 1 || got[0].To != vrrp.Initialize || got[0].Reason != desired.FaultNoLocalEndpoint {
			w.fatalf("n%d told of %+v, want of %s once", n.id, got, desired.FaultNoLocalEndpoint)
		}
	}
	w.nodes[1].endpoints(s, true)
	w.run(600 * time.Millisecond) // Master_Down_Interval is 341 ms.
	if got := w.oneMaster("with the first endpoint"); got != 1 {
		w.fatalf("the Master is n%d, want the node with the endpoint", got)
	}
}

// A Service that becomes Local gives its VIP to a virtual router of its own,
// which a node may not be fit for. That costs the VIP one election at most, and
// no other VIP anything.
func TestSimulatedServiceBecomesLocal(t *testing.T) {
	shared, apart := stateOf(vipA, vipB), statesOf(routerOf(50, vipA), routerOf(130, vipB))
	for seed := range uint64(20) {
		w := settledWith(t, 50+seed, 3, shared)
		master := w.nodes[w.oneMaster("before")]
		fit := w.nodes[(master.id+1+int(seed%2))%3]
		changes := len(master.transitions)
		// gap is how long, of one second, nobody has the VIP.
		gap := func() (gap time.Duration) {
			for range 1000 {
				w.run(time.Millisecond)
				if got := w.holders(vipA); len(got) != 1 || got[0] != master.id {
					w.fatalf("%s, which did not change, is held by %v, want by n%d", vipA, got, master.id)
				}
				if len(w.holders(vipB)) == 0 {
					gap += time.Millisecond
				}
			}
			return gap
		}
		// The nodes learn of it one after another.
		learn := func(local func(*simNode) bool) {
			for _, i := range w.rng.Perm(3) {
				n := w.nodes[i]
				s := desired.State{Routers: slices.Clone(apart.Routers)}
				s.Routers[1].NoLocalEndpoint = !local(n)
				n.applyNow(s)
				w.run(time.Duration(w.rng.IntN(20)) * time.Millisecond)
			}
		}
		learn(func(n *simNode) bool { return n == fit })
		if got := gap(); got > 500*time.Millisecond {
			w.fatalf("nobody had %s for %s", vipB, got)
		}
		if got := w.holders(vipB); !slices.Equal(got, []int{fit.id}) {
			w.fatalf("%s is held by %v, want by n%d, which has the endpoint", vipB, got, fit.id)
		}
		w.apply(shared)
		if got := gap(); got > 20*time.Millisecond {
			w.fatalf("nobody had %s for %s", vipB, got)
		}
		w.oneMaster("after it was Local no longer")
		if got := master.unbinds[vipA]; got != 0 || slices.ContainsFunc(master.transitions[changes:], func(t desired.Transition) bool { return t.VRID == 50 }) {
			w.fatalf("%s was unbound %d times; transitions %+v", vipA, got, master.transitions[changes:])
		}
	}
}
