package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

func TestClusterReachability(t *testing.T) {
	s, master := install(t, &nftables)
	checkReachability(t, s, master)
}

// TestClusterIPTables is TestClusterReachability, and a crash, where kube-proxy writes
// iptables.
func TestClusterIPTables(t *testing.T) {
	s, master := install(t, &iptables)
	checkReachability(t, s, master)
	f, err := s.CrashMasterAndPowerOn(t.Context(), notOn[master], master, baseVIPs())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(f.Probe)
	measured(t, "iptables_crash_failover_ms", f.Outage, scenario.CrashTarget)
}

// checkReachability uses a VIP from everywhere: a client that is not of the cluster,
// the nodes themselves and pods, on the node that is Master and on those that are not.
func checkReachability(t *testing.T, s *scenario.Site, master string) {
	t.Helper()
	http, udp := netip.AddrPortFrom(vipAll, 80), netip.AddrPortFrom(vipAll, 81)
	from := func(where, path string) {
		t.Helper()
		if err := scenario.Answered(t.Context(), path, http, s.Nodes()); err != nil {
			t.Errorf("%s: %v", where, err)
		}
		if err := scenario.AnsweredUDP(t.Context(), path, udp, s.Nodes()); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
	from("client", s.NetNS("client"))
	for _, n := range s.Nodes() {
		role := "a Backup"
		if n == master {
			role = "Master"
		}
		from(n+", "+role, s.NetNS(n))
		pod, err := s.EchoPodNetNS(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		from("pod on "+n+", "+role, pod)
	}

	holders, err := s.Holders(t.Context(), vipAll)
	if want := []string{s.MAC(master).String()}; err != nil || !slices.Equal(holders, want) {
		t.Errorf("%s answer for %s by ARP, %v; want %s of %s", holders, vipAll, err, want, master)
	}
	// The ports of the node's own listeners are not the VIP's.
	for _, port := range []uint16{8080, 10250} {
		checkRefused(t, s, netip.AddrPortFrom(vipAll, port))
	}
}

// checkRefused requires a target to refuse the client at once, over TCP and UDP.
func checkRefused(t *testing.T, s *scenario.Site, target netip.AddrPort) {
	t.Helper()
	if err := refused(t.Context(), s, target); err != nil {
		t.Error(err)
	}
}

// refusal is how soon a client is to know that it is refused. An answer takes less
// than a millisecond; a packet that was dropped is sent again after a second. One
// answer of three in that time is enough: the machine may be busy, and a kernel sends
// a host six ICMP errors at once, and then one a second (net.ipv4.icmp_ratelimit).
const refusal = 900 * time.Millisecond

func refused(ctx context.Context, s *scenario.Site, target netip.AddrPort) error {
	asks := map[string]func() (string, error){
		"TCP": func() (string, error) { return probe.Get(ctx, s.NetNS("client"), target) },
		"UDP": func() (string, error) { return probe.UDP(ctx, s.NetNS("client"), target, "who?") },
	}
	for protocol, ask := range asks {
		if err := refusedOnce(ask); err != nil {
			return fmt.Errorf("%s over %s: %w", target, protocol, err)
		}
	}
	return nil
}

func refusedOnce(ask func() (string, error)) error { return refusedWithin(refusal, ask) }

func refusedWithin(most time.Duration, ask func() (string, error)) error {
	var last error
	for range 3 {
		began := time.Now()
		body, err := ask()
		took := time.Since(began)
		if errors.Is(err, syscall.ECONNREFUSED) && took < most {
			return nil
		}
		last = errors.Join(fmt.Errorf("%q after %s; want a refusal within %s", body, took, most), err)
	}
	return last
}
