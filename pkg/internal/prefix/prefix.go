// Package prefix computes with sets of IP prefixes.
package prefix

import (
	"cmp"
	"net/netip"
	"slices"
)

// Outermost returns the prefixes that no other one contains, masked, sorted by
// address, and each once. They cover the same addresses, and do not overlap:
// nftables refuses a set of intervals that do.
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
