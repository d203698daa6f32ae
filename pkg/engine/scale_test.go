package engine

import (
	"net/netip"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

// A node with as many VIPs as there can be finds out what has changed in much
// less time than an advertisement may be late: each address that it binds
// changes what it knows of the links.
func TestManyVIPs(t *testing.T) {
	const vips = 4096
	for _, routers := range []int{1, 255} {
		l, _ := manyRouters(t, vrrp.Master)
		link := l.links.snapshot.Links[0]
		link.Addresses = link.Addresses[:1]
		s := desired.State{Routers: make([]desired.Router, routers)}
		for i := range vips {
			vip := netip.AddrFrom4([4]byte{10, 4, byte(1 + i/250), byte(1 + i%250)})
			r := &s.Routers[i%routers]
			if len(r.VIPs) == 0 {
				*r = routerOf(uint8(1+i%routers), vip)
				r.VIPs = r.VIPs[:0]
			}
			r.VIPs = append(r.VIPs, desired.VIP{Address: vip})
			link.Addresses = append(link.Addresses, host.Address{Prefix: netip.PrefixFrom(vip, 32), Owned: true})
		}
		l.desired = &s
		snapshot := &host.Snapshot{Links: []host.Link{link}}
		const snapshots = 10 // The race detector makes each take six times as long.
		begin := time.Now()
		for range snapshots {
			l.links.update(snapshot, l.assigned.linkNames(), l.now())
			l.assign()
			l.configure(l.now())
		}
		took := time.Since(begin)
		t.Logf("measured: snapshot_of_%d_vips_in_%d_routers=%v target=10ms", vips, routers, took/snapshots)
		if took > 5*time.Second {
			t.Errorf("%d snapshots took %v, want at most 5s", snapshots, took)
		}
		for _, in := range l.instances {
			if in.state() != vrrp.Master {
				t.Errorf("VRID %d is %s, want Master still", in.key.VRID, in.state())
			}
		}
	}
}

// An interface that comes back before the listener has looked was listened on
// all the time.
func TestSimulatedListenerIsLate(t *testing.T) {
	w := settled(t, 41, 1)
	n := w.nodes[0]
	n.loop.sockets.post = n.workers.sockets.post
	told := n.told
	down := append([]host.Link{}, told...)
	down[0].Up = false
	for _, links := range [][]host.Link{down, told} {
		n.engine.Links(host.Snapshot{Links: links})
		n.turn()
	}
	n.loop.sockets.post = n.workers.sockets.sync
	n.workers.sockets.applyWaiting()
	w.run(5 * time.Second)
	w.oneMaster("after the interface came back")
}

// The sending that works for one family does not have the failure of the other
// told again and again.
func TestSimulatedSendFailureIsToldOnce(t *testing.T) {
	w := settledWith(t, 42, 2, statesOf(routerOf(50, vipA), routerOf(50, vip6A)))
	n := w.nodes[w.oneMaster("before")]
	n.sendFailsTo = vrrp.GroupIPv6
	told := 0
	for range 10 {
		w.run(50 * time.Millisecond)
		for said := range n.loop.events.logged {
			if said.destination == vrrp.GroupIPv6 {
				told++
			}
		}
	}
	if told < 9 {
		w.fatalf("what was told of IPv6 was forgotten %d times of 10 though it goes on", 10-told)
	}
}
