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

// localPolicy determines the VRIDs and the eligibility of nodes for VIPs of Services
// with a Local traffic policy. Their traffic stays on the node that it reaches, so
// only a node with an endpoint may be their Master.
type localPolicy struct {
	options config.Options
	in      inputs
	self    member
	backend func(config.ObjectName) *backend
	// sets maps each VIP with such Services to the set of them (see
	// localServiceSet). vrids maps sets to the VRIDs that are assigned automatically.
	sets  map[netip.Addr]string
	vrids map[string]uint8
}

// newLocalPolicy returns the localPolicy of all entries. They include entries that
// this node does not serve: all nodes must assign the same VRIDs.
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

// vridOf returns the VRID of an entry: its own, or else the automatic VRID of its
// set, or else the VRID that the flags determine.
func (l *localPolicy) vridOf(e config.Entry) uint8 {
	if set := l.sets[e.VIP]; set != "" && e.VRID == 0 && l.vrids[set] != 0 {
		return l.vrids[set]
	}
	return vridOf(l.options, e)
}

// setEligibility sets NoLocalEndpoint in the routers that this node is not eligible
// for; routers are those of entries. It returns the Services whose endpoints decide
// the eligibility, sorted.
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
			// The endpoints will be known soon: until then the VIPs do not move.
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

// watchedServices returns the Services of a set whose endpoints decide the
// eligibility of this node.
func (l *localPolicy) watchedServices(set string) []config.ObjectName {
	if set == "" || l.self.node == l.options.PodName {
		return nil // The name of the node is unknown, and so are its endpoints.
	}
	return slices.DeleteFunc(servicesOfSet(set), func(n config.ObjectName) bool {
		// The daemon's own proxy connects to the ClusterIP.
		return l.in.noKubeProxy && !internalPolicyLocal(l.backend(n))
	})
}

// hasLocalPolicy reports whether a node forwards traffic of e to its Service b only
// to endpoints on the node itself. The result depends only on the ConfigMap and the
// Services, since all nodes must assign the same VRIDs. A Service without a ClusterIP
// of the family does not count: every node refuses its ports.
func hasLocalPolicy(e config.Entry, b *backend) bool {
	return b != nil && (internalPolicyLocal(b) || nodePortLocal(e, b)) && b.clusterIP(vrrp.FamilyOf(e.VIP)).IsValid()
}

// internalPolicyLocal reports whether the internalTrafficPolicy of b is Local: its
// ClusterIP leads only to endpoints on the same node.
func internalPolicyLocal(b *backend) bool {
	p := b.spec.InternalTrafficPolicy
	return p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal
}

// nodePortLocal reports whether a port of e leads to a NodePort with
// externalTrafficPolicy: Local. A proxied port leads to the ClusterIP instead: its
// header carries the client's address.
func nodePortLocal(e config.Entry, b *backend) bool {
	return b.externalPolicyLocal && slices.ContainsFunc(b.ports, func(p servicePort) bool {
		return p.nodePort != 0 && (e.ProxyProtocol == 0 || p.protocol != desired.TCP)
	})
}

// localServiceSet returns the set of Services of e with a Local policy, as a string.
// The same nodes are eligible for VIPs of the same set, and all nodes for VIPs of the
// empty set.
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

// setSeparator separates the names in a set of Services.
const setSeparator = ", "

// servicesOfSet returns the Services of a set.
func servicesOfSet(set string) (names []config.ObjectName) {
	for name := range strings.SplitSeq(set, setSeparator) {
		namespace, name, _ := strings.Cut(name, "/")
		names = append(names, config.ObjectName{Namespace: namespace, Name: name})
	}
	return names
}

// eligible reports whether a node can serve VIPs of several Services with endpoints
// at these locations. A Service without endpoints does not count.
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

// The range of automatic VRIDs. VIPs of Services with a Local policy get one if their
// entry has no VRID: their virtual router must be able to have another Master than
// that of other VIPs.
const (
	firstAutomaticVRID = 128
	lastAutomaticVRID  = 255
)

// automaticVRIDs assigns a VRID to each set of Services that needs one, as long as
// there are free VRIDs; sets maps VIPs to their set. The hash of a set determines its
// VRID. If a flag, an entry or a set that comes first by name has this VRID already,
// the set gets the next free one. Only such a VRID can change when other sets are
// added or removed.
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
	offset := func(set string) int {
		h := fnv.New32a()
		h.Write([]byte(set))
		return int(h.Sum32() % n)
	}
	vrids := map[string]uint8{}
	var moved []string
	for _, set := range slices.Sorted(maps.Keys(needed)) {
		vrid := firstAutomaticVRID + offset(set)
		if taken[vrid] {
			moved = append(moved, set)
			continue
		}
		taken[vrid], vrids[set] = true, uint8(vrid)
	}
	for _, set := range moved {
		for i := range n {
			vrid := firstAutomaticVRID + (offset(set)+i)%n
			if !taken[vrid] {
				taken[vrid], vrids[set] = true, uint8(vrid)
				break
			}
		}
	}
	return vrids
}
