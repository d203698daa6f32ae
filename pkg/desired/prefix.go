package desired

import (
	"cmp"
	"net/netip"
	"slices"
)

// Outermost returns the prefixes that are in no other one, once each, masked and
// sorted: the same addresses, without ranges that overlap.
func Outermost(prefixes []netip.Prefix) []netip.Prefix {
	all := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		all[i] = p.Masked()
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var outermost []netip.Prefix
	for _, p := range all {
		if n := len(outermost); n == 0 || !outermost[n-1].Overlaps(p) {
			outermost = append(outermost, p)
		}
	}
	return outermost
}
