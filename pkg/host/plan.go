package host

import (
	"maps"
	"slices"
)

// plan is what has to be done for the virtual addresses on this node's links
// to be those that are wanted.
type plan struct {
	// add are wanted and not there.
	add []VirtualAddress
	// renew are wanted and there.
	renew []labeled
	// remove are there and not wanted.
	remove []labeled
	// foreign are wanted, but there as addresses that are not ours.
	foreign []VirtualAddress
	// invalid are wanted, but cannot be on a link.
	invalid []VirtualAddress
}

// labeled is a virtual address with the label it is bound under, empty with
// IPv6.
type labeled struct {
	VirtualAddress
	label string
}

// newPlan compares what is wanted with the addresses present, by link.
func newPlan(want []VirtualAddress, present map[int][]Address) plan {
	var p plan
	there := make(map[VirtualAddress][]Address)
	for link, addresses := range present {
		for _, a := range addresses {
			v := VirtualAddress{Link: link, Address: a.Prefix.Addr()}
			there[v] = append(there[v], a)
		}
	}
	done := make(map[VirtualAddress]bool)
	keep := make(map[VirtualAddress]bool)
	for _, v := range want {
		if done[v] {
			continue
		}
		done[v] = true
		switch there := there[v]; {
		case !v.valid():
			p.invalid = append(p.invalid, v)
		case len(there) == 0:
			p.add = append(p.add, v)
		case slices.ContainsFunc(there, func(a Address) bool { return !a.Ours }):
			p.foreign = append(p.foreign, v)
		default:
			keep[v] = true
			p.renew = append(p.renew, labeled{v, there[0].Label})
		}
	}
	for _, link := range slices.Sorted(maps.Keys(present)) {
		for _, a := range present[link] {
			v := VirtualAddress{Link: link, Address: a.Prefix.Addr()}
			if a.Ours && !keep[v] {
				p.remove = append(p.remove, labeled{v, a.Label})
			}
		}
	}
	return p
}
