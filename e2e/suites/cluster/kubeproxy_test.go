package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterWithoutKubeProxy takes kube-proxy from the node that is Master. In its
// place that node's own connections to the ClusterIP are led to a pod, which is what
// those that replace kube-proxy do at the socket; packets from elsewhere are not.
func TestClusterWithoutKubeProxy(t *testing.T) {
	t.Parallel()
	s, master := install(t, &nftables)
	tcp, udp := netip.AddrPortFrom(vipAll, 80), netip.AddrPortFrom(vipAll, 81)
	client := s.NetNS("client")
	// The VIP stays for the minutes that this takes, also on a busy machine.
	alone(t, s, master)

	stopKubeProxy(t, s, master)
	replaceKubeProxy(t, s, master)
	progress(t, "waiting until %s misses kube-proxy", master)
	eventually(t, "Problem on "+master, func(ctx context.Context) error {
		st, err := s.Status(ctx, master)
		if err != nil {
			return err
		}
		for _, p := range st.Problems {
			if strings.Contains(p.Message, "kube-proxy") && strings.Contains(p.Message, "81/UDP") {
				t.Logf("%s: %s", p.Key, p.Message)
				return nil
			}
		}
		return fmt.Errorf("problems: %+v", st.Problems)
	})
	eventually(t, "answer by the daemon's proxy", func(ctx context.Context) error {
		body, err := probe.Get(ctx, client, tcp)
		if err == nil && !slices.Contains(s.NodeAddrs(master, vipAll), clientAddr(body)) {
			err = fmt.Errorf("%q: the client is to be the node", body)
		}
		return err
	})
	if err := refusedOnce(func() (string, error) { return probe.UDP(t.Context(), client, udp, "who?") }); err != nil {
		t.Errorf("UDP: %v", err)
	}

	restoreKubeProxy(t, s, master)
	eventually(t, "kube-proxy is found again", func(ctx context.Context) error {
		st, err := s.Status(ctx, master)
		if err == nil && len(st.Problems) > 0 {
			err = fmt.Errorf("problems: %+v", st.Problems)
		}
		return err
	})
	for _, answered := range []error{
		scenario.Answered(t.Context(), client, tcp, s.Nodes()),
		scenario.AnsweredUDP(t.Context(), client, udp, s.Nodes()),
	} {
		if answered != nil {
			t.Error(answered)
		}
	}
}

// clientAddr is the client's address in an answer; the zero Addr if there is none.
func clientAddr(body string) netip.Addr {
	client, err := netip.ParseAddrPort(probe.Field(body, "client"))
	if err != nil {
		return netip.Addr{}
	}
	return client.Addr()
}

// stopKubeProxy stops a node's kube-proxy and removes its tables, until the test ends.
func stopKubeProxy(t *testing.T, s *scenario.Site, node string) {
	t.Helper()
	if err := s.SignalProgram(node, "kube-proxy", syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return // it is back
		}
		if err := s.SignalProgram(node, "kube-proxy", syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})
	tables, err := s.Exec(t.Context(), node, "nft", "list", "tables")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(tables) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "kube-proxy" {
			if _, err := s.Exec(t.Context(), node, "nft", "delete", "table", f[1], f[2]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// restoreKubeProxy has the node start another kube-proxy, which writes all its tables.
func restoreKubeProxy(t *testing.T, s *scenario.Site, node string) {
	t.Helper()
	if err := s.SignalProgram(node, "kube-proxy", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "tables of kube-proxy", func(ctx context.Context) error {
		tables, err := s.Exec(ctx, node, "nft", "list", "tables")
		if err == nil && !strings.Contains(tables, " kube-proxy\n") {
			err = errors.New(tables)
		}
		return err
	})
}

// replaceKubeProxy leads the node's own connections to the Service "all" to the pod on
// it, and those to "kubernetes" to the API server, until the test ends.
func replaceKubeProxy(t *testing.T, s *scenario.Site, node string) {
	t.Helper()
	pods, err := s.Pods(t.Context(), scenario.EchoNamespace, "app=echo,node="+node)
	if err != nil || len(pods) != 1 {
		t.Fatalf("pods on %s: %+v, %v", node, pods, err)
	}
	ips, err := s.ClusterIPs(t.Context(), scenario.EchoNamespace, "all")
	if err != nil {
		t.Fatal(err)
	}
	loadRules(t, s, node, fmt.Sprintf(`table ip replacement {
	chain output {
		type nat hook output priority -100
		ip daddr %s tcp dport 80 dnat to %s:8080
		ip daddr 10.96.0.1 tcp dport 443 dnat to %s:6443
	}
}
`, ips[0], pods[0].IPs[0], s.Addr("cp")))
	t.Cleanup(func() {
		if _, err := s.Exec(context.Background(), node, "nft", "delete", "table", "ip", "replacement"); err != nil {
			t.Error(err)
		}
	})
}
