package nft_test

import (
	"flag"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/netnstest"
	"kube-vrrp-vip/pkg/nft"
)

var rewrite = flag.Bool("rewrite", false, "write what nft lists to testdata instead of comparing")

// TestNetnsListing compares the tables with testdata/*.nft, which is how an
// operator sees them, and with testdata/*.netlink, which is what the kernel
// does: nft cannot say in its own language that a write mends a checksum.
func TestNetnsListing(t *testing.T) {
	ns := netnstest.New(t, "node")
	ns.Do(func() {
		nodePorts := []desired.NodePort{{Protocol: desired.TCP, Port: 30080}}
		f := forward(vip, clusterIP, 80)
		f.NodePorts = nodePorts
		f6 := desired.Forward{VIP: netip.MustParseAddr(vip6), NodePorts: nodePorts}
		if err := nft.NewDatapath().Sync(desired.Datapath{Forwards: []desired.Forward{f, f6}}); err != nil {
			t.Fatal(err)
		}
		if err := nft.NewNeighbors().Set(map[netip.Addr]string{netip.MustParseAddr(vip): "eth0"}); err != nil {
			t.Fatal(err)
		}
	})
	for file, family := range map[string]string{"datapath": "inet", "neighbors": "arp"} {
		compare(t, file+".nft", ns.Run("nft", "list", "table", family, "kube_vrrp_vip"))

		instructions := strings.Split(ns.Run("nft", "--debug=netlink", "list", "table", family, "kube_vrrp_vip"), "\n")
		instructions = slices.DeleteFunc(instructions, func(line string) bool {
			return !strings.HasPrefix(line, "  [") && !strings.HasPrefix(line, family)
		})
		compare(t, file+".netlink", strings.Join(instructions, "\n"))
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	file, got = "testdata/"+file, got+"\n"
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got:\n%s", file, diff)
	}
}

func TestNetnsCleanup(t *testing.T) {
	ns := netnstest.New(t, "node")
	ns.Run("nft", "add", "table", "inet", "kube_vrrp_vip_of_somebody_else")
	ns.Run("nft", "add", "table", "ip", "kube_vrrp_vip")
	want := ns.Run("nft", "list", "tables")
	ns.Do(func() {
		if err := nft.Cleanup(); err != nil {
			t.Errorf("without tables: %v", err)
		}
		if err := nft.NewDatapath().Sync(desired.Datapath{Forwards: forwards()}); err != nil {
			t.Fatal(err)
		}
		if err := nft.NewNeighbors().Set(map[netip.Addr]string{netip.MustParseAddr(vip): "eth0"}); err != nil {
			t.Fatal(err)
		}
		if err := nft.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	if got := ns.Run("nft", "list", "tables"); got != want {
		t.Errorf("tables left:\n%s\nwant:\n%s", got, want)
	}
}

func TestNetnsSupported(t *testing.T) {
	ns := netnstest.New(t, "node")
	ns.Do(func() {
		if err := nft.Supported(); err != nil {
			t.Error(err)
		}
	})
	if got := ns.Run("nft", "list", "ruleset"); got != "" {
		t.Errorf("the probe left\n%s", got)
	}
}
