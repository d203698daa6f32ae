package engine

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// A VRID on one interface has nothing to do with the same VRID on another, nor
// with that of the other family.
func TestSimulatedSameVRIDDoesNotMix(t *testing.T) {
	w := settledWith(t, 30, 2, statesOf(routerOf(50, vipA, vipC), routerOf(50, vip6A)))
	old := w.nodes[w.oneMaster("before")]
	eth1Key := desired.RouterKey{Interface: "eth1", Family: vrrp.IPv4, VRID: 50}
	if got := w.mastersOf(eth1Key); len(w.instances()) != 3 || !slices.Equal(got, []int{old.id}) {
		w.fatalf("virtual routers %v, eth1's Master %v, want three of n%d", w.instances(), got, old.id)
	}
	before := len(old.transitions)
	old.eth1Down = true
	old.linksChanged()
	w.run(time.Second)
	if got := old.transitions[before:]; len(got) != 1 || got[0].RouterKey != eth1Key || got[0].Reason != desired.FaultNoCarrier {
		w.fatalf("transitions %+v when eth1 lost its carrier, want that of its virtual router alone", got)
	}
	w.oneMaster("after eth1 lost its carrier")
	if got := w.mastersOf(eth1Key); !slices.Equal(got, []int{1 - old.id}) {
		w.fatalf("eth1's Master is %v, want n%d", got, 1-old.id)
	}
	for vip, want := range map[netip.Addr]int{vipA: old.id, vipC: 1 - old.id, vip6A: old.id} {
		if got := w.holders(vip); !slices.Equal(got, []int{want}) {
			w.fatalf("%s is held by %v, want by n%d", vip, got, want)
		}
	}
}

// A VIP that is given to another virtual router of the same Master is not
// unbound for a moment, and the others are not touched.
func TestSimulatedVIPMovesBetweenRouters(t *testing.T) {
	states := []desired.State{
		statesOf(routerOf(50, vipA), routerOf(51, vipB)),
		statesOf(routerOf(50, vipB), routerOf(51, vipA)),
	}
	third := netip.MustParseAddr("192.0.2.102")
	for i := range states {
		states[i].Routers[0].VIPs = append(states[i].Routers[0].VIPs, desired.VIP{Address: third})
	}
	w := settledWith(t, 31, 3, states[0])
	master := w.nodes[w.oneMaster("before")]
	before := len(master.transitions)
	for i := range 20 {
		w.apply(states[(i+1)%2])
		w.run(170 * time.Millisecond)
		for _, vip := range []netip.Addr{vipA, vipB, third} {
			if got := w.holders(vip); !slices.Equal(got, []int{master.id}) || master.unbinds[vip] != 0 {
				w.fatalf("%s is held by %v, unbound %d times, want always by n%d", vip, got, master.unbinds[vip], master.id)
			}
		}
	}
	if got := master.transitions[before:]; len(got) != 0 {
		w.fatalf("transitions %+v, want none", got)
	}
	w.run(announceOffsets[len(announceOffsets)-1])
	w.oneMaster("after the moves")

	// One that goes to a new virtual router waits for it to find its Master;
	// the others do not.
	w.apply(statesOf(routerOf(50, vipA, third), routerOf(52, vipB)))
	w.run(time.Second)
	if master.unbinds[vipA] != 0 || master.unbinds[third] != 0 {
		w.fatalf("unbound %v when another VIP went to a new virtual router", master.unbinds)
	}
	w.run(announceOffsets[len(announceOffsets)-1])
	w.oneMaster("with a new virtual router")
}

// What may change while a virtual router runs changes no state; another version
// is another protocol, and restarts that virtual router alone.
func TestSimulatedOptionsChange(t *testing.T) {
	w := settledWith(t, 32, 2, statesOf(routerOf(50, vipA), routerOf(51, vipB)))
	count := func() (n int) {
		for _, node := range w.nodes {
			n += len(node.transitions)
		}
		return n
	}
	before := count()
	for _, c := range []struct {
		name   string
		change func(r *desired.Router)
	}{
		{"preempt", func(r *desired.Router) { r.Preempt, r.PreemptDelay = true, time.Minute }},
		{"down adverts", func(r *desired.Router) { r.DownAdverts = 5 }},
		{"adverts per interval", func(r *desired.Router) { r.AdvertsPerInterval = 3 }},
		{"checksum", func(r *desired.Router) { r.Checksum = vrrp.ChecksumMessage }},
		{"unicast", func(r *desired.Router) { r.Unicast = true }},
	} {
		s := statesOf(routerOf(50, vipA), routerOf(51, vipB))
		c.change(&s.Routers[0])
		w.apply(s)
		w.run(2 * time.Second)
		if count() != before {
			w.fatalf("%s: transitions when it was changed", c.name)
		}
		for _, n := range w.nodes {
			if in := n.loop.instances[0]; !slices.Equal(in.applied.Addresses, []netip.Addr{vipA}) || in.applied.VRID != 50 {
				w.fatalf("%s: runs as %+v", c.name, in.applied)
			}
		}
	}
	master := w.nodes[w.masters()[0]]
	s := statesOf(routerOf(50, vipA), routerOf(51, vipB))
	s.Routers[0].Version, s.Routers[0].AdvertisementInterval = vrrp.V2, time.Second
	s.Routers[0].Password = vrrp.Password{'a'}
	w.apply(s)
	w.run(10 * time.Second)
	w.oneMaster("with another version")
	for _, tr := range master.transitions {
		if tr.VRID == 51 && tr.From == vrrp.Master {
			w.fatalf("the other virtual router changed: %+v", tr)
		}
	}
	if master.unbinds[vipB] != 0 {
		w.fatalf("the other virtual router's VIP was unbound")
	}
	before = count()
	s.Routers[0].Password = vrrp.Password{'b'}
	w.apply(s)
	w.run(5 * time.Second)
	if count() != before {
		w.fatalf("transitions when the password was changed")
	}
	for _, n := range w.nodes {
		if got := n.loop.instances[0].router.Status().Counters.Discarded; len(got) != 0 && got["authentication"] != 0 {
			w.fatalf("n%d discarded packets after the password was changed everywhere: %v", n.id, got)
		}
	}
}

// With unicast every peer gets every advertisement. A node that knows of nobody
// is Master; when it learns of a peer it stays so.
func TestSimulatedUnicastPeers(t *testing.T) {
	w := newWorld(t, 33, 3)
	state := statesOf(unicast(routerOf(50, vipA, vipC)), unicast(routerOf(50, vip6A)))
	w.alone = true
	master := w.nodes[0]
	master.apply(state)
	w.run(10 * time.Second)
	if master.state() != vrrp.Master || len(master.sent) != 0 {
		w.fatalf("state %s, %d packets sent by a node without peers, want a silent Master", master.state(), len(master.sent))
	}
	if got := master.held(); !slices.Equal(got, []netip.Addr{vipA, vipC, vip6A}) {
		w.fatalf("holds %v, want all", got)
	}
	before := len(master.transitions)
	w.alone = false
	w.apply(state)
	w.run(10 * time.Second)
	if got := master.transitions[before:]; len(got) != 0 || master.unbinds[vipA] != 0 {
		w.fatalf("transitions %+v, %d times unbound when peers were added, want none", got, master.unbinds[vipA])
	}
	if got := w.oneHolder("with peers"); got != master.id {
		w.fatalf("n%d is Master, want n0 still", got)
	}
	to := map[netip.Addr]int{}
	for _, p := range master.sent {
		to[p.destination]++
	}
	if len(to) != 4 || to[w.nodes[1].address] != to[w.nodes[2].address] || to[w.nodes[1].address] < 90 {
		w.fatalf("sent %v, want as many to each peer of each family", to)
	}

	// One peer that cannot be reached is no failure, all of them are.
	w.nodes[1].frozen = true
	master.sendFailsTo = w.nodes[1].address
	w.run(time.Second)
	if got := master.transitions[before:]; len(got) != 0 {
		w.fatalf("transitions %+v when one peer could not be reached, want none", got)
	}
	master.sendFails = true
	w.run(time.Second)
	if in := master.loop.instances[0]; in.state() != vrrp.Initialize || in.cause.Reason != desired.FaultSendFailed {
		w.fatalf("state %s for %s when no peer can be reached, want Initialize for %s", in.state(), in.cause.Reason, desired.FaultSendFailed)
	}
}

// A unicast Master releases to every peer.
func TestSimulatedUnicastRelease(t *testing.T) {
	w := settledWith(t, 34, 3, statesOf(unicast(routerOf(50, vipA))))
	old := w.nodes[w.oneMaster("before")]
	sent := len(old.sent)
	old.engine.inbox.update(func(m *messages) { m.stop = true })
	old.turn()
	old.dead = true
	to := map[netip.Addr]int{}
	for _, p := range old.sent[sent:] {
		if p.payload[2] != vrrp.PriorityResign {
			w.fatalf("priority %d in the release, want 0", p.payload[2])
		}
		to[p.destination]++
	}
	for _, n := range w.nodes {
		if n != old && to[n.address] != releaseCopies {
			w.fatalf("released to %v, want %d times to each peer", to, releaseCopies)
		}
	}
	w.run(60 * time.Millisecond)
	w.oneMaster("after the release")
}

// A unicast router whose VIP's interface has no carrier cannot serve that VIP.
func TestSimulatedUnicastFaultOfVIPLink(t *testing.T) {
	w := settledWith(t, 35, 2, statesOf(unicast(routerOf(50, vipC))))
	old := w.nodes[w.oneMaster("before")]
	old.eth1Down = true
	old.linksChanged()
	w.run(time.Second)
	if in := old.loop.instances[0]; in.cause.Reason != desired.FaultNoCarrier || in.key.Interface != "eth0" {
		w.fatalf("%s on %s, want %s on the transport eth0", in.cause.Reason, in.key.Interface, desired.FaultNoCarrier)
	}
	if w.oneMaster("after eth1 lost its carrier") == old.id {
		w.fatalf("n%d is still Master", old.id)
	}
	s := w.nodes[1-old.id].engine.Status()
	v := s.Routers[0].VIPs[0]
	if v.Interface != "eth1" || !v.Bound || !v.Advertised || !slices.Equal(s.Routers[0].Unicast, []netip.Addr{old.address}) {
		w.fatalf("status %+v, want the VIP bound to eth1 and advertised to n%d", s.Routers[0], old.id)
	}
}

// But it does not take the other VIPs of the virtual router with it.
func TestSimulatedUnicastOneVIPLinkFails(t *testing.T) {
	w := settledWith(t, 35, 2, statesOf(unicast(routerOf(50, vipA, vipC))))
	master := w.nodes[w.oneMaster("before")]
	for _, n := range w.nodes {
		n.eth1Down = true
		n.linksChanged()
	}
	w.run(time.Second)
	if got := w.holders(vipA); !slices.Equal(got, []int{master.id}) || master.unbinds[vipA] != 0 {
		w.fatalf("%s is held by %v and was unbound %d times, want by n%d all the time", vipA, got, master.unbinds[vipA], master.id)
	}
	announced := master.announcements
	master.eth1Down = false
	master.linksChanged()
	w.run(100 * time.Millisecond)
	if master.announcements == announced {
		w.fatalf("%s was not announced when its interface came back", vipC)
	}
}

// foreign is a router of somebody else's on eth0.
func foreign(vrid uint8, addresses ...string) *stranger {
	a := vrrp.Advertisement{Version: vrrp.V3, VRID: vrid, Priority: 200, Interval: 100 * time.Millisecond}
	for _, s := range addresses {
		a.Addresses = append(a.Addresses, netip.MustParseAddr(s))
	}
	return &stranger{index: eth0, source: netip.MustParseAddr("192.0.2.66"), advert: a}
}

// A virtual router does not start where others use its VRID for something else,
// says so once, and starts by itself when they are gone. Others are not
// disturbed, nor is one that is forced.
func TestSimulatedVRIDConflict(t *testing.T) {
	w := newWorld(t, 36, 1)
	n := w.nodes[0]
	w.strangers = []*stranger{foreign(50, "203.0.113.1"), foreign(51, "203.0.113.2"), foreign(53, "203.0.113.3")}
	forced := routerOf(53, vip6B)
	forced.VIPs[0].Address = netip.MustParseAddr("192.0.2.103")
	forced.Family, forced.Force, forced.Preempt, forced.Priority = vrrp.IPv4, true, true, 250
	// eth1 has a VRID 50 of its own.
	w.apply(statesOf(routerOf(50, vipA, vipC), routerOf(52, vipB), forced))
	w.run(20 * time.Second)
	of := func(vrid uint8, link string) *instance {
		return n.instance(desired.RouterKey{Interface: link, Family: vrrp.IPv4, VRID: vrid})
	}
	const reason = "vridConflict: 192.0.2.66 uses it with addresses 203.0.113.1; VRID 54 is free"
	if in := of(50, "eth0"); in.state() != vrrp.Initialize || in.cause.Text() != reason {
		w.fatalf("state %s for %q, want Initialize for %q", in.state(), in.cause.Text(), reason)
	}
	var told []desired.Transition
	for _, tr := range n.transitions {
		if tr.Interface == "eth0" && tr.VRID == 50 {
			told = append(told, tr)
		}
	}
	if len(told) != 1 || told[0].Text() != reason || told[0].To != vrrp.Initialize {
		w.fatalf("told of %+v, want of %s once", told, reason)
	}
	for _, in := range []*instance{of(50, "eth1"), of(52, "eth0"), of(53, "eth0")} {
		if in.state() != vrrp.Master {
			w.fatalf("%v is %s for %s, want Master", in.key, in.state(), in.cause.Reason)
		}
	}
	if got := n.sent[len(n.sent)-1]; slices.ContainsFunc(n.sent, func(p sentPacket) bool { return p.index == eth0 && p.payload[1] == 50 }) {
		w.fatalf("sent %v for the VRID of others", got)
	}

	// The one that is forced has an alarm instead.
	if len(of(53, "eth0").alarms) == 0 || of(53, "eth0").alarms[indexAlarm(of(53, "eth0").alarms, "vridConflict")].Source != w.strangers[0].source {
		w.fatalf("alarms %+v of the router that is forced, want vridConflict of %s", of(53, "eth0").alarms, w.strangers[0].source)
	}
	// Only VRIDs that are not ours are foreign.
	status := n.engine.Status()
	if len(status.Foreign) != 1 || status.Foreign[0].VRID != 51 || status.Foreign[0].Interface != "eth0" ||
		status.Foreign[0].Source != w.strangers[0].source || status.Foreign[0].Addresses[0].String() != "203.0.113.2" {
		w.fatalf("foreign routers %+v, want that of VRID 51", status.Foreign)
	}

	w.strangers = nil
	w.run(3 * time.Second)
	w.oneMaster("after the others are gone")
	if got := of(53, "eth0").alarms; len(got) != 0 {
		w.fatalf("alarms %+v after the others are gone", got)
	}
}

// For a virtual router that runs it is an alarm, which is told when it begins
// and when it ends, and is no reason to stop.
func TestSimulatedAlarms(t *testing.T) {
	w := settledWith(t, 37, 1, statesOf(routerOf(50, vipA), routerOf(51, vipB)))
	n := w.nodes[0]
	lower := foreign(50, "203.0.113.1")
	lower.advert.Priority = 1
	w.strangers = []*stranger{lower}
	w.run(10 * time.Second)
	on := map[string]bool{}
	for _, a := range n.alarms {
		if a.VRID != 50 || a.Interface != "eth0" || a.Source != lower.source || !a.On || on[a.Reason] || !slices.Equal(a.VIPs, []netip.Addr{vipA}) {
			w.fatalf("told of %+v, want each reason once", a)
		}
		on[a.Reason] = true
	}
	for _, reason := range []vrrp.AlarmReason{vrrp.AlarmVRIDConflict, vrrp.AlarmAddressList, vrrp.AlarmSplitBrain} {
		if !on[string(reason)] {
			w.fatalf("told of %+v, want of %s", n.alarms, reason)
		}
	}
	if status := n.engine.Status(); len(status.Routers[0].Alarms) != len(n.alarms) || len(status.Routers[1].Alarms) != 0 {
		w.fatalf("status has %+v and %+v, want what was told", status.Routers[0].Alarms, status.Routers[1].Alarms)
	}
	began := n.alarms
	n.alarms = nil
	w.strangers = nil
	w.run(5 * time.Second)
	for _, a := range n.alarms {
		if a.On || !slices.ContainsFunc(began, func(b desired.AlarmChange) bool { return b.Reason == a.Reason && b.Since.Equal(a.Since) }) {
			w.fatalf("told of %+v, want of the end of what began", a)
		}
	}
	if len(n.alarms) != len(began) || len(n.engine.Status().Routers[0].Alarms) != 0 {
		w.fatalf("%d alarms ended, %d began", len(n.alarms), len(began))
	}
	if got := w.oneMaster("after the alarms"); got != 0 || n.unbinds[vipA] != 0 {
		w.fatalf("the VIP was unbound %d times", n.unbinds[vipA])
	}

	// Those of a virtual router that is not asked for any more end.
	n.alarms = nil
	w.strangers = []*stranger{lower}
	w.run(10 * time.Second)
	on = map[string]bool{}
	w.apply(statesOf(routerOf(51, vipB)))
	w.run(time.Second)
	for _, a := range n.alarms {
		on[a.Reason] = a.On
	}
	for reason, still := range on {
		if still {
			w.fatalf("told of %+v, want of the end of %s", n.alarms, reason)
		}
	}
	if len(on) == 0 {
		w.fatalf("no alarm began")
	}
	w.apply(statesOf(routerOf(50, vipA), routerOf(51, vipB)))

	// A node that stops has no alarms, and says nothing about those it had.
	w.strangers = []*stranger{lower}
	w.run(5 * time.Second)
	n.alarms = nil
	n.engine.inbox.update(func(m *messages) { m.stop = true })
	n.turn()
	if len(n.alarms) != 0 || len(n.engine.Status().Routers) != 0 {
		w.fatalf("told of %+v at the end", n.alarms)
	}
}

// Nodes learn of an edit of all VIPs one after the other. Where they do not know
// each other's addresses, that of others would look like a conflict.
func TestSimulatedEditOfAllVIPsIsNoAlarm(t *testing.T) {
	w := settledWith(t, 44, 2, statesOf(routerOf(50, vip6A)))
	master := w.oneMaster("before")
	first := w.nodes[1-master]
	edited := statesOf(routerOf(50, netip.MustParseAddr("2001:db8::101")))
	first.apply(edited)
	first.turn()
	w.run(2 * time.Second)
	w.apply(edited)
	w.run(10 * time.Second)
	w.oneMaster("after the edit")
	for _, n := range w.nodes {
		if len(n.alarms) != 0 {
			w.fatalf("n%d told of %+v, want of no alarm", n.id, n.alarms)
		}
	}
}

// What comes from this node itself, whose other interface may be on the same
// LAN, is nobody's.
func TestSimulatedOwnPacketsAreNotForeign(t *testing.T) {
	w := newWorld(t, 38, 1)
	own := foreign(51, "203.0.113.1")
	own.source = simAddress(vrrp.IPv4, eth1, 0)
	linkLocal := foreign(52, "2001:db8::1")
	linkLocal.source = netip.MustParseAddr("fe80::3:1") // eth1 has it too, and that is another LAN.
	w.strangers = []*stranger{own, linkLocal}
	w.run(5 * time.Second)
	if got := w.nodes[0].engine.Status().Foreign; len(got) != 1 || got[0].VRID != 52 || got[0].Family != vrrp.IPv6 {
		w.fatalf("foreign routers %+v, want the one of VRID 52", got)
	}
}

// A change that follows another at once is shown soon, too.
func TestSimulatedStatusFollows(t *testing.T) {
	w := newWorld(t, 39, 1)
	w.run(10*time.Second + time.Millisecond)
	for i, s := range []desired.State{stateOf(vipA), stateOf(vipA, vipB)} {
		w.apply(s)
		w.run(publishPause)
		if got := w.nodes[0].engine.Status(); len(got.Routers) != 1 || len(got.Routers[0].VIPs) != i+1 {
			w.fatalf("status has %+v after %s, want %d VIPs", got.Routers, publishPause, i+1)
		}
	}
	w.apply(stateOf(vipA))
	w.apply(stateOf(vipA, vipB))
	w.run(publishPause)
	if got := w.nodes[0].engine.Status(); len(got.Routers[0].VIPs) != 2 {
		w.fatalf("status has %+v after %s, want the last change", got.Routers, publishPause)
	}
}

// An advertisement that fails while a Master yields must not count against the
// next time that it is Master.
func TestSimulatedYieldLeavesNoSendFailure(t *testing.T) {
	s := stateOf(vipA)
	s.Routers[0].Preempt = true
	w := settledWith(t, 77, 2, s)
	n := w.nodes[w.oneMaster("before")]
	other := w.nodes[1-n.id]
	in := n.loop.instances[0]
	// The other gets a higher priority and becomes Master; the last
	// advertisement of n, which yields, does not go out.
	s.Routers[0].Priority = 200
	n.sendFails = true
	other.apply(s)
	other.turn()
	for in.state() == vrrp.Master {
		w.run(time.Millisecond)
	}
	if in.state() != vrrp.Backup {
		w.fatalf("state %s", in.state())
	}
	n.sendFails = false
	w.run(5 * time.Second)
	other.crash()
	n.sendFails = true
	for in.state() != vrrp.Master {
		w.run(time.Millisecond)
	}
	began := w.now
	for in.state() == vrrp.Master {
		w.run(time.Millisecond)
	}
	if d := time.Duration(w.now - began); in.cause.Reason != desired.FaultSendFailed || d < 190*time.Millisecond {
		w.fatalf("gave up for %s after %v, want after three advertisements, 200ms", in.cause.Reason, d)
	}
}
