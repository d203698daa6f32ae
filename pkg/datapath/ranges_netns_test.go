package datapath

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
	"kube-vrrp-vip/pkg/nft"
)

// randomPrefixes are near each other and near the ends of the addresses, so many
// are adjacent or within another.
func randomPrefixes(r *rand.Rand, f ipFamily) []netip.Prefix {
	var all []netip.Prefix
	for range r.IntN(6) {
		b := make([]byte, f.daddr.Length)
		b[len(b)-2], b[len(b)-1] = byte(r.IntN(3)), byte(r.IntN(256))
		if r.IntN(4) == 0 {
			for i := range b[:len(b)-1] {
				b[i] = 0xff
			}
		}
		bits := 8*len(b) - r.IntN(12)
		if r.IntN(20) == 0 {
			bits = r.IntN(2)
		}
		a, _ := netip.AddrFromSlice(b)
		all = append(all, netip.PrefixFrom(a, bits))
	}
	return all
}

// TestNetnsRanges has the kernel take any prefixes in the place of any others,
// also after somebody else has taken them away.
func TestNetnsRanges(t *testing.T) {
	t.Parallel()
	ns := netnstest.New(t, "node")
	ns.Do(func() {
		r := rand.New(rand.NewPCG(6, 6))
		d := NewRules()
		flushes := uint64(0)
		for step := range 150 {
			var wanted desired.Datapath
			for i, target := range []string{"10.96.0.10:80", "[fd10:96::10]:80"} {
				wanted.PodCIDRs = append(wanted.PodCIDRs, randomPrefixes(r, families[i])...)
				forward := desired.Forward{VIP: []netip.Addr{vipA, netip.MustParseAddr("2001:db8::100")}[i]}
				for port := range uint16(2) {
					forward.Ports = append(forward.Ports, desired.Port{
						Protocol: desired.TCP, Port: 80 + port, Target: netip.MustParseAddrPort(target),
						Restricted: true, Sources: randomPrefixes(r, families[i]),
					})
				}
				wanted.Forwards = append(wanted.Forwards, forward)
			}
			known, _, err := d.table.Read()
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			if step%10 == 9 && len(known["pods4"])+len(known["sources6"]) > 0 {
				ns.RunInput("flush set inet kube_vrrp_vip pods4\nflush set inet kube_vrrp_vip sources6\n", "nft", "-f", "-")
				flushes++
			}
			if err := d.Sync(wanted); err != nil {
				t.Fatalf("step %d: %v\n%v", step, err, wanted)
			}
			got, _, err := nft.NewTable(datapathSpec).Read()
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			fresh := &Rules{zones: zones{assigned: d.zones.assigned}}
			if diff := cmp.Diff(fresh.allElements(newState(wanted), got), elements(got)); diff != "" {
				t.Fatalf("step %d: -want +got:\n%s", step, diff)
			}
		}
		if n := d.Repairs(); n != flushes {
			t.Errorf("%d repairs of %d", n, flushes)
		}
	})
}
