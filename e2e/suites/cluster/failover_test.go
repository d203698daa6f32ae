package cluster

import (
	"flag"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// runs is the number of failovers that a test of one makes. make bench measures more.
var runs = flag.Int("cluster.runs", 2, "number of failovers of each kind")

// silenceTarget is how long a node may answer for a VIP without its daemon: the kernel's
// answers depend on pulses that only a healthy Master sends.
const silenceTarget = 600 * time.Millisecond

// silenceBound is what fails a test: that answers end with the lease of the address is
// not enough. Finding the process to kill is part of what is measured.
const silenceBound = 2 * time.Second

// TestClusterCrash cuts the power of the Master.
func TestClusterCrash(t *testing.T) {
	s, master := install(t, &nftables)
	var outages, returns []time.Duration
	for i := range *runs {
		f, err := s.CrashMasterAndPowerOn(t.Context(), notOn[master], master, baseVIPs())
		if err != nil {
			t.Fatal(err)
		}
		report(t, "crash", i, *runs, f)
		outages, returns = append(outages, f.Outage), append(returns, f.Return)
		// The node that came back holds nothing any more.
		checkHolder(t, s, f.To)
		if master = settle(t, s); master != f.To {
			t.Fatalf("Master went from %s on to %s", f.To, master)
		}
	}
	measuredAll(t, "crash_failover_ms", outages, scenario.CrashTarget)
	measuredAll(t, "crash_return_ms", returns, scenario.GracefulTarget)
}

// TestClusterPodDeleted deletes the pod of the daemon that is Master.
func TestClusterPodDeleted(t *testing.T) {
	s, master := install(t, &nftables)
	var outages, returns []time.Duration
	for i := range *runs {
		f, err := s.DeleteMasterPodAndReturn(t.Context(), vipAll, master, baseVIPs())
		if err != nil {
			t.Fatal(err)
		}
		report(t, "graceful", i, *runs, f)
		outages, returns = append(outages, f.Outage), append(returns, f.Return)
		checkHolder(t, s, f.To)
		master = f.To
	}
	measuredAll(t, "graceful_failover_ms", outages, scenario.GracefulTarget)
	measuredAll(t, "graceful_return_ms", returns, scenario.GracefulTarget)
}

// TestClusterRollingUpdate replaces the daemon of every node, one after the other.
func TestClusterRollingUpdate(t *testing.T) {
	s, _ := install(t, &nftables)
	p, err := probe.Start(s.NetNS("client"), netip.AddrPortFrom(vipAll, 80), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	progress(t, "updating the DaemonSet")
	for _, args := range [][]string{
		{"rollout", "restart", "daemonset/kube-vrrp-vip"},
		{"rollout", "status", "daemonset/kube-vrrp-vip", "--timeout=180s"},
	} {
		if _, err := s.Kubectl(t.Context(), "", append([]string{"--namespace=" + scenario.Namespace}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, s)
	stopProbe(t, p, "rolling_update_outage_ms", len(s.Nodes()))
}

// TestClusterDaemonKilled kills the daemon that is Master and leaves its node alone,
// with the VIPs bound.
func TestClusterDaemonKilled(t *testing.T) {
	testSignal(t, syscall.SIGKILL, "daemon_killed")
}

// TestClusterDaemonHangs stops the daemon that is Master, and lets it go on when others
// have taken over.
func TestClusterDaemonHangs(t *testing.T) {
	testSignal(t, syscall.SIGSTOP, "daemon_hangs")
}

func testSignal(t *testing.T, sig syscall.Signal, name string) {
	t.Helper()
	s, master := install(t, &nftables)
	var outages, returns, stale []time.Duration
	for i := range *runs {
		f, err := s.SignalMaster(t.Context(), vipAll, master, baseVIPs(), sig)
		if err != nil {
			t.Fatal(err)
		}
		report(t, name, i, *runs, f)
		outages, returns, stale = append(outages, f.Outage), append(returns, f.Return), append(stale, f.Stale)
		checkHolder(t, s, f.To)
		master = f.To
	}
	measuredAll(t, name+"_failover_ms", outages, scenario.CrashTarget)
	measuredAll(t, name+"_return_ms", returns, scenario.GracefulTarget)
	measuredStale(t, name, stale)
}

func measuredStale(t *testing.T, name string, stale []time.Duration) {
	t.Helper()
	s := scenario.Summarize(stale)
	t.Logf("measured: %s_stale_holder_ms=%s target=%d", name, s, silenceTarget.Milliseconds())
	if s.Max > silenceBound {
		t.Errorf("a node without its daemon answered for the VIP for %s", s.Max)
	}
}

func report(t *testing.T, what string, run, runs int, f scenario.Failover) {
	t.Helper()
	progress(t, "%s %d of %d, %s to %s: outage %d ms, %d ms at its return, stale for %d ms", what, run+1, runs,
		f.From, f.To, f.Outage.Milliseconds(), f.Return.Milliseconds(), f.Stale.Milliseconds())
	t.Log(f.Probe)
}

// checkHolder requires that nobody but a node answers for a VIP.
func checkHolder(t *testing.T, s *scenario.Site, node string) {
	t.Helper()
	holders, err := s.Holders(t.Context(), vipAll)
	if err != nil || len(holders) != 1 || holders[0] != s.MAC(node).String() {
		t.Errorf("holders %v, %v; want that of %s", holders, err, node)
	}
}
