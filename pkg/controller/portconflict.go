package controller

import (
	"cmp"
	"slices"

	"kube-vrrp-vip/pkg/desired"
)

// claim is a port that a Service would have at a VIP.
type claim struct {
	desired.Port
	// service is the Service's place among those of the VIP.
	service    int
	isNodePort bool
}

// clash is what two Services of a VIP both claim. The first one has it.
type clash struct {
	first, second int
	ports         list
}

// settle returns the ports of a VIP, sorted, and the clashes, sorted by the
// Services. Of several claims to a port the first counts.
func settle(claims []claim) (ports []desired.Port, clashes []clash) {
	if len(claims) == 0 {
		return nil, nil
	}
	slices.SortStableFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port.Port, b.Port.Port))
	})
	found := map[[2]int]int{} // Where in clashes those of two Services are.
	ports = make([]desired.Port, 0, len(claims))
	first := claims[0]
	for i, c := range claims {
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
			found[pair] = len(clashes)
			clashes = append(clashes, clash{first: first.service, second: c.service})
		}
		clashes[found[pair]].ports.add(label(c.Protocol, c.Port.Port))
	}
	slices.SortFunc(clashes, func(a, b clash) int {
		return cmp.Or(cmp.Compare(a.second, b.second), cmp.Compare(a.first, b.first))
	})
	return ports, clashes
}
