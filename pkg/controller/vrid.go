package controller

import (
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/config"
)

// The VRIDs that VIPs of Services with a Local policy get if their entry names
// none: such VIPs need a virtual router that may have another Master than the
// one of other VIPs.
const (
	firstAutomaticVRID = 128
	lastAutomaticVRID  = 255
)

// automaticVRIDs returns the VRID of each set of Services that needs one, as
// far as there are; sets has that of each VIP that has any. A set gets its VRID from a hash
// of its name. If that is taken by a flag, an entry or a set that comes first by
// name, it gets the next that is free; only those can change when other sets
// come and go.
func automaticVRIDs(o config.Options, entries []config.Entry, sets map[netip.Addr]string) map[string]uint8 {
	taken := map[int]bool{}
	if o.VRIDs.IsZero() {
		taken[o.VRID] = true
	} else {
		for vrid := int(o.VRIDs.First); vrid <= int(o.VRIDs.Last); vrid++ {
			taken[vrid] = true
		}
	}
	needed := map[string]bool{}
	for _, e := range entries {
		if e.VRID != 0 {
			taken[int(e.VRID)] = true
		} else if set := sets[e.VIP]; set != "" {
			needed[set] = true
		}
	}
	const n = lastAutomaticVRID - firstAutomaticVRID + 1
	home := func(set string) int {
		h := fnv.New32a()
		h.Write([]byte(set))
		return int(h.Sum32() % n)
	}
	vrids := map[string]uint8{}
	var moved []string
	for _, set := range slices.Sorted(maps.Keys(needed)) {
		vrid := firstAutomaticVRID + home(set)
		if taken[vrid] {
			moved = append(moved, set)
			continue
		}
		taken[vrid], vrids[set] = true, uint8(vrid)
	}
	for _, set := range moved {
		for i := range n {
			vrid := firstAutomaticVRID + (home(set)+i)%n
			if !taken[vrid] {
				taken[vrid], vrids[set] = true, uint8(vrid)
				break
			}
		}
	}
	return vrids
}
