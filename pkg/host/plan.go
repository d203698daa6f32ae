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
	renew []addressWithLabel
	// remove are there and not wanted.
	remove []addressWithLabel
	// foreign are wanted, but there as addresses that are not ours.
	foreign []VirtualAddress
	// invalid are wanted, but cannot be on a link.
	invalid []VirtualAddress
}

// addressWithLabel is a virtual address with the label it is bound under, empty with
// IPv6.
type addressWithLabel struct {
	VirtualAddress
	label string
}

// newPlan compares what is wanted with the addresses present, by link.
func newPlan(want []VirtualAddress, present map[int][]Address) plan {
	var p plan
	bound := make(map[VirtualAddress][]Address)
	for link, addresses := range present {
		for _, a := range addresses {
			v := VirtualAddress{Link: link, Address: a.Prefix.Addr()}
			bound[v] = append(bound[v], a)
		}
	}
	done := make(map[VirtualAddress]bool)
	keep := make(map[VirtualAddress]bool)
	for _, v := range want {
		if done[v] {
			continue
		}
		done[v] = true
		switch addresses := bound[v]; {
		case !v.valid():
			p.invalid = append(p.invalid, v)
		case len(addresses) == 0:
			p.add = append(p.add, v)
		case slices.ContainsFunc(addresses, func(a Address) bool { return !a.Owned }):
			p.foreign = append(p.foreign, v)
		default:
			keep[v] = true
			p.renew = append(p.renew, addressWithLabel{v, addresses[0].label})
		}
	}
	for _, link := range slices.Sorted(maps.Keys(present)) {
		for _, a := range present[link] {
			v := VirtualAddress{Link: link, Address: a.Prefix.Addr()}
			if a.Owned && !keep[v] {
				p.remove = append(p.remove, addressWithLabel{v, a.label})
			}
		}
	}
	return p
}
