package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterSpread has the VIPs in several virtual routers, and moves them with a
// node's priority and with a VRID of their own.
func TestClusterSpread(t *testing.T) {
	s, _ := install(t, &nftables)
	config, vips := baseConfig(), baseVIPs()
	for _, vip := range []netip.Addr{vipOther, vipOther.Next()} {
		config[vip.String()] = "e2e/all"
		vips = append(vips, vip)
	}
	if err := s.SetConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	reinstall(t, &nftables, "Virtual routers", "--preempt")
	first := byPriority(t, s, vips)
	held := map[string]int{}
	for vip, n := range first {
		held[n]++
		if vrid := vridOn(t, s, n, vip); vrid < 50 || vrid > 57 {
			t.Errorf("%s has VRID %d", vip, vrid)
		}
	}
	t.Logf("VIPs by node: %v", held)
	if len(held) < 2 {
		t.Error("one node is Master of all")
	}
	probes := map[netip.Addr]*probe.Probe{}
	for _, vip := range vips {
		target := netip.AddrPortFrom(vip, 80)
		if err := scenario.Answered(t.Context(), s.NetNS("client"), target, endpoints(s, vip)); err != nil {
			t.Error(err)
		}
		// Six at once are asked less often than one.
		p, err := probe.Start(s.NetNS("client"), target, 10*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Stop()
		probes[vip] = p
	}

	favored := s.Nodes()[0]
	for _, n := range s.Nodes() {
		if held[n] < held[favored] {
			favored = n
		}
	}
	progress(t, "moving all VIPs to %s", favored)
	t.Cleanup(func() {
		if err := s.Annotate(context.Background(), favored, 0); err != nil {
			t.Error(err)
		}
	})
	began := time.Now()
	if err := s.Annotate(t.Context(), favored, 254); err != nil {
		t.Fatal(err)
	}
	onFavored := func(ctx context.Context) error {
		holders, err := s.Spread(ctx, vips)
		for _, vip := range vips {
			if err == nil && holders[vip] != favored {
				err = fmt.Errorf("%s is on %s", vip, holders[vip])
			}
		}
		return err
	}
	eventually(t, "all VIPs on "+favored, onFavored)
	st, err := s.Status(t.Context(), favored)
	if err != nil {
		t.Fatal(err)
	}
	var moved time.Duration
	for _, r := range st.Engine.Routers {
		moved = max(moved, r.Since.Sub(began))
	}
	measured(t, "priority_to_all_moved_ms", moved, time.Second)
	answerAgain(t, probes)
	var outages []time.Duration
	for vip, p := range probes {
		if first[vip] != favored {
			outages = append(outages, p.Snapshot().OutageAfter(began))
		}
	}
	measuredAll(t, "preempt_outage_ms", outages, scenario.GracefulTarget)

	progress(t, "giving %s a VRID of its own", vipOther)
	began = time.Now()
	if err := s.SetEntry(t.Context(), vipOther.String(),
		fmt.Sprintf("{addresses: [%s], services: [{name: e2e/all}], vrid: 60}", vipOther)); err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes() {
		eventually(t, "VRID 60 on "+n, func(context.Context) error {
			if vrid := vridOn(t, s, n, vipOther); vrid != 60 {
				return fmt.Errorf("it has VRID %d", vrid)
			}
			return nil
		})
	}
	eventually(t, "all VIPs on "+favored+" again", onFavored)
	answerAgain(t, probes)
	for vip, p := range probes {
		outage := p.Snapshot().OutageAfter(began)
		if vip == vipOther {
			measured(t, "vrid_change_outage_ms", outage, scenario.CrashTarget)
		} else if outage > scenario.Bound(scenario.GracefulTarget) {
			t.Errorf("%s: outage %s while another VIP got its VRID", vip, outage)
		}
	}
	for _, p := range probes {
		t.Log(p.Stop())
	}

	if err := s.Annotate(t.Context(), favored, 0); err != nil {
		t.Fatal(err)
	}
	byPriority(t, s, vips)
}

// byPriority waits until each VIP is on the node with the highest priority in its
// virtual router, or on one of them, and returns these nodes.
func byPriority(t *testing.T, s *scenario.Site, vips []netip.Addr) (holders map[netip.Addr]string) {
	t.Helper()
	eventually(t, "VIPs by priority", func(ctx context.Context) (err error) {
		if holders, err = s.Spread(ctx, vips); err != nil {
			return err
		}
		highest := map[int]int{}
		of := map[netip.Addr]scenario.Router{}
		for _, n := range s.Nodes() {
			st, err := s.Status(ctx, n)
			if err != nil {
				return err
			}
			for _, r := range st.Engine.Routers {
				if r.Priority == 254 {
					return fmt.Errorf("VRID %d of %s still has the annotation's priority", r.VRID, n)
				}
				highest[r.VRID] = max(highest[r.VRID], r.Priority)
				for _, v := range r.VIPs {
					if holders[v.Address] == n {
						of[v.Address] = r
					}
				}
			}
		}
		for _, vip := range vips {
			if r := of[vip]; r.Priority != highest[r.VRID] {
				return fmt.Errorf("%s is on %s with VRID %d and priority %d, another has %d",
					vip, holders[vip], r.VRID, r.Priority, highest[r.VRID])
			}
		}
		return nil
	})
	return holders
}

// endpoints returns the nodes with endpoints of a VIP's Service.
func endpoints(s *scenario.Site, vip netip.Addr) []string {
	for n, other := range notOn {
		if other == vip {
			return s.EchoServices()["not-"+n]
		}
	}
	return s.Nodes()
}

// answerAgain waits until all are answered once more.
func answerAgain(t *testing.T, probes map[netip.Addr]*probe.Probe) {
	t.Helper()
	for vip, p := range probes {
		eventually(t, vip.String()+" answers", func(ctx context.Context) error {
			return p.WaitSuccesses(ctx, 20)
		})
	}
}

// vridOn returns the VRID that a VIP has on a node; 0 if it has none.
func vridOn(t *testing.T, s *scenario.Site, node string, vip netip.Addr) int {
	t.Helper()
	st, err := s.Status(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range st.Engine.Routers {
		for _, v := range r.VIPs {
			if v.Address == vip {
				return r.VRID
			}
		}
	}
	return 0
}
