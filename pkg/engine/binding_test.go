package engine

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

func TestRemovals(t *testing.T) {
	t.Parallel()
	type step struct {
		after         time.Duration
		n             int
		log, tooOften bool
	}
	for _, tt := range []struct {
		name  string
		steps []step
		total uint64
	}{
		{"once", []step{{0, 3, true, false}}, 3},
		{"seldom", []step{{0, 1, true, false}, {10 * time.Second, 1, true, false}, {10 * time.Second, 1, true, false}}, 3},
		{"not quite too often", []step{
			{0, 1, true, false},
			{2500 * time.Millisecond, 1, false, false},
			{2500 * time.Millisecond, 1, false, false},
			{2500 * time.Millisecond, 1, false, false},
			{2500 * time.Millisecond, 1, true, false},
			{2500 * time.Millisecond, 1, false, false},
		}, 6},
		{"too often, and from the beginning", []step{
			{0, 1, true, false},
			{time.Second, 1, false, false},
			{time.Second, 1, false, false},
			{time.Second, 1, false, false},
			{time.Second, 255, false, true},
			{time.Second, 1, false, false},
		}, 260},
	} {
		var r removals
		now := vrrp.Time(time.Hour)
		for i, s := range tt.steps {
			now = now.Add(s.after)
			if log, tooOften := r.note(s.n, now); log != s.log || tooOften != s.tooOften {
				t.Errorf("%s, %d: log %t, too often %t, want %t, %t", tt.name, i, log, tooOften, s.log, s.tooOften)
			}
		}
		if r.total != tt.total {
			t.Errorf("%s: %d in total, want %d", tt.name, r.total, tt.total)
		}
	}
}

// remove removes addresses of a node as another program does.
func (n *simNode) remove(vips ...netip.Addr) {
	for v := range n.expiry {
		if slices.Contains(vips, v.Address) {
			delete(n.expiry, v)
		}
	}
	n.links()
	n.turn()
}

func (w *world) removals(n *simNode, key desired.RouterKey) uint64 {
	w.t.Helper()
	w.run(leaseRefresh + publishPause) // The status follows.
	for _, r := range n.engine.Status().Routers {
		if r.RouterKey == key {
			return r.AddressRemovals
		}
	}
	w.fatalf("no status of %v", key)
	return 0
}

// An address that somebody else removes comes back with the event, not with
// the next renewal, is announced again, and counted.
func TestSimulatedAddressRemovedByOthers(t *testing.T) {
	w := settledWith(t, 16, 2, statesOf(routerOf(50, vipA, vipB), routerOf(51, vip6A)))
	n := w.nodes[w.oneMaster("before")]
	key := n.loop.instances[0].key
	before := len(n.transitions)
	delete(w.cache, vipA)
	n.remove(vipA)
	if got := n.held(); !slices.Contains(got, vipA) {
		w.fatalf("holds %v at once after the removal, want %s again", got, vipA)
	}
	if w.cache[vipA] != n.id {
		w.fatalf("%s was not announced again", vipA)
	}
	if got := w.removals(n, key); got != 1 {
		w.fatalf("%d removals counted, want 1", got)
	}
	n.remove(vipA, vipB)
	if got := w.removals(n, key); got != 3 {
		w.fatalf("%d removals counted, want 3", got)
	}
	if len(n.transitions) != before {
		w.fatalf("transitions %+v after a removal, want none", n.transitions[before:])
	}
}

// What we remove ourselves, and what expires because we stood still, is not
// counted as another program's doing.
func TestSimulatedAddressRemovedByUs(t *testing.T) {
	w := settledWith(t, 61, 1, stateOf(vipA, vipB))
	n := w.nodes[0]
	key := n.loop.instances[0].key
	w.apply(stateOf(vipA))
	w.run(time.Second)
	w.apply(stateOf(vipA, vipB))
	w.run(time.Second)
	n.frozen = true
	w.run(5 * time.Second)
	n.frozen = false
	n.links() // The event of the expiry.
	w.run(5 * time.Second)
	n.linkDown = true
	n.links()
	w.run(time.Second)
	n.linkDown = false
	n.links()
	w.run(10 * time.Second)
	w.oneMaster("after all that")
	if got := w.removals(n, key); got != 0 {
		w.fatalf("%d removals counted, want none", got)
	}
}

// Who loses its addresses again and again makes way for another node, and tries
// ever more seldom. The other virtual routers lose nothing.
func TestSimulatedAddressRemovedAgainAndAgain(t *testing.T) {
	w := settledWith(t, 62, 2, statesOf(routerOf(50, vipA), routerOf(51, vipB)))
	bad := w.nodes[w.oneMaster("before")]
	other := w.nodes[1-bad.id]
	keyA, keyB := bad.loop.instances[0].key, bad.loop.instances[1].key
	unbound := bad.unbinds[vipB] + other.unbinds[vipB]
	masterOfB := w.mastersOf(keyB)[0]
	for range 5 {
		bad.remove(vipA)
		w.run(200 * time.Millisecond)
	}
	in := bad.instance(keyA)
	if in.state() != vrrp.Initialize || in.cause.Reason != desired.FaultAddressRemoved {
		w.fatalf("state %s for reason %q, want Initialize for %q", in.state(), in.cause.Reason, desired.FaultAddressRemoved)
	}
	w.run(time.Second)
	if got := w.mastersOf(keyA); !slices.Equal(got, []int{other.id}) {
		w.fatalf("masters %v of %s, want the other node n%d", got, vipA, other.id)
	}
	w.run(10 * time.Second)
	if in.state() != vrrp.Backup {
		w.fatalf("state %s after the pause, want Backup", in.state())
	}
	if got := w.mastersOf(keyB); !slices.Equal(got, []int{masterOfB}) || bad.unbinds[vipB]+other.unbinds[vipB] != unbound {
		w.fatalf("%s is with %v, want it never moved from n%d", vipB, got, masterOfB)
	}

	// Alone it serves as well as it can.
	other.crash()
	w.run(time.Second)
	before, faults := len(bad.transitions), 0
	for range 600 {
		w.run(200 * time.Millisecond)
		if in.state() == vrrp.Master {
			bad.remove(vipA)
		}
	}
	for _, tr := range bad.transitions[before:] {
		if tr.To == vrrp.Initialize {
			faults++
		}
	}
	if faults < 3 || faults > 12 {
		w.fatalf("gave up %d times in two minutes, want some, and ever more seldom", faults)
	}
	w.run(time.Minute)
	w.oneMaster("after nobody removes it any more")
}

// The lease worker reports the addresses that were missing.
func TestLeaseWorkerReportsRemovals(t *testing.T) {
	t.Parallel()
	b := host.VirtualAddress{Link: 2, Address: vipB}
	w, results := newFakeHost(&fakeKernel{removed: []host.VirtualAddress{b}})
	w.leases.sync(hostStateOf(vipA, vipB))
	if got := (*results)[0].removed; len(got) != 1 || !got[b] {
		t.Errorf("reports %v, want %v", got, b)
	}
}
