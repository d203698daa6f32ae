package neighbor_test

import (
	"flag"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/neighbor"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

var rewrite = flag.Bool("rewrite", false, "write what nft lists to testdata instead of comparing")

// TestNetnsListing compares the tables with testdata/*.nft, which is how an
// operator sees them, and with testdata/*.netlink, which is what the kernel
// does.
func TestNetnsListing(t *testing.T) {
	t.Parallel()
	ns := netnstest.New(t, "node")
	netnstest.Veth(ns, "eth0", netnstest.New(t, "client"), "eth0")
	ns.Do(func() { writeTables(t) })
	for file, family := range map[string]string{"neighbors": "arp", "gate": "netdev"} {
		listing, instructions := ns.Table(family, "kube_vrrp_vip")
		compare(t, file+".nft", listing)
		compare(t, file+".netlink", instructions)
	}
}

// writeTables writes both tables, with something in every set.
func writeTables(t *testing.T) {
	t.Helper()
	tables := neighbor.New(true)
	if err := tables.SetSenders(map[netip.Addr]netip.Addr{netip.MustParseAddr(vip): netip.MustParseAddr(nodeIP)}); err != nil {
		t.Fatal(err)
	}
	if err := tables.Set(map[netip.Addr]desired.Answer{
		netip.MustParseAddr(vip):  {Interface: "eth0", Pulse: desired.NewPulse(2, false, 50)},
		netip.MustParseAddr(vip6): {Interface: "eth0", Pulse: desired.NewPulse(2, true, 50)},
	}); err != nil {
		t.Fatal(err)
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
	t.Parallel()
	ns := netnstest.New(t, "node")
	ns.Run("nft", "add", "table", "arp", "kube_vrrp_vip_of_somebody_else")
	ns.Run("nft", "add", "table", "ip", "kube_vrrp_vip")
	want := ns.Run("nft", "list", "tables")
	ns.Do(func() {
		if err := neighbor.Cleanup(); err != nil {
			t.Errorf("without tables: %v", err)
		}
		writeTables(t)
		if err := neighbor.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	if got := ns.Run("nft", "list", "tables"); got != want {
		t.Errorf("tables left:\n%s\nwant:\n%s", got, want)
	}
}

func TestNetnsSupported(t *testing.T) {
	t.Parallel()
	ns := netnstest.New(t, "node")
	ns.Do(func() {
		if err := neighbor.Supported(); err != nil {
			t.Error(err)
		}
		if err := neighbor.SupportedGate(); err != nil {
			t.Error(err)
		}
	})
	if got := ns.Run("nft", "list", "ruleset"); got != "" {
		t.Errorf("the probe left\n%s", got)
	}
}
