package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
)

// Each fault of an interface is the one of its virtual router, at once, and
// ends by itself. The other virtual router loses nothing.
func TestNetnsLinkFaults(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 1)
	n := s.Hosts[0]
	s.Connect(n, "eth1", "q0")
	n.Run("ip", "addr", "add", "198.51.100.1/24", "dev", "eth1")
	state := statesOf(routerOf(50, vipC), routerOf(51, vipA))
	p, _ := s.start(0, state)
	up := func() bool {
		return strings.Contains(n.Run("ip", "-o", "addr", "show"), vipC.String()+"/32")
	}
	s.held(vipA, 0, "alone")
	s.eventually(up, "eth1's address is not bound")
	r := s.record(0)
	for _, fault := range []struct {
		name       string
		reason     desired.Reason
		begin, end []string
	}{
		{"down", desired.FaultLinkDown, []string{"link set eth1 down"}, []string{"link set eth1 up"}},
		// The VIP moves to the interface of the node's address then, to another
		// virtual router.
		{"address_gone", "shutdown", []string{"addr del 198.51.100.1/24 dev eth1"}, []string{"addr add 198.51.100.1/24 dev eth1"}},
		{"renamed", "shutdown", []string{"link set eth1 down", "link set eth1 name lan1", "link set lan1 up"}, []string{"link set lan1 down", "link set lan1 name eth1", "link set eth1 up"}},
	} {
		do := func(commands []string) {
			for _, c := range commands {
				n.Run("ip", strings.Fields(c)...)
			}
		}
		masters := strings.Count(p.Output(), "transition of 50: Backup -> Master")
		told := strings.Count(p.Output(), "transition of 50: Master -> Initialize ("+string(fault.reason)+")")
		begin := time.Now()
		do(fault.begin)
		s.eventually(func() bool {
			return strings.Count(p.Output(), "transition of 50: Master -> Initialize ("+string(fault.reason)+")") > told
		}, "%s was not noticed", fault.name)
		t.Logf("measured: link_%s_to_fault=%v target=100ms", fault.name, time.Since(begin))
		begin = time.Now()
		do(fault.end)
		s.eventually(func() bool { return strings.Count(p.Output(), "transition of 50: Backup -> Master") > masters && up() }, "%s did not heal", fault.name)
		t.Logf("measured: link_%s_healed=%v target=4s", fault.name, time.Since(begin))
	}
	if slices.Contains(r.gone(t), vipA) || strings.Count(p.Output(), "transition of 51:") != 2 {
		t.Errorf("the virtual router of eth0 has lost something:\n%s", p.Output())
	}
}

// A cable that goes in and out keeps its node from taking part, and never
// brings the address back to it.
func TestNetnsFlappingLink(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 2)
	a, b := s.pair()
	begin := time.Now()
	s.Cut(0)
	s.eventually(func() bool {
		return strings.Contains(a.Output(), "Master -> Initialize ("+string(desired.FaultNoCarrier)+")")
	}, "the fault was not noticed")
	t.Logf("measured: no_carrier_to_fault=%v target=100ms", time.Since(begin))
	s.held(vipA, 1, "the cable is out")
	begin = time.Now()
	s.Restore(0)
	s.backup(a, 2)
	t.Logf("measured: first_recovery=%v target=100ms", time.Since(begin))
	for i := 2; i <= flapFaults; i++ {
		s.Cut(0)
		s.eventually(func() bool { return strings.Count(a.Output(), "("+string(desired.FaultNoCarrier)+")") >= i }, "fault %d was not noticed", i)
		begin = time.Now()
		s.Restore(0)
		if i < flapFaults {
			s.backup(a, i+1)
		}
	}
	s.eventually(func() bool { return strings.Contains(a.Output(), "("+string(desired.FaultLinkFlapping)+")") }, "the flapping was not told")
	s.backup(a, flapFaults+1)
	waited := time.Since(begin)
	t.Logf("measured: recovery_of_a_flapping_link=%v target=1s", waited)
	if waited < retryMin {
		t.Errorf("started %v after the link came back, want at least %v", waited, retryMin)
	}
	s.held(vipA, 1, "the flapping is over")
	if n := strings.Count(b.Output(), "transition"); n != 2 {
		t.Errorf("%d transitions of the node that serves, want the two of its start and takeover\n%s", n, b.Output())
	}
}

// A VIP follows the first of its interfaces that exists, as links come, go, and
// come back with another index, and one on a bridge stays. The VIP of another
// interface loses nothing.
func TestNetnsVIPFollowsItsInterface(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 1)
	n := s.Hosts[0]
	for _, c := range []string{
		"link add br0 type bridge", "link set br0 up", "addr add 198.51.100.1/24 dev br0",
		"link add port0 type veth peer name port1", "link set port0 master br0", "link set port0 up", "link set port1 up",
	} {
		n.Run("ip", strings.Fields(c)...)
	}
	moving := routerOf(50, vipC)
	moving.VIPs[0].Interfaces = []string{"lan1", "br0"}
	p, _ := s.start(0, statesOf(moving, routerOf(51, vipA)))
	on := func(link string) {
		t.Helper()
		begin := time.Now()
		s.eventually(func() bool {
			shown := n.Run("ip", "-o", "-4", "addr", "show")
			return strings.Count(shown, vipC.String()+"/32") == 1 && strings.Contains(shown, link+"    inet "+vipC.String()+"/32")
		}, "%s is not on %s", vipC, link)
		t.Logf("measured: vip_on_%s=%v target=4s", link, time.Since(begin))
	}
	on("br0")
	s.held(vipA, 0, "alone")
	r := s.record(0)
	for i := range 2 {
		port := string(rune('q' + i))
		s.Connect(n, "lan1", port)
		n.Run("ip", "addr", "add", "198.51.100.2/32", "dev", "lan1")
		on("lan1")
		n.Run("ip", "link", "del", "lan1")
		on("br0")
	}
	if slices.Contains(r.gone(t), vipA) || strings.Count(p.Output(), "transition of 51:") != 2 {
		t.Errorf("the virtual router of eth0 has lost something:\n%s", p.Output())
	}
}
