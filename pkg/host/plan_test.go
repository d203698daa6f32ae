package host

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewPlan(t *testing.T) {
	v := func(link int, address string) VirtualAddress {
		return VirtualAddress{Link: link, Address: netip.MustParseAddr(address)}
	}
	owned := func(address string) Address {
		return Address{Prefix: netip.MustParsePrefix(address + "/32"), Owned: true, label: "l"}
	}
	foreign := func(prefix string) Address { return Address{Prefix: netip.MustParsePrefix(prefix)} }
	tests := []struct {
		name    string
		want    []VirtualAddress
		present map[int][]Address
		plan    plan
	}{
		{name: "nothing"},
		{
			name: "nothing is there",
			want: []VirtualAddress{v(2, "10.0.0.2"), v(2, "10.0.0.1"), v(2, "10.0.0.2")},
			plan: plan{add: []VirtualAddress{v(2, "10.0.0.2"), v(2, "10.0.0.1")}},
		},
		{
			name:    "there and wanted",
			want:    []VirtualAddress{v(2, "10.0.0.1")},
			present: map[int][]Address{2: {foreign("10.0.0.9/24"), owned("10.0.0.1")}},
			plan:    plan{renew: []addressWithLabel{{v(2, "10.0.0.1"), "l"}}},
		},
		{
			name:    "there and not wanted",
			present: map[int][]Address{3: {owned("10.0.0.3")}, 2: {owned("10.0.0.2"), foreign("10.0.0.9/24")}},
			plan:    plan{remove: []addressWithLabel{{v(2, "10.0.0.2"), "l"}, {v(3, "10.0.0.3"), "l"}}},
		},
		{
			name:    "on another link",
			want:    []VirtualAddress{v(2, "10.0.0.1")},
			present: map[int][]Address{3: {owned("10.0.0.1")}},
			plan:    plan{add: []VirtualAddress{v(2, "10.0.0.1")}, remove: []addressWithLabel{{v(3, "10.0.0.1"), "l"}}},
		},
		{
			name:    "foreign on this link",
			want:    []VirtualAddress{v(2, "10.0.0.1")},
			present: map[int][]Address{2: {foreign("10.0.0.1/24")}},
			plan:    plan{foreign: []VirtualAddress{v(2, "10.0.0.1")}},
		},
		{
			name:    "foreign beside owned",
			want:    []VirtualAddress{v(2, "10.0.0.1")},
			present: map[int][]Address{2: {owned("10.0.0.1"), foreign("10.0.0.1/24")}},
			plan:    plan{foreign: []VirtualAddress{v(2, "10.0.0.1")}, remove: []addressWithLabel{{v(2, "10.0.0.1"), "l"}}},
		},
		{
			name:    "foreign on another link",
			want:    []VirtualAddress{v(2, "10.0.0.1")},
			present: map[int][]Address{1: {foreign("10.0.0.1/32")}},
			plan:    plan{add: []VirtualAddress{v(2, "10.0.0.1")}},
		},
		{
			name: "IPv6 beside IPv4",
			want: []VirtualAddress{v(2, "2001:db8::1"), v(2, "10.0.0.1"), v(2, "2001:db8::2"), v(2, "2001:db8::3")},
			present: map[int][]Address{2: {
				{Prefix: netip.MustParsePrefix("2001:db8::2/128"), Owned: true},
				foreign("2001:db8::3/64"),
				{Prefix: netip.MustParsePrefix("2001:db8::4/128"), Owned: true},
			}},
			plan: plan{
				add:     []VirtualAddress{v(2, "2001:db8::1"), v(2, "10.0.0.1")},
				renew:   []addressWithLabel{{v(2, "2001:db8::2"), ""}},
				remove:  []addressWithLabel{{v(2, "2001:db8::4"), ""}},
				foreign: []VirtualAddress{v(2, "2001:db8::3")},
			},
		},
		{
			name: "no address for a link",
			want: []VirtualAddress{{Link: 2}, v(2, "fe80::1%eth0"), v(2, "::ffff:10.0.0.1")},
			plan: plan{invalid: []VirtualAddress{{Link: 2}, v(2, "fe80::1%eth0"), v(2, "::ffff:10.0.0.1")}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := newPlan(tt.want, tt.present)
			if d := cmp.Diff(tt.plan, got, cmp.AllowUnexported(plan{}, addressWithLabel{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// The leases of the maximum number of addresses are renewed in time.
func TestPlanOfManyAddresses(t *testing.T) {
	t.Parallel()
	const addresses, plans = 4096, 25
	var want []VirtualAddress
	present := map[int][]Address{}
	for i := range addresses {
		v := VirtualAddress{2, netip.AddrFrom4([4]byte{10, 4, byte(i >> 8), byte(i)})}
		want = append(want, v)
		present[2] = append(present[2], Address{Prefix: v.prefix(), Owned: true})
	}
	begin := time.Now()
	for range plans {
		if p := newPlan(want, present); len(p.renew) != addresses {
			t.Fatalf("%d renewed, want %d", len(p.renew), addresses)
		}
	}
	took := time.Since(begin)
	t.Logf("measured: plan_of_%d_addresses=%v target=10ms", addresses, took/plans)
	if took > 5*time.Second {
		t.Errorf("%d plans took %v, want at most 5s", plans, took)
	}
}
