package engine

import (
	"flag"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

var seeds = flag.Int("engine.seeds", 60, "how many random LANs TestSimulatedRandomLAN runs")

var (
	vipA = netip.MustParseAddr("192.0.2.100")
	vipB = netip.MustParseAddr("192.0.2.101")
	// vipC is on eth1.
	vipC  = netip.MustParseAddr("198.51.100.100")
	vip6A = netip.MustParseAddr("2001:db8:2::100")
	vip6B = netip.MustParseAddr("2001:db8:2::101")
)

// sites are what random LANs are configured with, and how that may change.
var sites = []struct {
	name   string
	states []desired.State
}{
	{"IPv4", []desired.State{stateOf(vipA), stateOf(vipA, vipB), stateOf(vipB)}},
	{"IPv6", []desired.State{stateOf(vip6A), stateOf(vip6A, vip6B), stateOf(vip6B)}},
	{"unicast", []desired.State{
		statesOf(unicast(routerOf(50, vipA))), statesOf(unicast(routerOf(50, vipA, vipB))), statesOf(unicast(routerOf(50, vipB, vipC))),
	}},
	{"unicast IPv6", []desired.State{statesOf(unicast(routerOf(50, vip6A))), statesOf(unicast(routerOf(50, vip6A, vip6B)))}},
	{"VRIDs", []desired.State{
		statesOf(routerOf(50, vipA), routerOf(51, vipB)), statesOf(routerOf(50, vipA, vipB)), statesOf(routerOf(50, vipB), routerOf(51, vipA)),
	}},
	{"interfaces", []desired.State{stateOf(vipA, vipC), stateOf(vipA, vipB, vipC), statesOf(routerOf(50, vipA), routerOf(51, vipC))}},
	{"families", []desired.State{
		statesOf(routerOf(50, vipA), routerOf(50, vip6A)), statesOf(routerOf(50, vipA, vipB), routerOf(50, vip6A)),
		statesOf(routerOf(50, vipC), unicast(routerOf(51, vip6A, vip6B))),
	}},
	{"virtual MAC", []desired.State{
		statesOf(virtual(routerOf(50, vipA)), virtual(routerOf(50, vip6A))), statesOf(routerOf(50, vipA), routerOf(50, vip6A)),
		statesOf(virtual(unicast(routerOf(50, vipA, vipC))), virtual(routerOf(51, vipB))),
	}},
	{"everything", []desired.State{
		statesOf(routerOf(50, vipA, vipC), unicast(routerOf(51, vipB)), routerOf(50, vip6A), unicast(routerOf(51, vip6B))),
		statesOf(unicast(routerOf(50, vipA, vipC)), routerOf(51, vipB), unicast(routerOf(50, vip6A)), routerOf(51, vip6B)),
		statesOf(routerOf(50, vipB), routerOf(52, vipA, vipC), routerOf(51, vip6A, vip6B)),
	}},
}

// settled is a world of nodes whose router has found its Master.
func settled(t *testing.T, seed uint64, nodes int) *world {
	return settledWith(t, seed, nodes, stateOf(vipA))
}

func settledWith(t *testing.T, seed uint64, nodes int, s desired.State) *world {
	t.Helper()
	w := newWorld(t, seed, nodes)
	w.apply(s)
	// Past the last announcement that follows the takeover at 3.2 s.
	w.run(10 * time.Second)
	w.oneMaster("after the start")
	return w
}

// oneMaster asserts that every virtual router has one Master, and that it and
// nobody else has every VIP and the client's cache. It returns the Master of the
// first.
func (w *world) oneMaster(when string) int {
	w.t.Helper()
	first := w.oneHolder(when)
	for key := range w.instances() {
		master := w.mastersOf(key)[0]
		for _, vip := range w.nodes[master].instance(key).config.Addresses {
			if w.cache[vip] != master {
				w.fatalf("%s: the client sends %s to n%d, want to the Master n%d", when, vip, w.cache[vip], master)
			}
		}
	}
	return first
}

// oneHolder asserts that every virtual router has one Master, and that it and
// nobody else has every VIP.
func (w *world) oneHolder(when string) int {
	w.t.Helper()
	routers := w.instances()
	for key := range routers {
		masters := w.mastersOf(key)
		if len(masters) != 1 {
			w.fatalf("%s: masters %v of %v, want one", when, masters, key)
		}
		n := w.nodes[masters[0]]
		in := n.instance(key)
		// It may go on with the list of a Master that it heard before.
		if got, want := n.advertised(in), in.router.Status().Advertised; !slices.Equal(got, want) || len(got) == 0 {
			w.fatalf("%s: n%d advertises %v, want %v", when, n.id, got, want)
		}
		for _, vip := range in.config.Addresses {
			if got := w.holders(vip); !slices.Equal(got, masters) {
				w.fatalf("%s: %s is held by %v, want by the Master %v", when, vip, got, masters)
			}
		}
	}
	if len(routers) == 0 {
		w.fatalf("%s: no virtual router", when)
	}
	return w.masters()[0]
}

// instances are the nodes of each virtual router.
func (w *world) instances() map[desired.RouterKey][]*simNode {
	all := map[desired.RouterKey][]*simNode{}
	for _, n := range w.nodes {
		if n.dead {
			continue
		}
		for _, in := range n.loop.instances {
			all[in.key] = append(all[in.key], n)
		}
	}
	return all
}

func (n *simNode) instance(key desired.RouterKey) *instance {
	for _, in := range n.loop.instances {
		if in.key == key {
			return in
		}
	}
	return nil
}

func (w *world) mastersOf(key desired.RouterKey) (ids []int) {
	for _, n := range w.nodes {
		if in := n.instance(key); !n.dead && in != nil && in.state() == vrrp.Master {
			ids = append(ids, n.id)
		}
	}
	return ids
}

func TestSimulatedListeningComesFirst(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.apply(stateOf(vipA))
	w.run(3100 * time.Millisecond)
	if got := w.masters(); got != nil {
		w.fatalf("masters %v before the interface was listened on for %s", got, listenTime)
	}
	w.run(500 * time.Millisecond)
	w.oneMaster("after listening")
}

func TestSimulatedRouterAddedLaterStartsAtOnce(t *testing.T) {
	w := newWorld(t, 1, 3)
	w.run(10 * time.Second)
	w.apply(stateOf(vipA))
	w.run(450 * time.Millisecond)
	w.oneMaster("after a Master_Down_Interval")
}

func TestSimulatedCrash(t *testing.T) {
	w := settled(t, 2, 3)
	old := w.oneMaster("before")
	w.nodes[old].crash()
	w.run(450 * time.Millisecond)
	if now := w.oneMaster("450 ms after the crash"); now == old {
		w.fatalf("n%d is still Master", old)
	}
}

// The addresses are gone before priority 0 is sent, and the successor follows
// within Skew_Time.
func TestSimulatedRelease(t *testing.T) {
	w := settled(t, 3, 3)
	old := w.nodes[w.oneMaster("before")]
	sent := len(old.sent)
	old.engine.inbox.update(func(m *messages) { m.stop = true })
	if done := old.loop.iterate(); done || len(old.sent) != sent {
		w.fatalf("released before the address was reported gone")
	}
	if got := old.held(); len(got) != 0 {
		w.fatalf("still holds %v", got)
	}
	if done := old.loop.iterate(); !done {
		w.fatalf("not released although the address is gone")
	}
	old.dead = true
	if resigned := len(old.sent) - sent; resigned != releaseCopies {
		w.fatalf("%d advertisements at the release, want %d of priority 0", resigned, releaseCopies)
	}
	for _, p := range old.sent[sent:] {
		if p.payload[2] != vrrp.PriorityResign {
			w.fatalf("priority %d in the release, want 0", p.payload[2])
		}
	}
	w.run(60 * time.Millisecond)
	w.oneMaster("after the release")
}

// A release does not wait for an actuator that does not come back.
func TestSimulatedReleaseWithoutActuator(t *testing.T) {
	w := settled(t, 3, 3)
	old := w.nodes[w.oneMaster("before")]
	old.loop.host.post = func(hostState) {}
	sent := len(old.sent)
	old.engine.inbox.update(func(m *messages) { m.stop = true })
	w.run(releaseTime + time.Millisecond)
	if got := len(old.sent) - sent; got != releaseCopies {
		w.fatalf("%d advertisements of priority 0 after %s, want %d", got, releaseTime, releaseCopies)
	}
}

// The process is killed and its kernel goes on: nobody holds the address twice
// for longer than the lease.
func TestSimulatedKilledProcess(t *testing.T) {
	w := settled(t, 4, 3)
	old := w.oneMaster("before")
	w.nodes[old].kill()
	w.run(lease + time.Second)
	w.oneMaster("after the lease")
}

// A process that stood still and comes back finds the other Master's
// advertisements in its socket, and yields without sending a packet.
func TestSimulatedFrozenMaster(t *testing.T) {
	w := settled(t, 5, 3)
	old := w.nodes[w.oneMaster("before")]
	old.frozen = true
	w.run(5 * time.Second)
	w.oneMasterBut(old)
	sent := len(old.sent)
	old.frozen = false
	w.run(50 * time.Millisecond)
	if got := len(old.sent) - sent; got != 0 {
		w.fatalf("the Master that came back sent %d packets, want none", got)
	}
	w.run(time.Second)
	if w.oneMaster("after the thaw") == old.id {
		w.fatalf("n%d took the mastership back", old.id)
	}
}

// oneMasterBut asserts that one other node took over from a frozen one.
func (w *world) oneMasterBut(frozen *simNode) {
	w.t.Helper()
	masters := slices.DeleteFunc(w.masters(), func(id int) bool { return id == frozen.id })
	if len(masters) != 1 {
		w.fatalf("masters beside the frozen n%d: %v, want one", frozen.id, masters)
	}
	if got := w.holders(vipA); !slices.Equal(got, masters) {
		w.fatalf("%s is held by %v, want by %v", vipA, got, masters)
	}
}

// A Backup that stood still has the Master's advertisements in its socket and
// its own timer expired: that is no reason to take over.
func TestSimulatedStalledBackup(t *testing.T) {
	w := settled(t, 6, 3)
	master := w.oneMaster("before")
	for _, n := range w.nodes {
		if n.id == master {
			continue
		}
		for stall := 50 * time.Millisecond; stall < 3*time.Second; stall = stall * 5 / 4 {
			before := len(n.transitions)
			n.frozen = true
			w.run(stall)
			n.frozen = false
			w.run(time.Second)
			if got := n.transitions[before:]; len(got) != 0 {
				w.fatalf("n%d changed its state after standing still for %s: %+v", n.id, stall, got)
			}
		}
	}
}

// An advertisement that waits in the socket when Master_Down_Timer fires is
// read first.
func TestSimulatedWaitingAdvertisement(t *testing.T) {
	w := settled(t, 6, 2)
	master := w.nodes[w.oneMaster("before")]
	backup := w.nodes[1-master.id]
	w.cut[[2]int{master.id, backup.id}] = true
	w.run(time.Millisecond) // for what is on its way
	in := backup.loop.instances[0]
	down := in.config.MasterDownInterval(in.config.AdvertisementInterval) + in.config.TakeoverDelay
	fires := int64(in.router.Status().LastHeard) + int64(down)
	w.run(time.Duration(fires - w.now - int64(time.Millisecond)))
	waiting := master.sent[len(master.sent)-1]
	backup.queue = append(backup.queue, flying{at: w.now, index: eth0, data: ipPacket(master.address, vrrp.GroupIPv4, waiting.payload)})
	w.now = fires + int64(time.Millisecond)
	before := len(backup.transitions)
	backup.turn()
	if len(backup.transitions) != before {
		w.fatalf("took over with the Master's advertisement unread")
	}
	// And it would have, without it.
	w.run(time.Second)
	if backup.state() != vrrp.Master {
		w.fatalf("did not take over from a silent Master")
	}
}

func TestSimulatedConfigChangeLeavesOtherVIPs(t *testing.T) {
	w := settled(t, 7, 3)
	master := w.nodes[w.oneMaster("before")]
	changes := len(master.transitions)
	for range 20 {
		w.apply(stateOf(vipA, vipB))
		w.run(100 * time.Millisecond)
		if got := w.holders(vipB); len(got) != 1 {
			w.fatalf("the added VIP is held by %v, want by one", got)
		}
		w.apply(stateOf(vipA))
		w.run(100 * time.Millisecond)
		if got := w.holders(vipB); len(got) != 0 {
			w.fatalf("the removed VIP is held by %v", got)
		}
	}
	if master.unbinds[vipA] != 0 || len(master.transitions) != changes {
		w.fatalf("the VIP that stayed was unbound %d times, transitions %+v", master.unbinds[vipA], master.transitions[changes:])
	}
}

// A Master that can bind none of its addresses must not stay Master; one that
// cannot bind one of them must not lose the others.
func TestSimulatedBindFails(t *testing.T) {
	w := newWorld(t, 10, 2)
	for _, n := range w.nodes {
		n.bindFails[vipB] = true
	}
	w.apply(stateOf(vipA, vipB))
	w.run(10 * time.Second)
	master := w.nodes[w.masters()[0]]
	if got := w.holders(vipA); !slices.Equal(got, []int{master.id}) {
		w.fatalf("%s is held by %v, want by the Master n%d", vipA, got, master.id)
	}
	master.bindFails[vipA] = true
	w.run(2 * time.Second)
	if got := w.holders(vipA); len(got) != 1 || got[0] == master.id {
		w.fatalf("%s is held by %v, want by the other node than n%d", vipA, got, master.id)
	}
}

// A node that cannot send is no Master, and tries ever more seldom to be one.
func TestSimulatedSendFails(t *testing.T) {
	w := settled(t, 11, 2)
	old := w.nodes[w.oneMaster("before")]
	old.sendFails = true
	w.run(time.Second)
	if got := w.holders(vipA); len(got) != 1 || got[0] == old.id {
		w.fatalf("%s is held by %v, want by the node that can send", vipA, got)
	}
	w.nodes[1-old.id].crash()
	before, announced, unbound := len(old.transitions), old.announcements, old.unbinds[vipA]
	w.run(2 * time.Minute)
	if old.unbinds[vipA] != unbound || old.announcements != announced {
		w.fatalf("held the address %d times and announced it %d times though nobody hears it",
			old.unbinds[vipA]-unbound, old.announcements-announced)
	}
	tries := 0
	for _, tr := range old.transitions[before:] {
		if tr.To == vrrp.Master {
			tries++
		}
	}
	if tries < 3 || tries > 10 {
		w.fatalf("tried to be Master %d times in two minutes, want some, and ever more seldom", tries)
	}
	old.sendFails = false
	w.run(time.Minute)
	w.oneMaster("after it can send again")
}

// A kernel that does not carry out orders loses the addresses; so must the
// mastership go, to a node whose kernel does.
func TestSimulatedKernelHangs(t *testing.T) {
	w := settled(t, 13, 2)
	old := w.nodes[w.oneMaster("before")]
	old.kernelHangs = true
	w.run(lease + time.Second)
	if got := w.holders(vipA); len(got) != 1 || got[0] == old.id {
		w.fatalf("%s is held by %v, want by the node whose kernel works", vipA, got)
	}
	w.run(time.Minute)
	for _, tr := range old.transitions[len(old.transitions)-1:] {
		if tr.To != vrrp.Initialize || tr.Reason != desired.FaultLeaseNotRenewed {
			w.fatalf("last told of %+v, want of %s", tr, desired.FaultLeaseNotRenewed)
		}
	}
	old.kernelHangs = false
	w.run(time.Minute)
	if old.state() != vrrp.Backup {
		w.fatalf("state %s after the kernel came back, want Backup", old.state())
	}
}

// One renewal that fails costs no mastership.
func TestSimulatedOneRenewalFails(t *testing.T) {
	w := settled(t, 14, 2)
	master := w.nodes[w.oneMaster("before")]
	master.failOnce = true
	before := len(master.transitions)
	w.run(2 * time.Second)
	if master.failOnce || len(master.transitions) != before {
		w.fatalf("transitions %+v after one renewal failed, want none", master.transitions[before:])
	}
	w.oneMaster("after a renewal failed")
}

// More packets than can be read keep a Master neither from advertising nor
// from hearing.
func TestSimulatedFlood(t *testing.T) {
	w := settled(t, 15, 2)
	master := w.nodes[w.oneMaster("before")]
	junk := ipPacket(netip.MustParseAddr("192.0.2.66"), vrrp.GroupIPv4, []byte{0x31, 99, 100, 1, 0, 10, 0, 0})
	before := len(master.transitions)
	master.flood = junk
	w.run(2 * time.Second)
	master.flood = nil
	if len(master.transitions) != before {
		w.fatalf("transitions %+v in a flood, want none", master.transitions[before:])
	}
	w.oneMaster("in a flood")
}

// A peer that does not hear us goes on advertising: we announce again, but not
// at its rate.
func TestSimulatedDeafPeer(t *testing.T) {
	w := settled(t, 17, 2)
	master := w.nodes[w.oneMaster("before")]
	deaf := w.nodes[1-master.id]
	// Of the same priority the higher address stays Master.
	if master.id == 0 {
		master, deaf = deaf, master
	}
	w.cut[[2]int{master.id, deaf.id}] = true
	w.run(5 * time.Second)
	before := master.announcements
	w.run(10 * time.Second)
	if got := master.announcements - before; got < 5 || got > 60 {
		w.fatalf("announced %d times in 10 s beside a deaf peer, want about four bursts' worth a second at most", got)
	}
}

// A Backup whose sockets are gone must not take silence for the Master's end.
func TestSimulatedBackupWithoutSockets(t *testing.T) {
	w := settled(t, 18, 2)
	master := w.oneMaster("before")
	backup := w.nodes[1-master]
	in, conns := backup.loop.instances[0], backup.loop.sockets.conns
	backup.engine.send(func(m *messages) { m.sockets = append(m.sockets, socketResult{}) })
	backup.turn()
	if in.state() != vrrp.Initialize || in.cause.Reason != desired.FaultNotListening {
		w.fatalf("state %s for reason %q without sockets, want Initialize for %q", in.state(), in.cause.Reason, desired.FaultNotListening)
	}
	w.run(10 * time.Second)
	if in.state() != vrrp.Initialize {
		w.fatalf("state %s without sockets", in.state())
	}
	backup.engine.send(func(m *messages) { m.sockets = append(m.sockets, socketResult{conns: conns}) })
	backup.turn()
	w.run(2 * time.Second)
	if in.state() != vrrp.Initialize {
		w.fatalf("state %s before the interface was listened on for %s again", in.state(), listenTime)
	}
	w.run(2 * time.Second)
	if in.state() != vrrp.Backup || w.oneMaster("after the sockets came back") != master {
		w.fatalf("state %s after the sockets came back, want Backup", in.state())
	}
}

// Nor must one that was to try again.
func TestSimulatedRetryWithoutSockets(t *testing.T) {
	w := newWorld(t, 19, 1)
	n := w.nodes[0]
	n.bindFails[vipA] = true
	w.apply(stateOf(vipA))
	w.run(5 * time.Second)
	in := n.loop.instances[0]
	if in.cause.Reason != desired.FaultBindFailed {
		w.fatalf("reason %q, want %q", in.cause.Reason, desired.FaultBindFailed)
	}
	n.engine.send(func(m *messages) { m.sockets = append(m.sockets, socketResult{}) })
	n.turn()
	before := len(n.transitions)
	w.run(time.Minute)
	if got := n.transitions[before:]; len(got) != 0 || in.cause.Reason != desired.Listening {
		w.fatalf("transitions %+v, reason %q without sockets, want none and %q", got, in.cause.Reason, desired.Listening)
	}
}

// A fault that is there from the start is told, once.
func TestSimulatedFaultFromTheStart(t *testing.T) {
	w := newWorld(t, 12, 1)
	n := w.nodes[0]
	n.linkDown = true
	n.links()
	w.apply(stateOf(vipA))
	w.run(10 * time.Second)
	if got := n.transitions; len(got) != 1 || got[0].To != vrrp.Initialize || got[0].Reason != desired.FaultNoCarrier {
		w.fatalf("told of %+v, want of %s once", got, desired.FaultNoCarrier)
	}
}

// After a silent partition the client follows the one Master that is left.
func TestSimulatedPartitionHeals(t *testing.T) {
	for seed := range uint64(50) {
		w := settled(t, 100+seed, 3)
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				w.cut[[2]int{a.id, b.id}] = true
			}
		}
		w.run(2 * time.Second)
		if got := len(w.masters()); got != 3 {
			w.fatalf("seed %d: %d masters in a partition of three, want three", seed, got)
		}
		clear(w.cut)
		w.run(1500 * time.Millisecond)
		w.oneMaster("after the partition healed")
	}
}

// Random faults, then quiet: one Master, one holder, and the client goes to
// it. No fault ever leaves an address with a node that is not Master for
// longer than the lease.
func TestSimulatedRandomLAN(t *testing.T) {
	for seed := range uint64(*seeds) {
		site := sites[seed%uint64(len(sites))]
		w := settledWith(t, 1000+seed, 2+int(seed%4), site.states[0])
		w.log("seed %d, %s", seed, site.name)
		state := site.states[0]
		for range 12 {
			w.randomFault(site.states, &state)
			w.run(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
			w.leasesHold()
		}
		w.heal(state)
		w.run(8 * time.Second)
		w.oneHolder("after all faults were healed")
		// A Master that could not hear the one that took its addresses in the
		// client's cache does not know that it must announce them.
		w.run(announceRefresh)
		w.oneMaster("after the slow refresh")
		for key, nodes := range w.instances() {
			for _, n := range nodes {
				if in := n.instance(key); in.state() == vrrp.Initialize {
					w.fatalf("n%d is still in Initialize for %s", n.id, in.cause.Reason)
				}
			}
		}
		w.duplicatesFound()
	}
}

// leasesHold asserts that whoever holds an address is Master of its router, or
// stood still, or waits for its kernel to let go.
func (w *world) leasesHold() {
	w.t.Helper()
	for _, n := range w.nodes {
		if n.dead || n.frozen || n.pending != nil {
			continue
		}
		for _, v := range n.bound() {
			if !slices.ContainsFunc(n.loop.instances, func(in *instance) bool {
				return in.state() == vrrp.Master && slices.ContainsFunc(in.vips, func(p assignedVIP) bool {
					return p.address == v.Address && p.on.Index == v.Link
				})
			}) {
				w.fatalf("n%d holds %v, of which it is not Master", n.id, v)
			}
		}
	}
}

func (w *world) randomFault(states []desired.State, state *desired.State) {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	other := w.rng.IntN(len(w.nodes))
	switch w.rng.IntN(13) {
	case 0:
		n.crash()
	case 1:
		n.kill()
	case 2:
		if n.dead {
			w.log("n%d boots", n.id)
			n.boot(state)
		}
	case 3:
		w.log("n%d is frozen: %t", n.id, !n.frozen)
		n.frozen = !n.frozen
	case 4:
		w.log("n%d does not reach n%d", n.id, other)
		w.cut[[2]int{n.id, other}] = true
	case 5:
		w.log("all cuts healed")
		clear(w.cut)
	case 6:
		w.loss = w.rng.Float64() * 0.5
		w.log("loss %.2f", w.loss)
	case 7:
		w.log("configuration changes")
		*state = w.vary(states[w.rng.IntN(len(states))])
		w.apply(*state)
	case 8:
		n.linkDown = !n.linkDown
		w.log("n%d link down: %t", n.id, n.linkDown)
		n.linksChanged()
	case 9:
		n.eth1Down = !n.eth1Down
		w.log("n%d eth1 down: %t", n.id, n.eth1Down)
		n.linksChanged()
	case 10:
		n.kernelTakes = []time.Duration{0, 5 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second}[w.rng.IntN(4)]
		w.log("n%d's kernel takes %s", n.id, n.kernelTakes)
	case 11:
		if w.strangers != nil {
			w.log("the stranger is gone")
			w.strangers = nil
			return
		}
		s := foreign(50, "203.0.113.1")
		s.advert.Priority = []uint8{1, 254}[w.rng.IntN(2)]
		w.log("a stranger of priority %d", s.advert.Priority)
		w.strangers = []*stranger{s}
	case 12:
		if !n.dead {
			n.noLocalEndpoint = !n.noLocalEndpoint
			w.log("n%d has no local endpoint: %t", n.id, n.noLocalEndpoint)
			n.applyNow(*state)
		}
	}
}

// applyNow gives the node the state and, if it is not frozen, lets it act on it.
func (n *simNode) applyNow(s desired.State) {
	n.apply(s)
	if !n.frozen {
		n.turn()
	}
}

// vary changes what a state leaves open.
func (w *world) vary(s desired.State) desired.State {
	s.Routers = slices.Clone(s.Routers)
	for i := range s.Routers {
		r := &s.Routers[i]
		r.Preempt = w.rng.IntN(2) == 0
		r.Priority = uint8(100 + w.rng.IntN(100))
		r.PreemptDelay = time.Duration(w.rng.IntN(3)) * time.Second
		r.AdvertsPerInterval = w.rng.IntN(4)
		r.DownAdverts = 3 + w.rng.IntN(3)
	}
	return s
}

func (n *simNode) linksChanged() {
	if n.dead {
		return
	}
	n.links()
	if !n.frozen {
		n.turn()
	}
}

func (w *world) heal(state desired.State) {
	w.log("all faults healed")
	clear(w.cut)
	w.loss, w.strangers = 0, nil
	for _, n := range w.nodes {
		n.frozen, n.linkDown, n.eth1Down, n.kernelTakes, n.noLocalEndpoint = false, false, false, 0, false
		if n.dead {
			n.boot(&state)
			continue
		}
		n.links()
		n.apply(state)
		n.turn()
	}
}
