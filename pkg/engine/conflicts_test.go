package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/conflict"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// squat gives a VIP to a host that is none of the nodes.
func (w *world) squat(vip netip.Addr) *squatter {
	s := &squatter{index: eth0, vip: vip, mac: lan.MAC{2, 0xff, 0, 0, 0, byte(len(w.squatters) + 1)}}
	w.squatters = append(w.squatters, s)
	w.log("%s has %s", s.mac, vip)
	return s
}

// leaves takes a squatter away.
func (w *world) leaves(s *squatter) {
	w.squatters = slices.DeleteFunc(w.squatters, func(o *squatter) bool { return o == s })
	w.log("%s is gone", s.mac)
}

// alarmed returns the reasons of the alarms of which a node told that they began.
func (n *simNode) alarmed() (reasons []string) {
	for _, a := range n.alarms {
		if a.On {
			reasons = append(reasons, a.Reason)
		}
	}
	return reasons
}

// nobodySaid asserts that no node found a VIP in use or claimed by others, ever.
func (w *world) nobodySaid(when string) {
	w.t.Helper()
	for _, n := range w.nodes {
		for _, t := range n.transitions {
			if t.Reason == desired.FaultVIPInUse {
				w.fatalf("%s: n%d says %s", when, n.id, t.Reason)
			}
		}
		for _, a := range n.alarms {
			if a.Reason == string(vrrp.AlarmVIPInUse) || a.Reason == string(vrrp.AlarmDuplicateAddress) {
				w.fatalf("%s: n%d has the alarm %s: %s", when, n.id, a.Reason, a.Detail)
			}
		}
	}
}

// A virtual router whose only VIP is another host's does not run, says whose, and
// runs when that host is gone.
func TestSimulatedVIPInUse(t *testing.T) {
	for _, s := range []desired.State{stateOf(vipA), stateOf(vip6A), statesOf(unicast(routerOf(50, vipA)))} {
		for _, later := range []time.Duration{0, 10 * time.Second} {
			vip := s.Routers[0].VIPs[0].Address
			w := newWorld(t, 50, 3)
			other := w.squat(vip)
			w.run(later)
			w.apply(s)
			w.run(30 * time.Second)
			want := desired.Cause{Reason: desired.FaultVIPInUse, Message: fmt.Sprintf("%s is used by %s", vip, other.mac)}
			for _, n := range w.nodes {
				r := n.engine.Status().Routers[0]
				if r.State != vrrp.Initialize || r.Cause != want || r.VIPs[0].InUseBy != other.mac.String() || len(n.sent) != 0 || len(n.held()) != 0 {
					w.fatalf("n%d is %s for %q, used by %q, sent %d packets and holds %v", n.id, r.State, r.Cause, r.VIPs[0].InUseBy, len(n.sent), n.held())
				}
				if len(n.transitions) != 1 || n.transitions[0].Cause != want {
					w.fatalf("n%d told of %+v, want of %q once", n.id, n.transitions, want)
				}
			}
			w.leaves(other)
			// The retry, and a Master_Down_Interval.
			w.run(conflict.RetryInterval + conflict.Count*conflict.Interval + 450*time.Millisecond)
			w.oneMaster("after the host is gone")
		}
	}
}

// A VIP that is another host's is left alone, from the start or when it is added,
// and does not cost the others their Master.
func TestSimulatedOneOfSeveralInUse(t *testing.T) {
	for _, vips := range [][]netip.Addr{{vipA, vipB}, {vip6A, vip6B}} {
		good, bad := vips[0], vips[1]
		for _, added := range []bool{false, true} {
			w := newWorld(t, 51, 3)
			other := w.squat(bad)
			if added {
				w.apply(stateOf(good))
				w.run(20 * time.Second)
			}
			w.apply(stateOf(vips...))
			w.run(20 * time.Second)
			masters := w.masters()
			if len(masters) != 1 || !slices.Equal(w.holders(good), masters) || len(w.holders(bad)) != 0 {
				w.fatalf("masters %v, %s is held by %v, %s by %v", masters, good, w.holders(good), bad, w.holders(bad))
			}
			master := w.nodes[masters[0]]
			if got := master.advertised(master.loop.instances[0]); !slices.Equal(got, vips) {
				w.fatalf("advertised %v, want all: keepalived discards another list than its own", got)
			}
			for _, n := range w.nodes {
				if got := n.alarmed(); !slices.Equal(got, []string{string(vrrp.AlarmVIPInUse)}) || !strings.Contains(n.alarms[0].Detail, other.mac.String()) {
					w.fatalf("n%d: alarms %+v", n.id, n.alarms)
				}
			}
			unbinds := master.unbinds[good]
			w.leaves(other)
			w.run(conflict.RetryInterval + time.Second)
			w.oneMaster("after the host is gone")
			if master.unbinds[good] != unbinds {
				w.fatalf("%s was let go of", good)
			}
			for _, n := range w.nodes {
				if last := n.alarms[len(n.alarms)-1]; last.On {
					w.fatalf("n%d: the alarm %s is still on", n.id, last.Reason)
				}
			}
		}
	}
}

// With force a VIP is taken from whoever has it.
func TestSimulatedForceTakesVIPInUse(t *testing.T) {
	w := newWorld(t, 52, 2)
	w.squat(vipA)
	s := stateOf(vipA)
	s.Routers[0].Force = true
	w.apply(s)
	w.run(4 * time.Second)
	w.oneMaster("with force")
}

// A VIP that is replaced by a good one is not waited for.
func TestSimulatedVIPInUseIsReplaced(t *testing.T) {
	w := newWorld(t, 53, 2)
	w.squat(vipA)
	w.apply(stateOf(vipA))
	w.run(6 * time.Second)
	w.apply(stateOf(vipB))
	w.run(600 * time.Millisecond)
	w.oneMaster("with another VIP")
}

// All ask at the same time when all start at the same time: no conflict, and the
// start takes no longer for it. Who takes over later does not ask.
func TestSimulatedProbesBeforeTheFirstClaimOnly(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, 100+seed, 3)
		w.loss = float64(seed) / 100
		w.apply(statesOf(routerOf(50, vipA), routerOf(50, vip6A)))
		w.run(listenTime + 500*time.Millisecond)
		for _, n := range w.nodes {
			if n.probes != 2*conflict.Count {
				w.fatalf("n%d asked %d times, want %d", n.id, n.probes, 2*conflict.Count)
			}
		}
		if w.loss == 0 {
			old := w.oneMaster("after the start")
			w.nodes[old].kill()
			w.run(450 * time.Millisecond)
			next := w.masters()
			if len(next) != 1 || w.nodes[next[0]].probes != 2*conflict.Count {
				w.fatalf("masters %v after the kill, which asked again", next)
			}
		}
		w.run(time.Minute)
		w.nobodySaid("without any other host")
	}
}

// Another host that takes a VIP is an alarm, whether it says so or only answers
// who asks, and the VIP is defended.
func TestSimulatedDuplicateAddress(t *testing.T) {
	for _, vip := range []netip.Addr{vipA, vip6A} {
		for _, announces := range []bool{true, false} {
			w := settledWith(t, 54, 3, stateOf(vip))
			w.run(10 * time.Second)
			master := w.nodes[w.oneMaster("before")]
			other := w.squat(vip)
			if announces {
				w.cache[vip] = -1
				w.say(nil, other.claim(), nil)
				w.run(3 * time.Second)
				w.oneMaster("after the defence")
			} else {
				w.run(announceRefresh + conflict.DefendInterval + time.Second)
			}
			if got := master.alarms; len(got) != 1 || got[0].Reason != string(vrrp.AlarmDuplicateAddress) || got[0].Detail != fmt.Sprintf("%s is claimed by %s", vip, other.mac) {
				w.fatalf("alarms %+v", got)
			}
			w.run(2 * time.Minute)
			if got := master.alarms; len(got) != 1 {
				w.fatalf("the alarm did not stay: %+v", got)
			}
			if got := master.engine.Status().Routers[0].ForeignClaims; got < 10 || got > 40 {
				w.fatalf("%d claims counted in two minutes", got)
			}
			w.leaves(other)
			w.run(conflict.QuietTime + conflict.DefendInterval)
			if got := master.alarms; len(got) != 2 || got[1].On {
				w.fatalf("the alarm did not end: %+v", got)
			}
			w.oneMaster("in the end")
		}
	}
}

// A flood of claims of ever other hosts does not make us announce without end.
func TestSimulatedDefenceIsPaced(t *testing.T) {
	w := settled(t, 55, 2)
	w.run(10 * time.Second)
	master := w.nodes[w.oneMaster("before")]
	before := master.announcements
	for i := range 6000 {
		w.say(nil, lan.NeighborEvent{Index: eth0, IP: vipA, MAC: lan.MAC{6, 0, 0, 0, byte(i >> 8), byte(i)}}, master)
		w.run(10 * time.Millisecond)
	}
	// Six defences in a minute, each the whole schedule.
	if got := master.announcements - before; got > 6*len(announceOffsets)+5 || got < 2*len(announceOffsets) {
		w.fatalf("announced %d times in a minute", got)
	}
	if got := master.alarms; len(got) != 1 {
		w.fatalf("alarms %+v, want one", got)
	}
	w.oneMaster("in the flood")
}

// What ordinary faults bring about is no duplicate: a killed Master whose kernel
// goes on, one that stood still, and a LAN that was split.
func TestSimulatedOrdinaryFaultsAreNoDuplicates(t *testing.T) {
	for seed := range uint64(30) {
		w := settledWith(t, 200+seed, 3, statesOf(routerOf(50, vipA), routerOf(51, vip6A)))
		w.loss = float64(seed%3) / 20
		n := w.nodes[w.masters()[0]]
		switch seed % 4 {
		case 0:
			n.kill()
			w.run(20 * time.Second)
			n.boot(nil)
			n.apply(statesOf(routerOf(50, vipA), routerOf(51, vip6A)))
		case 1:
			n.frozen = true
			w.run(time.Duration(seed) * time.Second)
			n.frozen = false
		case 2:
			for _, other := range w.nodes {
				w.cut[[2]int{n.id, other.id}], w.cut[[2]int{other.id, n.id}] = true, true
			}
			w.run(20 * time.Second)
			clear(w.cut)
		case 3:
			n.engine.inbox.update(func(m *messages) { m.stop = true })
			n.turn()
			n.dead = true
		}
		w.run(2 * time.Minute)
		w.nobodySaid(fmt.Sprintf("fault %d", seed%4))
	}
}

// A late frame of a Master that stood still is one claim and no alarm.
func TestSimulatedSingleClaim(t *testing.T) {
	w := settled(t, 56, 2)
	w.run(10 * time.Second)
	master := w.oneMaster("before")
	other := w.nodes[1-master]
	w.cache[vipA] = other.id
	w.say(other, lan.NeighborEvent{Index: eth0, IP: vipA, MAC: lan.MAC(other.hardwareAddr(eth0))}, nil)
	w.run(2 * time.Second)
	w.oneMaster("after the claim")
	w.run(time.Minute)
	w.nobodySaid("after one claim")
}

// The addresses of this node's links and of the virtual router are no strangers'.
func TestSimulatedOwnClaims(t *testing.T) {
	w := settled(t, 57, 1)
	w.run(10 * time.Second)
	for range 100 {
		for _, mac := range []lan.MAC{lan.MAC(w.nodes[0].hardwareAddr(eth1)), {0, 0, 0x5e, 0, 1, 50}, {0, 0, 0x5e, 0, 2, 50}} {
			w.say(nil, lan.NeighborEvent{Index: eth0, IP: vipA, MAC: mac}, nil)
		}
		w.run(100 * time.Millisecond)
	}
	w.nobodySaid("after claims of our own")
	w.say(nil, lan.NeighborEvent{Index: eth0, IP: vipA, MAC: lan.MAC{0, 0, 0x5e, 0, 1, 51}}, nil)
	w.run(time.Second)
	if got := w.nodes[0].engine.Status().Routers[0].ForeignClaims; got != 1 {
		w.fatalf("%d foreign claims, want the one of another virtual router", got)
	}
}

// Two Masters that do not hear each other's advertisements are found by ARP and ND.
func TestSimulatedMastersThatOnlyMeetByARP(t *testing.T) {
	w := settled(t, 58, 2)
	master := w.nodes[w.oneMaster("before")]
	other := w.nodes[1-master.id]
	w.squatters = append(w.squatters, &squatter{index: eth0, vip: vipA, mac: lan.MAC(other.hardwareAddr(eth0))})
	w.run(2 * announceRefresh)
	if got := master.alarmed(); !slices.Equal(got, []string{string(vrrp.AlarmDuplicateAddress)}) {
		w.fatalf("alarms %v", got)
	}
}

// duplicatesFound asserts of a LAN that has settled that no node says that others
// have its VIPs, and that the Masters do when it is true.
func (w *world) duplicatesFound() {
	w.t.Helper()
	var masters []*instance
	for key, nodes := range w.instances() {
		for _, n := range nodes {
			in := n.instance(key)
			for i := range in.vips {
				if !in.available(i) {
					w.fatalf("n%d has not found %s to be free", n.id, in.vips[i].address)
				}
			}
			if indexAlarm(in.alarms, string(vrrp.AlarmDuplicateAddress)) >= 0 {
				w.fatalf("n%d has the alarms %+v without any other host", n.id, in.alarms)
			}
			if in.state() == vrrp.Master {
				masters = append(masters, in)
				v := in.vips[w.claims.IntN(len(in.vips))]
				w.squat(v.address).index = v.link.Index
			}
		}
	}
	w.run(announceRefresh + 2*time.Second)
	for _, in := range masters {
		if indexAlarm(in.alarms, string(vrrp.AlarmDuplicateAddress)) < 0 {
			w.fatalf("%v: another host has a VIP, alarms %+v", in.key, in.alarms)
		}
	}
}

// A Master of many VIPs asks for them a few at a time, and for each of them.
func TestSimulatedChecksInChunks(t *testing.T) {
	t.Parallel()
	const vips = 3*conflict.CheckBatch + 1
	w := newWorld(t, 7, 1)
	w.apply(statesOf(routerOf(50, numbered(vips)...)))
	w.run(8 * time.Second)
	n := w.nodes[w.oneMaster("alone")]
	before, most := n.probes, 0
	for range 10 * time.Second / time.Millisecond {
		was := n.probes
		w.run(time.Millisecond)
		most = max(most, n.probes-was)
	}
	if asked := n.probes - before; asked != vips || most > conflict.CheckBatch {
		w.fatalf("asked for %d VIPs, at most %d at a time, want %d and %d", asked, most, vips, conflict.CheckBatch)
	}
}
