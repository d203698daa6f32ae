package prefix_test

import (
	"net/netip"
	"slices"
	"testing"

	"kube-vrrp-vip/pkg/internal/prefix"
)

func TestOutermost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		prefixes, want []string
	}{
		{name: "none"},
		{"sorted", []string{"192.0.2.0/24", "10.0.0.0/8", "2001:db8::/32", "10.0.0.0/8"}, []string{"10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"}},
		{"within", []string{"10.1.0.0/16", "10.0.0.0/8", "10.255.255.255/32", "11.0.0.0/32"}, []string{"10.0.0.0/8", "11.0.0.0/32"}},
		{"adjacent", []string{"10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25"}, []string{"10.0.0.0/24", "10.0.1.0/24"}},
		{"not masked", []string{"10.0.0.0/16", "10.200.0.1/8", "10.0.0.1/8"}, []string{"10.0.0.0/8"}},
		{"all of a family", []string{"192.0.2.1/32", "0.0.0.0/0", "fd00::/8"}, []string{"0.0.0.0/0", "fd00::/8"}},
		{"all of both", []string{"::/0", "192.0.2.1/32", "0.0.0.0/0", "fd00::/8"}, []string{"0.0.0.0/0", "::/0"}},
	} {
		var prefixes []netip.Prefix
		for _, s := range test.prefixes {
			prefixes = append(prefixes, netip.MustParsePrefix(s))
		}
		given := slices.Clone(prefixes)
		var got []string
		for _, p := range prefix.Outermost(prefixes) {
			got = append(got, p.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
		if !slices.Equal(prefixes, given) {
			t.Errorf("%s: %v has become %v", test.name, given, prefixes)
		}
	}
	if got := prefix.Outermost([]netip.Prefix{{}, netip.MustParsePrefix("10.0.0.0/8")}); !slices.Contains(got, netip.MustParsePrefix("10.0.0.0/8")) {
		t.Errorf("beside an invalid one: got %v", got)
	}
}
