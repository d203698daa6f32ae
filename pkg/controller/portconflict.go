package controller

import (
	"cmp"
	"slices"

	"kube-vrrp-vip/pkg/desired"
)

// candidate is a port that a Service asks for at a VIP.
type candidate struct {
	desired.Port
	// service is the Service's place among those of the VIP.
	service    int
	isNodePort bool
}

// portConflict lists the ports of a VIP that two Services ask for. The first one
// gets them.
type portConflict struct {
	first, second int
	ports         wordList
}

// resolvePorts returns the ports of a VIP, sorted, and the conflicts, sorted by
// the Services. Of several candidates for a port the first gets it.
func resolvePorts(candidates []candidate) (ports []desired.Port, conflicts []portConflict) {
	if len(candidates) == 0 {
		return nil, nil
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port.Port, b.Port.Port))
	})
	found := map[[2]int]int{} // The index in conflicts of two Services.
	ports = make([]desired.Port, 0, len(candidates))
	first := candidates[0]
	for i, c := range candidates {
		if i == 0 || c.Protocol != first.Protocol || c.Port.Port != first.Port.Port {
			first = c
			ports = append(ports, c.Port)
			continue
		}
		if c.isNodePort || c.service == first.service {
			continue // A NodePort gives way, and the more general of two mappings.
		}
		pair := [2]int{first.service, c.service}
		if _, known := found[pair]; !known {
			found[pair] = len(conflicts)
			conflicts = append(conflicts, portConflict{first: first.service, second: c.service})
		}
		conflicts[found[pair]].ports.add(portLabel(c.Protocol, c.Port.Port))
	}
	slices.SortFunc(conflicts, func(a, b portConflict) int {
		return cmp.Or(cmp.Compare(a.second, b.second), cmp.Compare(a.first, b.first))
	})
	return ports, conflicts
}
