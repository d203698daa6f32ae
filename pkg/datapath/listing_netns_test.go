package datapath_test

import (
	"flag"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

var rewrite = flag.Bool("rewrite", false, "write what nft lists to testdata instead of comparing")

// TestNetnsListing compares the table with testdata/*.nft, which is how an
// operator sees them, and with testdata/*.netlink, which is what the kernel
// does: nft cannot say in its own language that a write mends a checksum.
func TestNetnsListing(t *testing.T) {
	t.Parallel()
	ns := netnstest.New(t, "node")
	ns.Do(func() {
		if err := datapath.NewRules().Sync(listed()); err != nil {
			t.Fatal(err)
		}
	})
	listing, instructions := ns.Table("inet", "kube_vrrp_vip")
	compare(t, "datapath.nft", listing)
	compare(t, "datapath.netlink", instructions)
}

// listed has something in every set.
func listed() desired.Datapath {
	d := desired.Datapath{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10:244:1::/64")}}
	for _, family := range []struct{ vip, clusterIP, node, sources string }{
		{vip, clusterIP, nodeIP, "198.51.100.0/24"},
		{vip6, clusterIP6, nodeIP6, "2001:db8:7::/48"},
	} {
		target := func(address string, port uint16) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr(address), port)
		}
		d.Forwards = append(d.Forwards, desired.Forward{VIP: netip.MustParseAddr(family.vip), Ports: []desired.Port{
			{Protocol: desired.TCP, Port: 25, Target: target(family.node, 30025), KeepSource: true},
			{Protocol: desired.TCP, Port: 80, Target: target(family.clusterIP, 80)},
			{Protocol: desired.TCP, Port: 443, Target: target(family.node, 40443), Proxy: desired.ProxyV2},
			{Protocol: desired.TCP, Port: 8080, Target: target(family.clusterIP, 80)},
			{
				Protocol: desired.TCP, Port: 8443, Target: target(family.clusterIP, 8443), Restricted: true,
				Sources: []netip.Prefix{netip.MustParsePrefix(family.sources)},
			},
			{Protocol: desired.UDP, Port: 53, Target: target(family.clusterIP, 53)},
			{Protocol: desired.SCTP, Port: 132, Target: target(family.clusterIP, 132)},
		}})
	}
	return d
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
	ns.Run("nft", "add", "table", "inet", "kube_vrrp_vip_of_somebody_else")
	ns.Run("nft", "add", "table", "ip", "kube_vrrp_vip")
	want := ns.Run("nft", "list", "tables")
	ns.Do(func() {
		if err := datapath.Cleanup(); err != nil {
			t.Errorf("without tables: %v", err)
		}
		if err := datapath.NewRules().Sync(desired.Datapath{Forwards: forwards()}); err != nil {
			t.Fatal(err)
		}
		if err := datapath.Cleanup(); err != nil {
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
		if err := datapath.Supported(); err != nil {
			t.Error(err)
		}
	})
	if got := ns.Run("nft", "list", "ruleset"); got != "" {
		t.Errorf("the probe left\n%s", got)
	}
}
