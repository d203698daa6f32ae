package controller

import (
	"cmp"
	"slices"

	"kube-vrrp-vip/pkg/desired"
)

// candidate is a port that a Service of a VIP requests at the VIP.
type candidate struct {
	desired.Port
	// service is the index of the Service in the Services of the VIP.
	service    int
	isNodePort bool
}

// portConflict lists the ports of a VIP that two Services request. The first Service
// gets them.
type portConflict struct {
	first, second int
	ports         wordList
}

// resolvePorts returns the ports of a VIP, sorted, and the conflicts, sorted by
// Services. The first of several candidates for a port gets it.
func resolvePorts(candidates []candidate) (ports []desired.Port, conflicts []portConflict) {
	if len(candidates) == 0 {
		return nil, nil
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port.Port, b.Port.Port))
	})
	found := map[[2]int]int{} // Maps two Services to an index in conflicts.
	ports = make([]desired.Port, 0, len(candidates))
	first := candidates[0]
	for i, c := range candidates {
		if i == 0 || c.Protocol != first.Protocol || c.Port.Port != first.Port.Port {
			first = c
			ports = append(ports, c.Port)
			continue
		}
		if c.isNodePort || c.service == first.service {
			continue // A NodePort or a less specific mapping gives way.
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
