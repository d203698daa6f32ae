package controller

import (
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// localPolicy knows the VIPs of Services with a Local traffic policy: their
// traffic stays on the node that it reaches, so they go only to nodes with an
// endpoint.
type localPolicy struct {
	options config.Options
	in      inputs
	self    member
	backend func(config.ObjectName) *backend
	// sets has the set of such Services of each VIP that has any (see
	// localServiceSet), vrids the VRID of each set that has one of its own.
	sets  map[netip.Addr]string
	vrids map[string]uint8
}

// newLocalPolicy reads all entries: also those that this node does not serve
// count for the VRIDs, on which all nodes must agree.
func newLocalPolicy(o config.Options, in inputs, self member, backend func(config.ObjectName) *backend, entries []config.Entry) *localPolicy {
	l := &localPolicy{options: o, in: in, self: self, backend: backend, sets: map[netip.Addr]string{}}
	for _, e := range entries {
		if set := localServiceSet(e, backend); set != "" {
			l.sets[e.VIP] = set
		}
	}
	l.vrids = automaticVRIDs(o, entries, l.sets)
	return l
}

// vridOf returns the VRID of an entry: its own, else that of its set, else the
// one of other VIPs.
func (l *localPolicy) vridOf(e config.Entry) uint8 {
	if set := l.sets[e.VIP]; set != "" && e.VRID == 0 && l.vrids[set] != 0 {
		return l.vrids[set]
	}
	return vridOf(l.options, e)
}

// setEligibility sets NoLocalEndpoint of those of routers, the ones of entries,
// that this node is not eligible for. It returns the Services whose endpoints
// decide that, sorted.
func (l *localPolicy) setEligibility(routers []desired.Router, entries []config.Entry) (services []config.ObjectName, problems []config.Problem) {
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
		names := l.watchedServices(set)
		services = append(services, names...)
		var all []endpointLocality
		for _, n := range names {
			p := l.in.locality(n, l.self.node, r.Family)
			if p == localityForbidden {
				problems = append(problems, config.Problem{
					Key:     l.options.ConfigMap.String(),
					Message: "listing and watching endpointslices is not permitted: VIPs of Services with a Local policy go to any node, even to one without an endpoint; apply manifests/rbac.yaml",
					Notice:  true,
				})
			}
			all = append(all, p)
		}
		if slices.Contains(all, localityUnknown) {
			// It will be known soon: until then a VIP stays where it is.
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
		remedy := "leave vrid out, or choose one that only VIPs of the same Services use"
		if e.VRID == 0 {
			remedy = fmt.Sprintf("all VRIDs from %d to %d are in use: choose a free one (vrid)", firstAutomaticVRID, lastAutomaticVRID)
		}
		p := e.Problem(fmt.Sprintf("VRID %d is shared with VIPs that depend on other Services than %s, or on none: this VIP also goes to nodes without an endpoint of these, where its connections fail; %s", vrid, set, remedy))
		p.Notice = true
		problems = append(problems, p)
	}
	slices.SortFunc(services, func(a, b config.ObjectName) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(services), problems
}

// watchedServices returns the Services of a set whose endpoints matter on this
// node.
func (l *localPolicy) watchedServices(set string) []config.ObjectName {
	if set == "" || l.self.node == l.options.PodName {
		return nil // Which endpoints are on this node is not known.
	}
	return slices.DeleteFunc(servicesOfSet(set), func(n config.ObjectName) bool {
		// The proxy leads to the ClusterIP.
		return l.in.noKubeProxy && !internalPolicyLocal(l.backend(n))
	})
}

// hasLocalPolicy reports whether a node sends traffic of e to its Service b only
// to endpoints on the node itself. It depends on the ConfigMap and the Services
// alone, since all nodes must come to the same virtual routers. A Service that
// refuses every port does so on any node.
func hasLocalPolicy(e config.Entry, b *backend) bool {
	return b != nil && (internalPolicyLocal(b) || nodePortLocal(e, b)) && b.clusterIP(vrrp.FamilyOf(e.VIP)).IsValid()
}

// internalPolicyLocal reports whether the ClusterIP of b leads to endpoints of the same
// node only.
func internalPolicyLocal(b *backend) bool {
	p := b.spec.InternalTrafficPolicy
	return p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal
}

// nodePortLocal reports whether a port of e leads to a NodePort that is served by
// endpoints of the same node only. A proxied port leads to the ClusterIP: its
// header preserves the client's address.
func nodePortLocal(e config.Entry, b *backend) bool {
	return b.externalPolicyLocal && slices.ContainsFunc(b.ports, func(p servicePort) bool {
		return p.nodePort != 0 && (e.ProxyProtocol == 0 || p.protocol != desired.TCP)
	})
}

// localServiceSet returns the set of Services of e with a Local policy, as one
// string: VIPs of the same set go to the same nodes, and those of the empty set
// to any node.
func localServiceSet(e config.Entry, backend func(config.ObjectName) *backend) string {
	var names []string
	for _, s := range e.Services {
		if hasLocalPolicy(e, backend(s.Name)) {
			names = append(names, s.Name.String())
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), setSeparator)
}

// setSeparator joins the names of a set of Services.
const setSeparator = ", "

// servicesOfSet returns the Services of a set.
func servicesOfSet(set string) (names []config.ObjectName) {
	for name := range strings.SplitSeq(set, setSeparator) {
		namespace, name, _ := strings.Cut(name, "/")
		names = append(names, config.ObjectName{Namespace: namespace, Name: name})
	}
	return names
}

// eligible reports whether a node can serve VIPs of several Services, from the
// locality of the endpoints of each. A Service without any endpoint does not
// count.
func eligible(all []endpointLocality) bool {
	served := false
	for _, p := range all {
		switch p {
		case localityUnknown, localityOtherNode:
			return false
		case localityNone:
		case localityThisNode, localityOverdue, localityForbidden:
			served = true
		}
	}
	return served
}

// The VRIDs that VIPs of Services with a Local policy get if their entry names
// none: such VIPs need a virtual router that may have another Master than the
// one of other VIPs.
const (
	firstAutomaticVRID = 128
	lastAutomaticVRID  = 255
)

// automaticVRIDs returns the VRID of each set of Services that needs one, while
// there are free ones; sets has the set of each VIP. A set gets its VRID from a
// hash of its name. If that is taken by a flag, an entry or a set that comes
// first by name, the set gets the next free one: only those VRIDs can change when
// other sets come and go.
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
