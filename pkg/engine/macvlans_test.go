package engine

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/conflict"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

// virtual has the VIPs of a virtual router have its MAC address.
func virtual(r desired.Router) desired.Router {
	r.VIPs = slices.Clone(r.VIPs)
	for i := range r.VIPs {
		r.VIPs[i].VirtualMAC = true
	}
	return r
}

// The link with the virtual MAC is never a VIP's interface, nor is anything on
// it an address of the node.
func TestPlaceIgnoresVirtualLinks(t *testing.T) {
	t.Parallel()
	parent := host.Link{
		Index: 2, Name: "eth0", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Up: true, Running: true, Multicast: true,
		Addresses: []host.Address{{Prefix: netip.MustParsePrefix("192.0.2.1/24")}},
	}
	own := host.VirtualLink{Parent: 2, VRID: 50}
	macvlan := host.Link{
		Index: 3, Name: own.Name(), HardwareAddr: own.HardwareAddr(), Up: true, Running: true, Multicast: true, Virtual: own,
		// Somebody has added these.
		Addresses: []host.Address{{Prefix: netip.MustParsePrefix("192.0.2.100/25")}, {Prefix: netip.MustParsePrefix("198.51.100.1/24")}},
	}
	links := []host.Link{parent, macvlan}
	vips := []netip.Addr{netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("192.0.2.101"), netip.MustParseAddr("198.51.100.50")}
	placements, unplaced := assignRouters(statesOf(virtual(routerOf(50, vips...))), links)
	if len(placements) != 1 || len(placements[0].vips) != 2 {
		t.Fatalf("placed %+v", placements)
	}
	for _, v := range placements[0].vips {
		if v.link.Index != 2 || v.virtual != own {
			t.Errorf("%s is placed on %s, %+v", v.address, v.link.Name, v.virtual)
		}
	}
	if len(unplaced) != 1 || unplaced[0].Address != vips[2] {
		t.Errorf("unplaced %+v, want 198.51.100.50", unplaced)
	}
	for _, i := range candidates(links, placements) {
		if i.Index == 3 {
			t.Error("the link with the virtual MAC is listened on")
		}
	}
	// The name of one does not make a link ours.
	macvlan.Virtual = host.VirtualLink{}
	if placements, _ := assignRouters(statesOf(routerOf(50, vips[1])), []host.Link{parent, macvlan}); placements[0].link.Index != 3 {
		t.Errorf("placed on %s, want the longest prefix", placements[0].link.Name)
	}
}

func (n *simNode) macvlan(ipv6 bool) int {
	return n.macvlans[host.VirtualLink{Parent: eth0, IPv6: ipv6, VRID: 50}]
}

// plain is a VIP on eth0.
var plain = netip.MustParseAddr("192.0.2.110")

// VIPs with and without a virtual MAC in one virtual router are where they
// belong, and the advertisements come from the virtual MAC.
func TestSimulatedVirtualMAC(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 3)
	mixed := virtual(routerOf(50, vipA))
	mixed.VIPs = append(mixed.VIPs, desired.VIP{Address: vipB})
	w.apply(statesOf(mixed, virtual(routerOf(50, vip6A)), routerOf(60, plain)))
	w.run(8 * time.Second)
	for range 3 {
		if len(w.masters()) != 1 {
			w.fatalf("masters %v", w.masters())
		}
		master := w.nodes[w.masters()[0]]
		on := map[netip.Addr]int{}
		for _, v := range master.bound() {
			on[v.Address] = v.Link
		}
		for vip, link := range map[netip.Addr]int{vipA: master.macvlan(false), vipB: eth0, vip6A: master.macvlan(true)} {
			if link == 0 || on[vip] != link {
				w.fatalf("n%d has %s on link %d, want %d", master.id, vip, on[vip], link)
			}
			if w.cache[vip] != master.id {
				w.fatalf("%s was announced by n%d last, Master is n%d", vip, w.cache[vip], master.id)
			}
		}
		answering := master.loop.host.policies
		if answering[vipA].Interface != "vip4-2-50" || answering[vipA].Index != master.macvlan(false) || answering[vipA].Pulse == 0 ||
			answering[vip6A].Interface != "vip6-2-50" || answering[vipB].Interface != "eth0" || !maps.Equal(answering, master.gate.answer) {
			w.fatalf("answering %v", answering)
		}
		if got := master.loop.macvlans.wanted.senders; len(got) != 1 || got[vipA] != master.address {
			w.fatalf("ARP requests are from %v, want %s for %s", got, master.address, vipA)
		}
		// From the interface, and but for the first, before the link is up, once more
		// from the virtual MAC.
		sent := master.sent[max(0, len(master.sent)-30):]
		for i, p := range sent {
			if p.payload[1] == 60 && p.via != 0 || p.via != 0 && p.via != master.macvlan(p.source.Is6()) {
				w.fatalf("n%d advertises %d from link %d", master.id, p.payload[1], p.via)
			}
			if last := i == len(sent)-1; p.payload[1] == 50 && p.via == 0 && !last && sent[i+1].via == 0 {
				w.fatalf("n%d advertises %d not from the virtual MAC", master.id, p.payload[1])
			}
		}
		for _, r := range master.engine.Status().Routers {
			for _, v := range r.VIPs {
				want := map[netip.Addr]string{vipA: "00:00:5e:00:01:32", vip6A: "00:00:5e:00:02:32"}[v.Address]
				if v.VirtualMAC != want || v.Interface != "eth0" || !v.Bound && r.VRID == 50 {
					w.fatalf("status %+v, want virtual MAC %q", v, want)
				}
			}
		}
		unbinds := master.unbinds[vipA]
		w.run(3 * time.Second)
		if master.unbinds[vipA] != unbinds || len(w.holders(vipA)) != 1 {
			w.fatalf("%s is held by %v, unbound %d times", vipA, w.holders(vipA), master.unbinds[vipA]-unbinds)
		}
		master.crash()
		w.run(2 * time.Second)
		if len(w.masters()) == 0 {
			break
		}
	}
	w.nobodySaid("virtual MACs")
}

// A node that starts beside a Master takes neither what has the virtual MAC nor
// what has the Master's own for a stranger's.
func TestSimulatedVirtualMACStartsBesideMaster(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 2)
	mixed := virtual(routerOf(50, vipA))
	mixed.VIPs = append(mixed.VIPs, desired.VIP{Address: vipB})
	state := statesOf(mixed, virtual(routerOf(50, vip6A)))
	w.nodes[0].apply(state)
	w.run(20 * time.Second)
	w.nodes[1].apply(state)
	w.run(20 * time.Second)
	w.nobodySaid("a later node")
	w.nodes[0].crash()
	w.run(2 * time.Second)
	if got := w.nodes[1].held(); len(got) != 3 {
		w.fatalf("held %v, want all", got)
	}
	w.nobodySaid("after the takeover")
}

// Another Master is outranked though its kernel keeps from it what comes from the
// virtual MAC that it has itself.
func TestSimulatedVirtualMACIsPrivate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 2)
	w.nodes[0].macvlanPrivate = true // The lower address.
	w.apply(statesOf(virtual(routerOf(50, vipA))))
	w.run(8 * time.Second)
	w.cut[[2]int{0, 1}], w.cut[[2]int{1, 0}] = true, true
	w.run(3 * time.Second)
	if got := w.masters(); len(got) != 2 {
		w.fatalf("masters %v of a partition", got)
	}
	clear(w.cut)
	w.run(time.Second)
	if got := w.masters(); len(got) != 1 {
		w.fatalf("masters %v after it", got)
	}
	w.run(3 * time.Second)
	for _, n := range w.nodes {
		if became := n.becameMaster(n.loop.instances[0].key); became > 1 {
			w.fatalf("n%d became Master %d times", n.id, became)
		}
	}
}

// What another host has is found with a virtual MAC too, before the first claim
// and later.
func TestSimulatedVirtualMACDuplicate(t *testing.T) {
	t.Parallel()
	for _, vip := range []netip.Addr{vipA, vip6A} {
		w := newWorld(t, 50, 2)
		other := w.squat(vip)
		w.apply(statesOf(virtual(routerOf(50, vip))))
		w.run(20 * time.Second)
		for _, n := range w.nodes {
			if r := n.engine.Status().Routers[0]; r.Reason != desired.FaultVIPInUse || r.VIPs[0].InUseBy != other.mac.String() || len(n.held()) != 0 {
				w.fatalf("n%d: %+v, holds %v", n.id, r, n.held())
			}
		}
		w.leaves(other)
		w.run(conflict.RetryInterval + 20*time.Second)
		master := w.nodes[w.oneMaster("after the host is gone")]
		if got := master.bound(); len(got) != 1 || got[0].Link != master.macvlan(vip.Is6()) {
			w.fatalf("bound %v", got)
		}
		w.squat(vip)
		w.run(announceRefresh + 5*time.Second)
		if !slices.Contains(master.alarmed(), string(vrrp.AlarmDuplicateAddress)) {
			w.fatalf("n%d: alarms %+v", master.id, master.alarms)
		}
	}
}

// The gate of a Master with a virtual MAC closes when it is killed, and the
// neighbors are told of a link that is made anew before the next repetition.
func TestSimulatedVirtualMACGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	n := w.nodes[0]
	w.apply(statesOf(virtual(routerOf(50, vipA)), virtual(routerOf(50, vip6A))))
	w.run(8 * time.Second)
	was := n.gate.answer[vipA].Index
	if was == 0 || was != n.macvlan(false) || !n.answers(vipA) || !n.answers(vip6A) {
		w.fatalf("answers %v", n.gate.answer)
	}
	clear(n.macvlans)
	clear(n.expiry)
	n.links()
	n.turn()
	w.run(100 * time.Millisecond)
	if now := n.gate.answer[vipA].Index; now == was || now == 0 || now != n.macvlan(false) {
		w.fatalf("told of link %d, was %d, is %d", now, was, n.macvlan(false))
	}
	if r := n.engine.Status().Routers[0]; r.AddressRemovals != 0 {
		w.fatalf("what went with its link counts as removed: %d", r.AddressRemovals)
	}
	// Somebody else removes the address alone.
	delete(n.expiry, host.VirtualAddress{Link: n.macvlan(false), Address: vipA})
	w.run(time.Second)
	if r := n.engine.Status().Routers[0]; r.AddressRemovals != 1 || len(n.held()) != 2 {
		w.fatalf("%d removals, holds %v", r.AddressRemovals, n.held())
	}
	n.kill()
	w.run(simAlive + time.Millisecond)
	for _, vip := range []netip.Addr{vipA, vip6A} {
		if !slices.Contains(n.held(), vip) || n.answers(vip) {
			w.fatalf("%s: holds %v, answers %t", vip, n.held(), n.answers(vip))
		}
	}
}

// A link that cannot be made is a fault of the virtual routers that have
// nothing else, and of no other; it heals.
func TestSimulatedVirtualMACFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	n := w.nodes[0]
	n.macvlanFails = true
	mixed := virtual(routerOf(51, vipB))
	mixed.VIPs = append(mixed.VIPs, desired.VIP{Address: plain})
	w.apply(statesOf(virtual(routerOf(50, vipA)), mixed, routerOf(60, vip6A)))
	w.run(6 * time.Second)
	if got := n.held(); !slices.Equal(got, []netip.Addr{plain, vip6A}) {
		w.fatalf("held %v, want only what needs no virtual MAC", got)
	}
	for _, in := range n.loop.instances {
		failed := in.cause.Reason == desired.FaultVirtualMAC && strings.HasPrefix(in.cause.Message, "operation not supported")
		if (in.key.VRID == 50) != failed {
			w.fatalf("VRID %d is %s, %q", in.key.VRID, in.state(), in.cause.Reason)
		}
	}
	n.macvlanFails = false
	n.loop.macvlans.post(n.loop.macvlans.wanted) // As the linker does every 5 s.
	n.turn()
	w.run(3 * time.Second)
	if got := n.held(); len(got) != 4 {
		w.fatalf("held %v, want all", got)
	}
	// Somebody removes the link: it comes back, and so does the address.
	clear(n.macvlans)
	clear(n.expiry)
	n.links()
	n.turn()
	w.run(time.Second)
	if got := n.held(); len(got) != 4 || n.state() != vrrp.Master {
		w.fatalf("held %v, and %s", got, n.state())
	}
}

// With unicast the node's own address and MAC carry the advertisements.
func TestSimulatedVirtualMACUnicast(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 2)
	w.apply(statesOf(virtual(unicast(routerOf(50, vipA)))))
	w.run(6 * time.Second)
	if len(w.masters()) != 1 {
		w.fatalf("masters %v", w.masters())
	}
	master := w.nodes[w.masters()[0]]
	if got := master.bound(); len(got) != 1 || got[0].Link != master.macvlan(false) {
		w.fatalf("bound %v", got)
	}
	for _, p := range master.sent {
		if p.via != 0 {
			w.fatalf("advertises from link %d", p.via)
		}
	}
}

type fakeLinks struct {
	ready map[host.VirtualLink]int
	err   error
	calls int
}

func (f *fakeLinks) Set([]host.VirtualLink) (map[host.VirtualLink]int, error) {
	f.calls++
	return f.ready, f.err
}

type fakeSenders struct{ err error }

func (f *fakeSenders) SetSenders(map[netip.Addr]netip.Addr) error { return f.err }

// The worker reports each result once.
func TestMacvlanWorkerReports(t *testing.T) {
	t.Parallel()
	one, two := host.VirtualLink{Parent: 2, VRID: 1}, host.VirtualLink{Parent: 2, VRID: 2}
	links, asked := &fakeLinks{}, &fakeSenders{}
	var reports []macvlanResult
	w := newMacvlanWorker(links, asked, func(r macvlanResult) { reports = append(reports, r) })
	want := macvlanOrder{links: []host.VirtualLink{one, two}}
	w.sync(macvlanOrder{})
	if len(reports) != 0 {
		t.Errorf("nothing is wanted: %+v", reports)
	}
	links.ready = map[host.VirtualLink]int{one: 7}
	links.err = errors.Join(errors.New("all"), &host.VirtualLinkError{VirtualLink: two, Err: errors.New("not two")})
	for range 3 {
		w.sync(want)
	}
	if len(reports) != 1 || reports[0].ready[one] != 7 || reports[0].failed[two] == nil || reports[0].err == nil {
		t.Fatalf("reports %+v", reports)
	}
	links.ready, links.err, asked.err = map[host.VirtualLink]int{one: 7, two: 8}, nil, errors.New("no nftables")
	w.sync(want)
	if r := reports[len(reports)-1]; len(reports) != 2 || len(r.failed) != 0 || r.err == nil {
		t.Errorf("reports %+v", reports)
	}
	asked.err = nil
	w.sync(want)
	w.sync(want)
	if r := reports[len(reports)-1]; len(reports) != 3 || r.err != nil || len(r.ready) != 2 {
		t.Errorf("reports %+v", reports)
	}
	links.ready, links.err = nil, errors.New("list links: interrupted")
	w.sync(want)
	if r := reports[len(reports)-1]; len(reports) != 4 || r.err == nil || len(r.ready) != 2 {
		t.Errorf("links that could not be looked at are lost: %+v", reports)
	}
	if links.calls != 8 {
		t.Errorf("%d calls, want one each", links.calls)
	}
}
