package datapath_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// manyForwards are VIPs of a Service with one port each.
func manyForwards(n int) []desired.Forward { return manyVIPs(n, n) }

// manyVIPs share ports among VIPs, each as many as the next.
func manyVIPs(vips, ports int) []desired.Forward {
	all := make([]desired.Forward, 0, vips)
	address := netip.MustParseAddr("10.4.0.0")
	for i := range vips {
		f := desired.Forward{VIP: address}
		for j := range ports*(i+1)/vips - ports*i/vips {
			port := uint16(80 + j)
			f.Ports = append(f.Ports, desired.Port{Protocol: desired.TCP, Port: port, Target: netip.AddrPortFrom(netip.MustParseAddr(clusterIP), port)})
		}
		all = append(all, f)
		address = address.Next()
	}
	return all
}

// TestNetnsTenThousand has 10 000 forwarded ports on few VIPs, on many, and on as
// many as there are zones.
func TestNetnsTenThousand(t *testing.T) {
	t.Parallel()
	for _, vips := range []int{100, 4000, 10_000} {
		t.Run(fmt.Sprintf("%d VIPs", vips), func(t *testing.T) {
			ns := netnstest.New(t, "node")
			all := manyVIPs(vips, 10_000)
			// The last port of the last VIP but one is missing.
			less := slices.Clone(all)
			f := &less[vips-2]
			f.Ports = f.Ports[:len(f.Ports)-1]
			ns.Do(func() {
				d := datapath.NewRules()
				measure := func(name string, target time.Duration, d *datapath.Rules, forwards []desired.Forward) {
					t.Helper()
					start := time.Now()
					if err := d.Sync(desired.Datapath{Forwards: forwards}); err != nil {
						t.Fatal(err)
					}
					took := time.Since(start)
					t.Logf("measured: %s_10000_on_%d_vips=%s target=%s", name, vips, took.Round(10*time.Microsecond), target)
					if limit := max(5*target, 5*time.Second); took > limit {
						t.Errorf("%s took %s, more than %s", name, took, limit)
					}
				}
				measure("load", 200*time.Millisecond, d, less)
				measure("add_one_forward_to", 5*time.Millisecond, d, all)
				measure("no_change_of", 5*time.Millisecond, d, slices.Clone(all))
				measure("delete_one_forward_of", 50*time.Millisecond, d, less)
				measure("delete_one_vip_of", 50*time.Millisecond, d, less[1:])
				measure("add_one_vip_to", 5*time.Millisecond, d, less)
				ns.Run("nft", "add", "table", "ip", "other")
				measure("add_one_forward_after_anothers_change_to", 200*time.Millisecond, d, all)
				measure("adopt", 200*time.Millisecond, datapath.NewRules(), all)
			})
		})
	}
}

func BenchmarkNetnsLoadTenThousand(b *testing.B) {
	ns := netnstest.New(b, "node")
	all := manyForwards(10_000)
	ns.Do(func() {
		for b.Loop() {
			b.StopTimer()
			if err := datapath.Cleanup(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := datapath.NewRules().Sync(desired.Datapath{Forwards: all}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkNetnsAddOneToTenThousand(b *testing.B) {
	ns := netnstest.New(b, "node")
	all := manyForwards(10_000)
	ns.Do(func() {
		d := datapath.NewRules()
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
