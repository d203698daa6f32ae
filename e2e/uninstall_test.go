package e2e_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"kube-vrrp-vip/e2e/probe"
	"kube-vrrp-vip/e2e/scenario"
)

// TestClusterUninstall removes the product, with VIPs in use, and looks for what is left
// of it on the nodes.
func TestClusterUninstall(t *testing.T) {
	s, _ := install(t, &nftables)
	if err := s.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes() {
		// The pods are gone by now or about to be.
		eventually(t, n, func(ctx context.Context) error {
			tables, err := s.Exec(ctx, n, "nft", "list", "tables")
			if err != nil {
				return err
			}
			if strings.Contains(tables, "kube_vrrp_vip") {
				return fmt.Errorf("tables are left:\n%s", tables)
			}
			addresses, err := s.Exec(ctx, n, "ip", "-oneline", "address", "show")
			if err != nil {
				return err
			}
			for _, vip := range baseVIPs() {
				if strings.Contains(addresses, vip.String()+"/") {
					return fmt.Errorf("an address is left:\n%s", addresses)
				}
			}
			return nil
		})
	}
	if holders, err := s.Holders(t.Context(), vipAll); err != nil || len(holders) > 0 {
		t.Errorf("holders: %v, %v", holders, err)
	}
	if body, err := probe.Get(t.Context(), s.NetNS("client"), netip.AddrPortFrom(vipAll, 80)); err == nil {
		t.Errorf("VIP answers: %q", body)
	}
	// And back again, on nodes that have had it.
	if err := s.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.SetConfig(t.Context(), map[string]string{vipAll.String(): "e2e/all"}); err != nil {
		t.Fatal(err)
	}
	if err := scenario.Answered(t.Context(), s.NetNS("client"), netip.AddrPortFrom(vipAll, 80), s.Nodes()); err != nil {
		t.Error(err)
	}
}
