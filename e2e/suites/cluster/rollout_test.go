package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterRollback rolls out a version that does not start, and takes it back.
func TestClusterRollback(t *testing.T) {
	s, _ := install(t, &nftables)
	p, err := probe.Start(s.NetNS("client"), netip.AddrPortFrom(vipAll, 80), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	kubectl := func(args ...string) {
		t.Helper()
		if _, err := s.Kubectl(t.Context(), "", append([]string{"--namespace=" + scenario.Namespace}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	progress(t, "rolling out a version that does not start")
	// The next test begins with the manifests as they are, whatever becomes of this one.
	nftables.patched = true
	kubectl("patch", "daemonset", "kube-vrrp-vip", "--type=json",
		`--patch=[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--no-such-flag"}]`)
	eventually(t, "one daemon does not start", func(ctx context.Context) error {
		pods, err := s.Pods(ctx, scenario.Namespace, "app.kubernetes.io/name=kube-vrrp-vip")
		if err != nil {
			return err
		}
		ready := 0
		for _, p := range pods {
			if p.Ready {
				ready++
			}
		}
		if failing := slices.ContainsFunc(pods, func(p scenario.Pod) bool { return p.Restarts > 0 && !p.Ready }); !failing || ready != len(s.Nodes())-1 {
			return fmt.Errorf("%+v", pods)
		}
		return nil
	})
	progress(t, "taking it back")
	kubectl("rollout", "undo", "daemonset/kube-vrrp-vip")
	nftables.patched = false
	settled(t, s)
	stopProbe(t, p, "rollback_outage_ms", 1)
}

// TestClusterTermination deletes the pod of the daemon that is Master, which ends within
// its grace period; and again with --release-vips=false, where others have to find out.
func TestClusterTermination(t *testing.T) {
	s, master := install(t, &nftables)
	next, _, _ := terminate(t, s, master, "termination")
	checkReason(t, s, next, "masterResigned")

	progress(t, "installing with --release-vips=false")
	nftables.patched = true
	if err := s.Reinstall(t.Context(), `
patches:
  - target: {kind: DaemonSet, name: kube-vrrp-vip}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --release-vips=false}
`); err != nil {
		t.Fatal(err)
	}
	master = settled(t, s)
	next, outage, stale := terminate(t, s, master, "unreleased_termination")
	checkReason(t, s, next, "masterDown")
	measured(t, "unreleased_failover_ms", outage, scenario.CrashTarget)
	measuredStale(t, "unreleased", []time.Duration{stale})
}

// settled is settle without asking everybody for answers.
func settled(t *testing.T, s *scenario.Site) (master string) {
	t.Helper()
	master, err := s.Settled(t.Context(), baseVIPs())
	if err != nil {
		t.Fatal(err)
	}
	return master
}

// terminate deletes the pod of the daemon that is Master and returns the next one, how
// long the client was without an answer, and for how long the node went on answering
// for the VIP.
func terminate(t *testing.T, s *scenario.Site, master, name string) (next string, outage, stale time.Duration) {
	t.Helper()
	pod, err := s.Pod(t.Context(), master)
	if err != nil {
		t.Fatal(err)
	}
	// It is there for as long as the daemon's process.
	process, err := s.PodNetNS(t.Context(), master, scenario.Namespace, pod.Name, pod.Container)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Kubectl(t.Context(), "", "--namespace="+scenario.Namespace, "get", "pod", pod.Name, "--output=jsonpath={.spec.terminationGracePeriodSeconds}")
	if err != nil {
		t.Fatal(err)
	}
	grace, err := strconv.Atoi(out)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := probe.StartWatch(s.NetNS("client"), "eth0", 20*time.Millisecond, vipAll)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	p, err := probe.Start(s.NetNS("client"), netip.AddrPortFrom(vipAll, 80), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	began := time.Now()
	if _, err := s.Kubectl(t.Context(), "", "--namespace="+scenario.Namespace, "delete", "pod", pod.Name, "--wait=false"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon's process ends", func(context.Context) error {
		if _, err := os.Stat(process); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", process, err)
		}
		return nil
	})
	ended := time.Now()
	measured(t, name+"_ms", ended.Sub(began), 3*time.Second)
	if took := ended.Sub(began); took > time.Duration(grace)*time.Second {
		t.Errorf("the process ended after %s, its grace period is %d s", took, grace)
	}
	next = settled(t, s)
	if next == master {
		t.Fatalf("the VIPs stayed on %s", master)
	}
	for _, span := range watch.Spans(vipAll, ended) {
		if slices.Contains(span.Holders, s.MAC(master).String()) {
			stale = span.To.Sub(ended)
		}
	}
	r := p.Stop()
	t.Log(r)
	return next, r.OutageAfter(began), stale
}
