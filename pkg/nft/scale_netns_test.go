package nft_test

import (
	"net/netip"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/netnstest"
	"kube-vrrp-vip/pkg/nft"
)

// manyForwards are VIPs of a Service with one port each.
func manyForwards(n int) []desired.Forward {
	f := make([]desired.Forward, 0, n)
	address := netip.MustParseAddr("10.4.0.0")
	for range n {
		f = append(f, desired.Forward{VIP: address, Ports: []desired.Port{
			{Protocol: desired.TCP, Port: 80, Target: netip.AddrPortFrom(netip.MustParseAddr(clusterIP), 80)},
		}})
		address = address.Next()
	}
	return f
}

// TestNetnsTenThousand uses every zone there is.
func TestNetnsTenThousand(t *testing.T) {
	ns := netnstest.New(t, "node")
	all := manyForwards(10_000)
	ns.Do(func() {
		d := nft.NewDatapath()
		measure := func(name, target string, d *nft.Datapath, forwards []desired.Forward) {
			t.Helper()
			start := time.Now()
			if err := d.Sync(desired.Datapath{Forwards: forwards}); err != nil {
				t.Fatal(err)
			}
			t.Logf("measured: %s=%s target=%s", name, time.Since(start).Round(10*time.Microsecond), target)
		}
		measure("load_9999_forwards", "300ms", d, all[:9_999])
		measure("add_the_10000th", "30ms", d, all)
		measure("no_change_of_10000", "30ms", d, all)
		measure("adopt_10000", "300ms", nft.NewDatapath(), all)
		measure("delete_one_of_10000", "100ms", d, all[1:])
	})
}

func BenchmarkNetnsLoadTenThousand(b *testing.B) {
	ns := netnstest.New(b, "node")
	all := manyForwards(10_000)
	ns.Do(func() {
		for b.Loop() {
			b.StopTimer()
			if err := nft.Cleanup(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := nft.NewDatapath().Sync(desired.Datapath{Forwards: all}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkNetnsAddOneToTenThousand(b *testing.B) {
	ns := netnstest.New(b, "node")
	all := manyForwards(10_000)
	ns.Do(func() {
		d := nft.NewDatapath()
		for b.Loop() {
			b.StopTimer()
			if err := d.Sync(desired.Datapath{Forwards: all[:9_999]}); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := d.Sync(desired.Datapath{Forwards: all}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
