package engine

import (
	"slices"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

func TestFlap(t *testing.T) {
	t.Parallel()
	const second = time.Second
	// A link works for some time and then has a fault that lasts for a second:
	// wait is how long it is held back after it.
	type fault struct{ works, wait time.Duration }
	for _, tt := range []struct {
		name   string
		faults []fault
	}{
		{"once", []fault{{0, 0}}},
		{"two in a short time", []fault{{0, 0}, {second, 0}}},
		{"three, but not within the window", []fault{{0, 0}, {14 * second, 0}, {14 * second, 0}, {14 * second, 0}}},
		{"three within the window", []fault{{0, 0}, {second, 0}, {second, second}}},
		{"again after it has waited", []fault{{0, 0}, {0, 0}, {0, second}, {second, 2 * second}, {2 * second, 4 * second}, {10 * second, 8 * second}}},
		{"again while it waits", []fault{{0, 0}, {0, 0}, {0, second}, {second / 2, second}, {second / 2, second}, {second, 2 * second}}},
		{"as long as can be", []fault{
			{0, 0},
			{0, 0},
			{0, second},
			{second, 2 * second},
			{2 * second, 4 * second},
			{4 * second, 8 * second},
			{8 * second, 16 * second},
			{16 * second, 30 * second},
			{30 * second, 30 * second},
			{59 * second, 30 * second},
			{60 * second, 0},
		}},
		{"calm", []fault{{0, 0}, {0, 0}, {0, second}, {31 * second, 0}, {second, 0}, {second, second}}},
	} {
		f, now := &flap{}, vrrp.Time(time.Hour)
		for i, fault := range tt.faults {
			now = now.Add(fault.works)
			f.fail(now)
			if f.waits(now) {
				t.Errorf("%s, %d: waits while it does not work", tt.name, i)
			}
			now = now.Add(second)
			f.heal(now)
			if got := f.until.Sub(now); got != fault.wait || f.waits(now) != (fault.wait > 0) {
				t.Errorf("%s, %d: waits for %s, want %s", tt.name, i, got, fault.wait)
			}
			if f.waits(now.Add(fault.wait)) {
				t.Errorf("%s, %d: still waits after %s", tt.name, i, fault.wait)
			}
		}
	}
}

// What counts as a fault of a link, and what is forgotten.
func TestFlapsNote(t *testing.T) {
	t.Parallel()
	works, other := working(2, "eth0"), working(3, "eth1")
	down, noCarrier, again := works, works, works
	down.Up, noCarrier.Running, again.Index = false, false, 9
	renamed := works
	renamed.Name = "lan0"
	for name, fault := range map[string][]host.Link{
		"down": {down, other}, "no carrier": {noCarrier, other}, "removed": {other}, "renamed": {renamed, other},
	} {
		f, now := flaps{}, vrrp.Time(time.Hour)
		before, used := []host.Link{works, other}, map[string]bool{"eth0": true, "eth1": true}
		for range flapFaults {
			f.note(used, before, fault, now)
			f.note(used, fault, fault, now)
			f.note(used, fault, before, now)
			f.note(used, before, before, now)
		}
		if !f.waiting(&works, now) || f.waiting(&other, now) || f.deadline(now) != now.Add(retryMin) || len(f) != 1 {
			t.Errorf("%s: flaps are %v, want eth0 to wait for %s, and nobody else", name, f, retryMin)
		}
		now = now.Add(retryMin + flapWindow)
		f.note(used, before, before, now)
		if len(f) != 0 || f.deadline(now) != never {
			t.Errorf("%s: flaps are %v after a long time, want none", name, f)
		}
	}
	f, now := flaps{}, vrrp.Time(time.Hour)
	for range flapFaults {
		f.note(map[string]bool{"eth0": true}, []host.Link{works}, []host.Link{again}, now)
	}
	if !f.waiting(&again, now) {
		t.Error("a link that was removed and made again at once has had no fault")
	}
	f = flaps{}
	f.note(map[string]bool{"eth0": true}, nil, []host.Link{down}, now)
	f.note(map[string]bool{"eth0": true}, []host.Link{down}, []host.Link{works}, now)
	f.note(nil, []host.Link{works}, []host.Link{down}, now)
	if len(f) != 0 {
		t.Errorf("flaps are %v of a link that came up, and of one that nobody uses, want none", f)
	}
}

// setLink pulls a node's cable of eth0, or puts it back.
func (n *simNode) setLink(down bool) {
	n.linkDown = down
	n.links()
	n.turn()
}

// becameMaster counts how often a node became Master of a virtual router.
func (n *simNode) becameMaster(key desired.RouterKey) (times int) {
	for _, tr := range n.transitions {
		if tr.RouterKey == key && tr.To == vrrp.Master {
			times++
		}
	}
	return times
}

// The first recoveries are quick. A link that flaps on keeps its node out for
// ever longer, which is told, and only its own virtual routers.
func TestSimulatedFlappingLink(t *testing.T) {
	w := settledWith(t, 63, 2, statesOf(routerOf(50, vipA), routerOf(51, vipC)))
	n := w.nodes[w.oneMaster("before")]
	eth1Router := n.loop.instances[1]
	eth1Master, transitions := w.mastersOf(eth1Router.key)[0], len(w.nodes[0].transitions)+len(w.nodes[1].transitions)
	in := n.loop.instances[0]
	if in.key.Interface != "eth0" || eth1Router.key.Interface != "eth1" {
		w.fatalf("instances of %v and %v", in.key, eth1Router.key)
	}
	for i, want := range []time.Duration{0, 0, time.Second, 2 * time.Second, 4 * time.Second} {
		n.setLink(true)
		if in.state() != vrrp.Initialize || in.cause.Reason != desired.FaultNoCarrier {
			w.fatalf("fault %d: state %s for reason %q, want Initialize for %q at once", i, in.state(), in.cause.Reason, desired.FaultNoCarrier)
		}
		w.run(time.Second)
		n.setLink(false)
		begin := w.now
		for in.state() == vrrp.Initialize {
			if want > 0 && in.cause.Reason != desired.FaultLinkFlapping {
				w.fatalf("fault %d: waits for reason %q, want %q", i, in.cause.Reason, desired.FaultLinkFlapping)
			}
			if told := n.transitions[len(n.transitions)-1]; want > 0 && told.Reason != desired.FaultLinkFlapping {
				w.fatalf("fault %d: last told of %+v, want of %q", i, told, desired.FaultLinkFlapping)
			}
			w.run(10 * time.Millisecond)
		}
		if took := time.Duration(w.now - begin); took < want || took > want+20*time.Millisecond {
			w.fatalf("fault %d: started %s after the link came back, want %s", i, took, want)
		}
		w.run(500 * time.Millisecond)
	}
	w.oneMaster("after the flapping")
	var others int
	for _, node := range w.nodes {
		for _, tr := range node.transitions {
			if tr.RouterKey == eth1Router.key {
				others++
			}
		}
	}
	if got := w.mastersOf(eth1Router.key); !slices.Equal(got, []int{eth1Master}) || n.unbinds[vipC] != 0 || others > transitions {
		w.fatalf("the virtual router of the other link moved to %v from n%d", got, eth1Master)
	}
	// Calm for long enough, it is as at first.
	w.run(time.Minute)
	n.setLink(true)
	w.run(time.Second)
	n.setLink(false)
	if in.state() != vrrp.Backup {
		w.fatalf("state %s for reason %q after one fault, want Backup at once", in.state(), in.cause.Reason)
	}
}

// A Master whose link flaps does not get the addresses back by that: without
// preemption never, and with it ever more seldom.
func TestSimulatedFlappingMaster(t *testing.T) {
	for _, preempt := range []bool{false, true} {
		s := stateOf(vipA)
		s.Routers[0].Preempt = preempt
		w := settledWith(t, 64, 2, s)
		n := w.nodes[w.oneMaster("before")]
		if preempt {
			s.Routers[0].Priority = 200
			n.apply(s)
			w.run(time.Second)
		}
		in := n.loop.instances[0]
		before := n.becameMaster(in.key)
		for range 60 {
			n.setLink(true)
			w.run(500 * time.Millisecond)
			n.setLink(false)
			w.run(2500 * time.Millisecond)
		}
		took := n.becameMaster(in.key) - before
		if !preempt && took != 0 {
			w.fatalf("the Master that flaps came back %d times without preemption", took)
		}
		// Twice at once, then after 1 s and 2 s; it is never up for 4 s.
		if preempt && (took < 1 || took > 4) {
			w.fatalf("the Master that flaps came back %d times in three minutes, want a few times at first", took)
		}
		if got := w.masters(); !slices.Equal(got, []int{1 - n.id}) {
			w.fatalf("masters %v while the link flaps, want the other node", got)
		}
		w.run(time.Minute)
		want := 1 - n.id
		if preempt {
			want = n.id
		}
		if got := w.oneMaster("after the flapping"); got != want {
			w.fatalf("master n%d after the flapping with preempt %t, want n%d", got, preempt, want)
		}
	}
}
