package neighbor_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/neighbor"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// gated is a node with an interface in each of two LANs and VIPs that it answers
// for on the first one.
type gated struct {
	t                    *testing.T
	lan                  *netnstest.LAN
	client, node, second *netnstest.NS
	neighbors            *neighbor.Tables
	heartbeats           *lan.HeartbeatSocket
}

func newGated(t *testing.T) *gated {
	t.Helper()
	first, second := netnstest.NewLAN(t, 2), netnstest.NewLAN(t, 1)
	g := &gated{t: t, lan: first, client: first.Hosts[0], node: first.Hosts[1], second: second.Hosts[0], neighbors: neighbor.New(true)}
	second.Connect(g.node, "eth1", "node")
	for _, ns := range []*netnstest.NS{g.client, g.second} {
		ns.Sysctl("net.ipv4.neigh.eth0.retrans_time_ms", "50")
		ns.Sysctl("net.ipv6.neigh.eth0.retrans_time_ms", "50")
		ns.Run("ip", "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	}
	g.second.Run("ip", "addr", "add", "198.51.100.1/24", "dev", "eth0")
	g.node.Run("ip", "addr", "add", "198.51.100.2/24", "dev", "eth1")
	g.bind("eth0")
	g.node.Run("ip", "addr", "add", plainVIP+"/32", "dev", "eth0", "scope", "link")
	g.node.Do(func() {
		var err error
		if g.heartbeats, err = lan.NewHeartbeatSocket(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.heartbeats.Close() })
	})
	return g
}

// bind puts the VIPs on an interface.
func (g *gated) bind(link string) {
	g.node.Run("ip", "addr", "replace", vip+"/32", "dev", link, "scope", "link")
	g.node.Run("ip", "addr", "replace", vip6+"/128", "dev", link, "nodad", "noprefixroute", "preferred_lft", "0")
}

// set has both VIPs answered for on an interface, by routers 50 of interface 2.
func (g *gated) set(link string) {
	g.t.Helper()
	g.node.Do(func() {
		if err := g.neighbors.Set(map[netip.Addr]desired.Answer{
			netip.MustParseAddr(vip):  {Interface: link, Pulse: desired.NewPulse(2, false, 50)},
			netip.MustParseAddr(vip6): {Interface: link, Pulse: desired.NewPulse(2, true, 50)},
		}); err != nil {
			g.t.Fatal(err)
		}
	})
}

// pulse sends a pulse of each family.
func (g *gated) pulse() {
	g.t.Helper()
	for _, ipv6 := range []bool{false, true} {
		if err := g.heartbeats.SendHeartbeat(desired.NewPulse(2, ipv6, 50)); err != nil {
			g.t.Fatal(err)
		}
	}
}

// await waits for the sets to have so many elements.
func (g *gated) await(set string, want int) {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		text := g.node.Run("nft", "list", "set", "netdev", "kube_vrrp_vip", set)
		got := strings.Count(text, "expires")
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("%d elements in %s, want %d:\n%s", got, set, want, text)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (g *gated) check(when string, ns *netnstest.NS, want bool, addresses ...string) {
	g.t.Helper()
	for _, a := range addresses {
		if got := ns.Resolves(a); got != want {
			g.t.Errorf("%s: %s answered for: %t, want %t\n%s", when, a, got, want, g.node.Run("nft", "list", "table", "netdev", "kube_vrrp_vip"))
		}
	}
}

// TestNetnsGate lets the pulses begin and cease.
func TestNetnsGate(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.set("eth0")
	g.check("no pulse yet", g.client, true, vip, vip6)

	g.pulse()
	g.await("alive", 2)
	g.await("watched", 2)
	pulsing := func(when string, ns *netnstest.NS, addresses ...string) {
		t.Helper()
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for tick := time.NewTicker(50 * time.Millisecond); ; {
				select {
				case <-stop:
					tick.Stop()
					return
				case <-tick.C:
					_ = g.heartbeats.SendHeartbeat(desired.NewPulse(2, false, 50))
					_ = g.heartbeats.SendHeartbeat(desired.NewPulse(2, true, 50))
				}
			}
		}()
		g.check(when, ns, true, addresses...)
		close(stop)
		<-done
	}
	pulsing("pulses", g.client, vip, vip6)

	g.await("alive", 0)
	g.check("pulses have ceased", g.client, false, vip, vip6)
	g.check("no VIP", g.client, true, plainVIP, g.lan.Addr(1).String())
	// The questions that another interface has for them are none of the gate's:
	// as a tagged one passes that of the trunk first.
	g.node.Run("ip", "addr", "add", vip6+"/128", "dev", "eth1", "nodad", "noprefixroute", "preferred_lft", "0")
	g.check("another interface", g.second, true, vip6, "198.51.100.2")

	pulsing("pulses again", g.client, vip, vip6)

	// For good: nothing is watched any more.
	g.await("watched", 0)
	g.check("no pulses for long", g.client, true, vip, vip6)
}

// TestNetnsGateChanges has the table adopted, changed and made anew: what is
// alive stays so, and what has to begin anew is answered for.
func TestNetnsGateChanges(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.set("eth0")
	silence := func(when string) {
		t.Helper()
		g.pulse()
		g.await("alive", 0)
		g.check(when, g.client, false, vip, vip6)
	}
	silence("at first")

	g.neighbors = neighbor.New(true)
	g.set("eth0")
	g.await("watched", 2)
	silence("adopted")

	g.node.Run("nft", "flush", "ruleset")
	g.check("gone", g.client, true, vip, vip6)
	g.set("eth0")
	g.check("repaired", g.client, true, vip, vip6)
	if got := g.neighbors.GateRepairs(); got != 1 {
		t.Errorf("%d repairs, want 1", got)
	}
	silence("repaired and pulsed")

	// An interface that is not there does not cost the others their gate.
	g.node.Do(func() {
		if err := g.neighbors.Set(map[netip.Addr]desired.Answer{
			netip.MustParseAddr(vip):         {Interface: "eth0", Pulse: desired.NewPulse(2, false, 50)},
			netip.MustParseAddr(vip6):        {Interface: "eth0", Pulse: desired.NewPulse(2, true, 50)},
			netip.MustParseAddr("192.0.2.9"): {Interface: "none0", Pulse: desired.NewPulse(9, false, 50)},
		}); err != nil {
			t.Fatal(err)
		}
	})
	silence("beside an interface that is not there")

	// The interface goes, with its chain, and comes again.
	repairs := g.neighbors.GateRepairs()
	g.node.Run("ip", "link", "del", "eth1")
	g.set("eth0")
	g.node.Run("ip", "link", "add", "eth1", "type", "bridge")
	g.set("eth1")
	g.node.Run("ip", "link", "del", "eth1")
	g.node.Run("ip", "link", "add", "eth1", "type", "bridge")
	g.set("eth1")
	if text := g.node.Run("nft", "list", "chain", "netdev", "kube_vrrp_vip", "gate_eth1"); !strings.Contains(text, `device "eth1"`) {
		t.Errorf("the interface that came again has\n%s", text)
	}

	// Interfaces change their names.
	g.node.Run("ip", "link", "del", "eth1")
	g.node.Run("ip", "link", "set", "eth0", "down")
	g.node.Run("ip", "link", "set", "eth0", "name", "eth1")
	g.node.Run("ip", "link", "set", "eth1", "up")
	g.bind("eth1")
	g.set("eth1")
	silence("renamed")
	if got := g.neighbors.GateRepairs(); got != repairs {
		t.Errorf("%d repairs, want %d", got, repairs)
	}

	// Without pulses for anything there is no gate, and no chain for it.
	g.node.Do(func() {
		if err := g.neighbors.Set(map[netip.Addr]desired.Answer{netip.MustParseAddr(vip): {Interface: "eth1"}}); err != nil {
			t.Fatal(err)
		}
	})
	g.check("without pulse", g.client, true, vip, vip6)
	if text := g.node.Run("nft", "list", "table", "netdev", "kube_vrrp_vip"); strings.Contains(text, "gate_") {
		t.Errorf("a chain is left:\n%s", text)
	}
}

// TestNetnsGateOnMacvlan has the VIPs on a link with another MAC, which is told
// of before it is there and is made anew.
func TestNetnsGateOnMacvlan(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	for _, a := range []string{vip + "/32", vip6 + "/128"} {
		g.node.Run("ip", "addr", "del", a, "dev", "eth0")
	}
	g.set("vip0")
	for _, when := range []string{"made", "made anew"} {
		g.node.Run("ip", "link", "add", "vip0", "link", "eth0", "address", "00:00:5e:00:01:32", "type", "macvlan", "mode", "bridge")
		g.node.Sysctl("net.ipv4.conf.vip0.arp_ignore", "1")
		g.node.Run("ip", "link", "set", "vip0", "up")
		g.bind("vip0")
		g.set("vip0")
		g.await("watched", 0)
		g.check(when, g.client, true, vip, vip6)
		g.pulse()
		g.await("alive", 0)
		g.check(when+", pulses have ceased", g.client, false, vip, vip6)
		g.check(when+", no VIP", g.client, true, plainVIP, g.lan.Addr(1).String())
		g.node.Run("ip", "link", "del", "vip0")
	}
	if got := g.neighbors.GateRepairs(); got != 0 {
		t.Errorf("%d repairs, want none", got)
	}
}

// TestNetnsGateIsBounded has more virtual routers pulse than there is room for:
// those without are answered for.
func TestNetnsGateIsBounded(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.set("eth0")
	for i := range 5000 {
		if err := g.heartbeats.SendHeartbeat(uint32(100_000 + i)); err != nil {
			t.Fatal(err)
		}
	}
	g.pulse()
	g.check("no room", g.client, true, vip, vip6)
	for _, set := range []string{"alive", "watched"} {
		text := g.node.Run("nft", "list", "set", "netdev", "kube_vrrp_vip", set)
		if n := strings.Count(text, "expires"); n > 4096 {
			t.Errorf("%d elements in %s", n, set)
		}
		if strings.Contains(text, fmt.Sprintf("0x%08x", desired.NewPulse(2, false, 50))) {
			t.Errorf("there was room in %s", set)
		}
	}
}
