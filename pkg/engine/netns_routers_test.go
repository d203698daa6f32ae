package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
	"kube-vrrp-vip/pkg/vrrp"
)

// IPv6: a takeover from a daemon that is killed, the end of its lease, and a
// release.
func TestNetnsIPv6(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 2)
	a, b := s.pair(vip6A)
	begin := time.Now()
	a.Kill()
	s.eventually(func() bool { return strings.Contains(b.Output(), "-> Master (masterDown)") }, "nobody took over")
	t.Logf("measured: takeover_after_killed_ipv6=%v target=450ms", time.Since(begin))
	s.held(vip6A, 1, "the lease ended")
	gone := time.Since(begin)
	t.Logf("measured: stale_holder_after_killed_ipv6=%v target=3s", gone)
	if gone > 5*time.Second {
		t.Errorf("a killed daemon held its address for %v, want at most 5 s", gone)
	}
	a = s.node(0, 200, vip6A)
	s.backup(a, 1)
	begin = time.Now()
	terminate(t, b)
	s.held(vip6A, 0, "the release")
	t.Logf("measured: release_ipv6=%v target=100ms", time.Since(begin))
}

// Unicast: a Master that knows of nobody takes in a peer without changing its
// state; then a takeover and a release.
func TestNetnsUnicast(t *testing.T) {
	t.Parallel()
	for _, vip := range []netip.Addr{vipA, vip6A} {
		family := vrrp.FamilyOf(vip)
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			s := newSegment(t, 2)
			// A switch that loses multicast must not matter.
			s.Drop("ip daddr 224.0.0.18")
			s.Drop("ip6 daddr ff02::12")
			state := func(priority uint8, peers ...int) desired.State {
				r := unicast(routerOf(50, vip))
				for _, i := range peers {
					r.Peers = append(r.Peers, s.address(i, family))
				}
				return prioritized(statesOf(r), priority)
			}
			a, apply := s.start(0, state(200))
			s.held(vip, 0, "alone")
			apply(state(200, 1))
			b, _ := s.start(1, state(100, 0))
			s.backup(b, 1)
			// It hears the Master: else it would take over.
			s.stays(func() bool { return !strings.Contains(b.Output(), "-> Master") }, "the peer became Master beside it")
			s.held(vip, 0, "with a peer")
			if n := strings.Count(a.Output(), "transition"); n != 2 {
				t.Errorf("%d transitions of a Master that learned of a peer, want the two of its start\n%s", n, a.Output())
			}
			begin := time.Now()
			terminate(t, a)
			s.held(vip, 1, "the release")
			t.Logf("measured: release_unicast_ipv%d=%v target=100ms", family, time.Since(begin))

			a, _ = s.start(0, state(200, 1))
			s.backup(a, 1)
			begin = time.Now()
			b.Kill()
			s.eventually(func() bool { return strings.Contains(a.Output(), "-> Master (masterDown)") }, "nobody took over")
			t.Logf("measured: takeover_after_killed_unicast_ipv%d=%v target=450ms", family, time.Since(begin))
			s.held(vip, 0, "the lease ended")
		})
	}
}

// A keepalived that uses our VRID for another address keeps us from starting,
// and only for as long as it is there.
func TestNetnsVRIDConflict(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 2)
	keepalived := s.keepalived(0, 150, vipB)
	s.held(vipB, 0, "keepalived alone")
	ours := s.node(1, 200)
	s.eventually(func() bool {
		return strings.Contains(ours.Output(), "vridConflict: 192.0.2.1 uses it with addresses "+vipB.String()+"; VRID 51 is free")
	},
		"the conflict was not told")
	if out := ours.Output(); strings.Contains(out, "-> Backup") || strings.Contains(keepalived.Output(), "not present in MASTER advert") {
		t.Errorf("took part in somebody else's virtual router\n%s", out)
	}
	terminateKeepalived(t, keepalived)
	t.Logf("measured: conflict_healed=%v target=5s", s.held(vipA, 1, "keepalived is gone"))
	if n := strings.Count(ours.Output(), "Initialize -> Initialize"); n != 1 {
		t.Errorf("the conflict was told %d times, want once", n)
	}
}

// As many addresses as one advertisement can carry, and more than a /24 has.
func TestNetnsManyAddresses(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 2)
	vips := s.many()
	// A busy machine is not to decide where the addresses are.
	state := func(priority uint8) desired.State {
		s := prioritized(stateOf(vips...), priority)
		s.Routers[0].DownAdverts = 20
		return s
	}
	a, _ := s.start(0, state(200))
	s.held(vips[0], 0, "alone")
	b, _ := s.start(1, state(100))
	s.backup(b, 1)
	s.eventually(func() bool { return s.bound(0) == len(vips) }, "not all addresses are bound")
	s.stays(func() bool { return s.bound(0) == len(vips) && s.bound(1) == 0 }, "not all addresses are bound any more")
	begin := time.Now()
	terminate(t, a)
	s.eventually(func() bool { return s.bound(1) == len(vips) }, "the other node has not taken over all addresses")
	t.Logf("measured: release_of_255_addresses=%v target=250ms", time.Since(begin))
	for _, vip := range []netip.Addr{vips[0], vips[len(vips)-1]} {
		s.held(vip, 1, "after the release")
	}
	if strings.Contains(b.Output(), "not bound") {
		t.Errorf("not everything could be bound\n%s", b.Output())
	}
}

// many gives the hosts addresses of a large prefix, and returns 255 VIPs of it.
func (s segment) many() (vips []netip.Addr) {
	for i, h := range s.Hosts {
		h.Run("ip", "addr", "add", fmt.Sprintf("10.4.255.%d/16", i+1), "dev", "eth0")
	}
	for i := range 255 {
		vips = append(vips, netip.AddrFrom4([4]byte{10, 4, 1, byte(i)}))
	}
	return vips
}

// bound is how many of them a host has.
func (s segment) bound(i int) int {
	return strings.Count(s.Hosts[i].Run("ip", "-4", "-o", "addr", "show", "dev", "eth0"), " 10.4.1.")
}

// Every VRID of an interface in use, with one VIP each.
func TestNetnsManyRouters(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 2)
	vips := s.many()
	state := func(priority uint8) desired.State {
		s := desired.State{}
		for i, vip := range vips {
			s.Routers = append(s.Routers, routerOf(uint8(i+1), vip))
		}
		return prioritized(s, priority)
	}
	backup := func(i int, priority uint8) *netnstest.Process {
		p, _ := s.start(i, state(priority))
		s.eventually(func() bool { return strings.Count(p.Output(), "Initialize -> Backup") == len(vips) }, "not every router became Backup")
		return p
	}
	a, _ := s.start(0, state(200))
	s.eventually(func() bool { return s.bound(0) == len(vips) }, "not all addresses are bound")
	b := backup(1, 100)
	begin := time.Now()
	a.Kill()
	s.eventually(func() bool { return s.bound(1) == len(vips) }, "the other node has not taken over all addresses")
	t.Logf("measured: takeover_of_255_routers_after_killed=%v target=700ms", time.Since(begin))
	s.eventually(func() bool { return s.bound(0) == 0 }, "the leases of the killed daemon have not ended")
	backup(0, 200)
	begin = time.Now()
	terminate(t, b)
	s.eventually(func() bool { return s.bound(0) == len(vips) }, "the other node has not taken over all addresses")
	t.Logf("measured: release_of_255_routers=%v target=250ms", time.Since(begin))
}

// Two virtual routers on one interface share the work, and each takes the
// other's part when a node goes.
func TestNetnsTwoRouters(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 2)
	state := func(first, second uint8) desired.State {
		s := statesOf(routerOf(50, vipA), routerOf(51, vipB))
		s.Routers[0].Priority, s.Routers[1].Priority = first, second
		s.Routers[0].Preempt, s.Routers[1].Preempt = true, true
		return s
	}
	a, _ := s.start(0, state(200, 100))
	s.start(1, state(100, 200))
	s.held(vipA, 0, "its first router")
	s.held(vipB, 1, "its second router")
	if err := a.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.held(vipA, 1, "the other node is gone")
	s.held(vipB, 1, "the other node is gone")
	s.start(0, state(200, 100))
	s.held(vipA, 0, "it is back")
	s.held(vipB, 1, "it is back")
}
