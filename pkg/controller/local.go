package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// locals are the VIPs of Services whose traffic stays on the node that it
// reaches: they go only to nodes with an endpoint.
type locals struct {
	options config.Options
	in      inputs
	self    member
	backend func(config.ObjectName) *backend
	// sets has the set of such Services of each VIP that has any, vrids the
	// VRID of each set that has one of its own.
	sets  map[netip.Addr]string
	vrids map[string]uint8
}

// newLocals reads entries, which are all there are: also those that this node
// does not serve have a part in the VRIDs that all nodes must agree on.
func newLocals(o config.Options, in inputs, self member, backend func(config.ObjectName) *backend, entries []config.Entry) *locals {
	l := &locals{options: o, in: in, self: self, backend: backend, sets: map[netip.Addr]string{}}
	for _, e := range entries {
		if set := localSet(e, backend); set != "" {
			l.sets[e.VIP] = set
		}
	}
	l.vrids = automaticVRIDs(o, entries, l.sets)
	return l
}

// vridOf returns the VRID of an entry: its own, else that of its set, else the
// one of other VIPs.
func (l *locals) vridOf(e config.Entry) uint8 {
	if set := l.sets[e.VIP]; set != "" && e.VRID == 0 && l.vrids[set] != 0 {
		return l.vrids[set]
	}
	return vridOf(l.options, e)
}

// follow decides which of routers, those of entries, this node is not eligible
// for. It returns the Services whose endpoints that depends on, sorted.
func (l *locals) follow(routers []desired.Router, entries []config.Entry) (services []config.ObjectName, problems []config.Problem) {
	type key struct {
		family vrrp.Family
		vrid   uint8
	}
	shared := map[key]bool{}
	for i := range routers {
		r := &routers[i]
		set := l.sets[r.VIPs[0].Address]
		if slices.ContainsFunc(r.VIPs, func(v desired.VIP) bool { return l.sets[v.Address] != set }) {
			shared[key{r.Family, r.VRID}] = true
			continue
		}
		names := l.following(set)
		services = append(services, names...)
		var all []presence
		for _, n := range names {
			p := l.in.presence(n, l.self.node, r.Family)
			if p == presenceDenied {
				problems = append(problems, config.Problem{
					Key:     l.options.ConfigMap.String(),
					Message: "to list and watch endpointslices is not permitted: VIPs of Services with a Local policy go to any node, also to those without an endpoint; apply manifests/rbac.yaml",
					Notice:  true,
				})
			}
			all = append(all, p)
		}
		if slices.Contains(all, presenceUnknown) {
			// Soon it is known: a VIP does not go away just for that.
			r.NoLocalEndpoint = !l.in.wasEligible(r.Family, r.VRID)
			continue
		}
		r.NoLocalEndpoint = len(names) > 0 && !eligible(all)
	}
	for _, e := range entries {
		set, vrid := l.sets[e.VIP], l.vridOf(e)
		if set == "" || !shared[key{vrrp.FamilyOf(e.VIP), vrid}] {
			continue
		}
		remedy := "leave vrid out, or name one that only VIPs of the same Services have"
		if e.VRID == 0 {
			remedy = fmt.Sprintf("all VRIDs from %d to %d are in use: name a free one (vrid)", firstAutomaticVRID, lastAutomaticVRID)
		}
		p := e.Problem(fmt.Sprintf("VRID %d has other VIPs too, which need no endpoint of %s on their node, or need others: this VIP goes also to nodes without one, where its connections fail; %s", vrid, set, remedy))
		p.Notice = true
		problems = append(problems, p)
	}
	slices.SortFunc(services, func(a, b config.ObjectName) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(services), problems
}

// following returns the Services of a set whose endpoints matter on this node.
func (l *locals) following(set string) []config.ObjectName {
	if set == "" || l.self.node == l.options.PodName {
		return nil // Which endpoints are on this node is not known.
	}
	return slices.DeleteFunc(namesOf(set), func(n config.ObjectName) bool {
		// The proxy leads to the ClusterIP.
		return l.in.noKubeProxy && !internalLocal(l.backend(n))
	})
}
