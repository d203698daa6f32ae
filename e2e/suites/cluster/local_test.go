package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterLocal has VIPs in front of Services whose traffic stays on the node that
// it reaches.
func TestClusterLocal(t *testing.T) {
	t.Parallel()
	checkLocal(t, &nftables, "nftables")
}

// TestClusterLocalIPTables is TestClusterLocal where kube-proxy writes iptables.
func TestClusterLocalIPTables(t *testing.T) {
	t.Parallel()
	checkLocal(t, &iptables, "iptables")
}

const (
	vipLocal    = 237 // externalTrafficPolicy
	vipInternal = 238 // internalTrafficPolicy
)

func checkLocal(t *testing.T, f *fixture, mode string) {
	s, _ := install(t, f)
	config, vips := map[string]string{}, []netip.Addr{}
	for _, family := range families(s) {
		config[entryKey(vipOf(family, vipLocal))] = "e2e/local"
		config[entryKey(vipOf(family, vipInternal))] = "e2e/internal"
		vips = append(vips, vipOf(family, vipLocal), vipOf(family, vipInternal))
	}
	movePod(t, s, s.Nodes()[0])
	if err := s.SetConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	var outages []time.Duration
	for i, n := range s.Nodes() {
		probes := map[netip.Addr]*probe.Probe{}
		began := time.Now()
		if i > 0 {
			for _, vip := range vips {
				p, err := probe.Start(s.NetNS("client"), netip.AddrPortFrom(vip, 80), 5*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Stop()
				probes[vip] = p
			}
			answerAgain(t, probes)
			began = time.Now()
			movePod(t, s, n)
		}
		for _, vip := range vips {
			eventually(t, fmt.Sprintf("%s on %s", vip, n), func(ctx context.Context) error {
				holder, err := s.Holder(ctx, vip)
				if err == nil && holder != n {
					err = fmt.Errorf("it is on %s", holder)
				}
				return err
			})
		}
		answerAgain(t, probes)
		for vip, p := range probes {
			outages = append(outages, p.Snapshot().OutageAfter(began))
			t.Logf("%s: %s", vip, p.Stop())
		}
		written(t, s, vips[:1])
		t.Run("pod on "+n, func(t *testing.T) { checkSeen(t, s, n) })
	}
	// A client whose first packet came where there was no endpoint any more sends it
	// again after a second.
	measuredAll(t, "local_pod_moved_outage_"+mode+"_ms", outages, 2*time.Second)
}

// movePod has the pod of both Services on another node: one there is made, and when
// it is ready the other goes.
func movePod(t *testing.T, s *scenario.Site, node string) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":%q}}}}}`, node)
	for _, args := range [][]string{
		{"patch", "deployment", "movable", "--patch=" + patch},
		{"rollout", "status", "deployment/movable", "--timeout=90s"},
	} {
		if _, err := s.Kubectl(t.Context(), "", append([]string{"--namespace=" + scenario.EchoNamespace}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
}

// checkSeen asks the VIPs, which are on the node with the pod, from everywhere. With
// externalTrafficPolicy: Local the pod sees the address of who is outside, and of a
// pod as always.
func checkSeen(t *testing.T, s *scenario.Site, node string) {
	fromEverywhere(t, s, func(c scenario.Client) error {
		var wg sync.WaitGroup
		errs := make(chan error, 100)
		for _, family := range families(s) {
			for protocol := range portOf {
				wg.Go(func() {
					local, internal := vipOf(family, vipLocal), vipOf(family, vipInternal)
					errs <- checkSeenBy(t, s, c, protocol, local, node)
					if c.Node != "" && c.Node != node {
						// Of the Service's endpoints only those on the client's node count.
						errs <- unanswered(t, c, protocol, internal)
						return
					}
					errs <- checkSeenBy(t, s, c, protocol, internal, node)
				})
			}
		}
		wg.Wait()
		close(errs)
		var all []error
		for err := range errs {
			all = append(all, err)
		}
		return errors.Join(all...)
	})
}

func checkSeenBy(t *testing.T, s *scenario.Site, c scenario.Client, protocol string, vip netip.Addr, node string) error {
	want := []netip.Addr{c.Addr(vip)}
	switch {
	case c.Node == "" && (vip == vip4(vipInternal) || vip == vip6(vipInternal)):
		want = s.NodeAddrs(node, vip)
	case c.Node != "" && !c.IsPod:
		want = s.NodeAddrs(c.Node, vip)
	}
	// The kube-proxy of the client's node may not know yet that the pod has moved, and
	// a datagram to the one that is gone is not sent again.
	err := scenario.Eventually(t.Context(), "an answer", func(ctx context.Context) error {
		body, err := ask(ctx, c.NetNS, protocol, vip)
		if err == nil && probe.Field(body, "node") != node {
			err = fmt.Errorf("%q: want a pod on %s", body, node)
		}
		return err
	})
	var body string
	if err == nil {
		body, err = ask(t.Context(), c.NetNS, protocol, vip)
	}
	if err == nil {
		err = sees(body, node, want)
	}
	if err != nil {
		err = fmt.Errorf("%s over %s: %w", vip, protocol, err)
	}
	return err
}

// sees requires an answer to be of a node's pod, to a client with one of the addresses.
func sees(body, node string, want []netip.Addr) error {
	client, err := netip.ParseAddrPort(probe.Field(body, "client"))
	if err != nil {
		return fmt.Errorf("%q: %w", body, err)
	}
	if probe.Field(body, "node") != node || !slices.Contains(want, client.Addr()) {
		return fmt.Errorf("%q: want a pod on %s, which sees one of %s", body, node, want)
	}
	return nil
}

// unanswered requires that there is no answer: kube-proxy drops what a node's clients
// send to a Service with internalTrafficPolicy: Local and no endpoint there.
func unanswered(t *testing.T, c scenario.Client, protocol string, vip netip.Addr) error {
	body, err := ask(t.Context(), c.NetNS, protocol, vip)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPERM) {
		return nil
	}
	return errors.Join(fmt.Errorf("%s over %s: %q; want no answer", vip, protocol, body), err)
}
