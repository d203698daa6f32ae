package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterPolicies has VIPs in front of Services that ask for more than to be
// reached.
func TestClusterPolicies(t *testing.T) {
	t.Parallel()
	checkPolicies(t, &nftables)
}

// TestClusterPoliciesIPTables is TestClusterPolicies where kube-proxy writes iptables.
func TestClusterPoliciesIPTables(t *testing.T) {
	t.Parallel()
	checkPolicies(t, &iptables)
}

const (
	vipNodePort = 234
	vipRanges   = 235
	vipMapped   = 236
	vipAffine   = 239
)

func checkPolicies(t *testing.T, f *fixture) {
	s, _ := install(t, f)
	config, vips := map[string]string{}, []netip.Addr{}
	for _, family := range families(s) {
		config[entryKey(vipOf(family, vipNodePort))] = "e2e/nodeport"
		config[entryKey(vipOf(family, vipRanges))] = "e2e/ranges"
		config[entryKey(vipOf(family, vipAffine))] = "e2e/affine"
		config[fmt.Sprintf("mapped-%d", family)] = fmt.Sprintf(`
addresses: [%q]
services:
- {name: e2e/all, ports: {8080: http, 5353/UDP: udp}}
- {name: e2e/nodeport, ports: {81/UDP: 81}}
- {name: e2e/on-n1, ports: {9090: 80}}
`, vipOf(family, vipMapped))
		vips = append(vips, vipOf(family, vipNodePort), vipOf(family, vipRanges), vipOf(family, vipAffine), vipOf(family, vipMapped))
	}
	serve(t, s, config, vips)
	for _, service := range []string{"all", "on-n1"} {
		if err := s.EchoSettled(t.Context(), service); err != nil {
			t.Fatal(err)
		}
	}
	for _, family := range families(s) {
		written(t, s, []netip.Addr{vipOf(family, vipNodePort)})
		t.Run(fmt.Sprintf("NodePorts IPv%d", family), func(t *testing.T) {
			vip := vipOf(family, vipNodePort)
			fromEverywhere(t, s, func(c scenario.Client) error {
				return errors.Join(
					answers(t, c, "TCP", netip.AddrPortFrom(vip, 80), s.Nodes()),
					answers(t, c, "UDP", netip.AddrPortFrom(vip, 81), s.Nodes()),
					answers(t, c, "TCP", netip.AddrPortFrom(vip, 30080), s.Nodes()),
					answers(t, c, "UDP", netip.AddrPortFrom(vip, 30081), s.Nodes()))
			})
		})
		t.Run(fmt.Sprintf("loadBalancerSourceRanges IPv%d", family), func(t *testing.T) {
			checkRanges(t, s, vipOf(family, vipRanges))
		})
		t.Run(fmt.Sprintf("sessionAffinity IPv%d", family), func(t *testing.T) {
			fromEverywhere(t, s, func(c scenario.Client) error {
				return sticks(t, c, vipOf(family, vipAffine))
			})
		})
		t.Run(fmt.Sprintf("mapped ports IPv%d", family), func(t *testing.T) {
			vip := vipOf(family, vipMapped)
			fromEverywhere(t, s, func(c scenario.Client) error {
				return errors.Join(
					answers(t, c, "TCP", netip.AddrPortFrom(vip, 8080), s.Nodes()),
					answers(t, c, "UDP", netip.AddrPortFrom(vip, 5353), s.Nodes()),
					answers(t, c, "UDP", netip.AddrPortFrom(vip, 81), s.Nodes()),
					answers(t, c, "TCP", netip.AddrPortFrom(vip, 9090), []string{"n1"}))
			})
			// The Services' own numbers are not the VIP's.
			checkRefused(t, s, netip.AddrPortFrom(vip, 80))
		})
	}
}

// fromEverywhere runs a check for each client, all at the same time.
func fromEverywhere(t *testing.T, s *scenario.Site, check func(scenario.Client) error) {
	t.Helper()
	var wg sync.WaitGroup
	for _, c := range clients(t, s) {
		wg.Go(func() {
			if err := check(c); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		})
	}
	wg.Wait()
}

// answers requires an answer from a pod on one of the nodes.
func answers(t *testing.T, c scenario.Client, protocol string, target netip.AddrPort, nodes []string) error {
	body, err := askPort(t.Context(), c.NetNS, protocol, target)
	if err == nil && !slices.Contains(nodes, probe.Field(body, "node")) {
		err = fmt.Errorf("%q is not of %s", body, nodes)
	}
	if err != nil {
		return fmt.Errorf("%s over %s: %w", target, protocol, err)
	}
	return nil
}

// sticks requires that one pod answers a client every time. Of three pods chosen at
// random, twenty answers of one are a matter of 1e-9.
func sticks(t *testing.T, c scenario.Client, vip netip.Addr) error {
	for protocol, port := range portOf {
		first := ""
		for range 20 {
			body, err := askPort(t.Context(), c.NetNS, protocol, netip.AddrPortFrom(vip, port))
			if err != nil {
				return fmt.Errorf("%s: %w", protocol, err)
			}
			node := probe.Field(body, "node")
			if first == "" {
				first = node
			}
			if node != first {
				return fmt.Errorf("%s: answers from %s and %s", protocol, first, node)
			}
		}
	}
	return nil
}

// checkRanges is for a Service that admits the client on the LAN only. The nodes' own
// processes are not asked.
func checkRanges(t *testing.T, s *scenario.Site, vip netip.Addr) {
	fromEverywhere(t, s, func(c scenario.Client) error {
		var errs []error
		for protocol, port := range portOf {
			body, err := askPort(t.Context(), c.NetNS, protocol, netip.AddrPortFrom(vip, port))
			admitted := c.Name == "on-link" || c.Node != "" && !c.IsPod
			if admitted && err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", protocol, err))
			}
			if !admitted && !errors.Is(err, context.DeadlineExceeded) {
				errs = append(errs, errors.Join(fmt.Errorf("%s: %q; want no answer", protocol, body), err))
			}
		}
		return errors.Join(errs...)
	})
}
