package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterUninstall removes the product, with VIPs in use, and looks for what is left
// of it on the nodes, and for what it has changed beside its own tables.
func TestClusterUninstall(t *testing.T) {
	s, _ := install(t, &nftables)
	installed := foreignRules(t, s)
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
	checkForeignRules(t, s, "uninstalled", installed)
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
	checkForeignRules(t, s, "installed again", installed)
}

// foreignRules returns what each node's nftables hold beside the product's tables.
func foreignRules(t *testing.T, s *scenario.Site) map[string][]string {
	t.Helper()
	rules := map[string][]string{}
	for _, n := range s.Nodes() {
		out, err := s.Exec(t.Context(), n, "nft", "list", "ruleset")
		if err != nil {
			t.Fatal(err)
		}
		if rules[n] = withoutOwn(out); len(rules[n]) == 0 {
			t.Fatalf("%s has no rules, not even kube-proxy's:\n%s", n, out)
		}
	}
	return rules
}

// checkForeignRules waits until they are these; kube-proxy may be at work.
func checkForeignRules(t *testing.T, s *scenario.Site, when string, want map[string][]string) {
	t.Helper()
	eventually(t, when+", other rules are as before", func(context.Context) error {
		now := foreignRules(t, s)
		for _, n := range s.Nodes() {
			for _, line := range now[n] {
				if !slices.Contains(want[n], line) {
					return fmt.Errorf("%s has more: %q", n, line)
				}
			}
			if !slices.Equal(now[n], want[n]) {
				return fmt.Errorf("%s has %d lines, not %d", n, len(now[n]), len(want[n]))
			}
		}
		return nil
	})
}

var (
	counter   = regexp.MustCompile(`packets \d+ bytes \d+`)
	ownTables = regexp.MustCompile(`(?ms)^table \S+ kube_vrrp_vip \{$.*?^\}$`)
)

// withoutOwn returns the lines of a ruleset without the product's tables, with an
// element on a line of its own, sorted, and without what counters say.
func withoutOwn(ruleset string) []string {
	ruleset = counter.ReplaceAllString(ownTables.ReplaceAllString(ruleset, ""), "")
	var lines []string
	for line := range strings.Lines(strings.NewReplacer(",", "\n", "{", "{\n", "}", "\n}").Replace(ruleset)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

func TestWithoutOwn(t *testing.T) {
	const ruleset = `table ip kube-proxy {
	set s {
		elements = { 10.0.0.2, 10.0.0.1 }
	}
	chain c {
		counter packets 3 bytes 180
	}
}
table inet kube_vrrp_vip {
	chain c {
		accept
	}
}
`
	want := []string{"10.0.0.1", "10.0.0.2", "chain c {", "counter", "elements = {", "set s {", "table ip kube-proxy {", "}", "}", "}", "}"}
	slices.Sort(want)
	if got := withoutOwn(ruleset); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
