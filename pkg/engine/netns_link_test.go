package engine

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Each fault of an interface is the one of its virtual router, at once, and
// ends by itself. The other virtual router loses nothing.
func TestNetnsLinkFaults(t *testing.T) {
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
		name, reason string
		begin, end   []string
	}{
		{"down", faultLinkDown, []string{"link set eth1 down"}, []string{"link set eth1 up"}},
		// The VIP has no interface then, and its virtual router is no more.
		{"address_gone", "shutdown", []string{"addr del 198.51.100.1/24 dev eth1"}, []string{"addr add 198.51.100.1/24 dev eth1"}},
		{"renamed", "shutdown", []string{"link set eth1 down", "link set eth1 name lan1", "link set lan1 up"}, []string{"link set lan1 down", "link set lan1 name eth1", "link set eth1 up"}},
	} {
		do := func(commands []string) {
			for _, c := range commands {
				n.Run("ip", strings.Fields(c)...)
			}
		}
		masters := strings.Count(p.Output(), "transition of 50: Backup -> Master")
		told := strings.Count(p.Output(), "transition of 50: Master -> Initialize ("+fault.reason+")")
		begin := time.Now()
		do(fault.begin)
		s.eventually(func() bool {
			return strings.Count(p.Output(), "transition of 50: Master -> Initialize ("+fault.reason+")") > told
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
	s := newSegment(t, 2)
	a, b := s.pair()
	begin := time.Now()
	s.Cut(0)
	s.eventually(func() bool { return strings.Contains(a.Output(), "Master -> Initialize ("+faultNoCarrier+")") }, "the fault was not noticed")
	t.Logf("measured: no_carrier_to_fault=%v target=100ms", time.Since(begin))
	s.held(vipA, 1, "the cable is out")
	begin = time.Now()
	s.Restore(0)
	s.backup(a, 2)
	t.Logf("measured: first_recovery=%v target=100ms", time.Since(begin))
	for i := 2; i <= flapFaults; i++ {
		s.Cut(0)
		s.eventually(func() bool { return strings.Count(a.Output(), "("+faultNoCarrier+")") >= i }, "fault %d was not noticed", i)
		begin = time.Now()
		s.Restore(0)
		if i < flapFaults {
			s.backup(a, i+1)
		}
	}
	s.eventually(func() bool { return strings.Contains(a.Output(), "("+faultLinkFlapping+")") }, "the flapping was not told")
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
