package host

import (
	"maps"
	"slices"
)

// plan is the difference between the wanted virtual addresses and those on the links of
// this node.
type plan struct {
	// add are wanted and not bound.
	add []VirtualAddress
	// renew are wanted and bound.
	renew []addressWithLabel
	// remove are bound and not wanted.
	remove []addressWithLabel
	// foreign are wanted, but another program has bound them.
	foreign []VirtualAddress
	// invalid are wanted, but cannot be bound.
	invalid []VirtualAddress
}

// addressWithLabel is a virtual address and the label that it is bound with, which is
// empty for IPv6.
type addressWithLabel struct {
	VirtualAddress
	label string
}

// newPlan returns the plan for the wanted virtual addresses. present are the addresses
// of each link.
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
