package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterKubelet kills the kubelet of a node that holds VIPs, of both families: the
// one in its place finds them on the node's interface, and they are not the node's.
func TestClusterKubelet(t *testing.T) {
	s, _ := install(t, &nftables)
	vips := baseVIPs()
	if s.Addr6("client").IsValid() {
		vips = append(vips, netip.MustParseAddr("fd89::200"))
		if err := s.SetEntry(t.Context(), "fd89--200", ""); err != nil {
			t.Fatal(err)
		}
	}
	p, err := probe.Start(s.NetNS("client"), netip.AddrPortFrom(vipAll, 80), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	// The two families may have different Masters.
	holders := slices.Sorted(maps.Values(spread(t, s, vips)))
	for _, node := range slices.Compact(holders) {
		before := addressesOf(t, s, node)
		progress(t, "killing the kubelet of %s, %s", node, before)
		began := time.Now()
		if err := s.SignalProgram(node, "kubelet", syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another kubelet reports that "+node+" is Ready", func(ctx context.Context) error { return reported(ctx, s, node, began) })
		measured(t, "kubelet_back_ms", time.Since(began), 10*time.Second)
		if after := addressesOf(t, s, node); after != before {
			t.Errorf("addresses of %s: %s, before: %s", node, after, before)
		}
	}
	stopProbe(t, p, "kubelet_killed_outage_ms", 0)
}

// reported returns an error unless a kubelet has said after a time that its node is
// Ready.
func reported(ctx context.Context, s *scenario.Site, node string, after time.Time) error {
	out, err := s.Kubectl(ctx, "", "get", "node", node,
		`--output=jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}`)
	if err != nil {
		return err
	}
	status, at, _ := strings.Cut(out, " ")
	heartbeat, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return err
	}
	// It is in whole seconds.
	if status != "True" || !heartbeat.After(after) {
		return fmt.Errorf("Ready: %s", out)
	}
	return nil
}

// addressesOf returns those of a Node object, "TYPE=ADDRESS TYPE=ADDRESS ".
func addressesOf(t *testing.T, s *scenario.Site, node string) string {
	t.Helper()
	out, err := s.Kubectl(t.Context(), "", "get", "node", node, "--output=jsonpath={range .status.addresses[*]}{.type}={.address} {end}")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestClusterShutDown shuts the Master's node down in order.
func TestClusterShutDown(t *testing.T) {
	s, master := install(t, &nftables)
	f, err := s.ShutDownMasterAndPowerOn(t.Context(), notOn[master], master, baseVIPs())
	if err != nil {
		t.Fatal(err)
	}
	report(t, "shutdown", 0, 1, f)
	measured(t, "shutdown_failover_ms", f.Outage, scenario.GracefulTarget)
	measured(t, "shutdown_return_ms", f.Return, scenario.GracefulTarget)
	checkHolder(t, s, f.To)
	checkReason(t, s, f.To, "masterResigned")
}

// checkReason requires that a node became Master for a reason.
func checkReason(t *testing.T, s *scenario.Site, node, reason string) {
	t.Helper()
	st, err := s.Status(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	if r := st.Engine.Routers[0]; r.State != "Master" || r.Reason != reason {
		t.Errorf("%s is %s: %s; want Master: %s", node, r.State, r.Reason, reason)
	}
}

// TestClusterOutOfMemory has the kernel kill the daemon that is Master for want of
// memory.
func TestClusterOutOfMemory(t *testing.T) {
	s, master := install(t, &nftables)
	f, err := s.StarveMaster(t.Context(), vipAll, master, baseVIPs())
	if err != nil {
		t.Fatal(err)
	}
	report(t, "out of memory", 0, 1, f)
	measured(t, "out_of_memory_failover_ms", f.Outage, scenario.CrashTarget)
	measured(t, "out_of_memory_return_ms", f.Return, scenario.GracefulTarget)
	checkHolder(t, s, f.To)
	eventually(t, "the pod of "+master+" tells why", func(ctx context.Context) error {
		pod, err := s.Pod(ctx, master)
		if err != nil {
			return err
		}
		out, err := s.Kubectl(ctx, "", "--namespace="+scenario.Namespace, "get", "pod", pod.Name,
			"--output=jsonpath={.status.containerStatuses[0].lastState.terminated.reason} {.status.containerStatuses[0].lastState.terminated.exitCode}")
		if err == nil && out != "OOMKilled 137" {
			err = errors.New(out)
		}
		return err
	})
}
