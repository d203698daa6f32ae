package controller

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// staysLocal tells whether what reaches e on a node gets to an endpoint of its
// Service b on that node only. It must follow from the ConfigMap and the
// Services alone: all nodes must come to the same virtual routers. A Service
// that refuses every port does so on any node.
func staysLocal(e config.Entry, b *backend) bool {
	return b != nil && (internalLocal(b) || externalLocal(e, b)) && b.clusterIP(vrrp.FamilyOf(e.VIP)).IsValid()
}

// internalLocal tells whether the ClusterIP of b leads to endpoints of the same
// node only.
func internalLocal(b *backend) bool {
	p := b.spec.InternalTrafficPolicy
	return p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal
}

// externalLocal tells whether a port of e leads to a NodePort that is served by
// endpoints of the same node only. The proxy leads to the ClusterIP: with its
// header the client's address is not lost.
func externalLocal(e config.Entry, b *backend) bool {
	return b.isLocal && slices.ContainsFunc(b.ports, func(p servicePort) bool {
		return p.nodePort != 0 && (e.ProxyProtocol == 0 || p.protocol != desired.TCP)
	})
}

// localSet names the Services of e whose traffic stays on a node, as one
// string: VIPs with the same one go to the same nodes. Empty: to any node.
func localSet(e config.Entry, backend func(config.ObjectName) *backend) string {
	var names []string
	for _, s := range e.Services {
		if staysLocal(e, backend(s.Name)) {
			names = append(names, s.Name.String())
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), setSeparator)
}

// setSeparator joins the names of a set of Services.
const setSeparator = ", "

// namesOf returns the Services of a set.
func namesOf(set string) (names []config.ObjectName) {
	for name := range strings.SplitSeq(set, setSeparator) {
		namespace, name, _ := strings.Cut(name, "/")
		names = append(names, config.ObjectName{Namespace: namespace, Name: name})
	}
	return names
}

// endpoint is what matters of an endpoint of a Service.
type endpoint struct {
	node string
	// family is 0 if it counts for both: Endpoints have one family only, of the
	// same pods.
	family vrrp.Family
	ready  bool
	// draining tells that it is terminating and still serves.
	draining bool
}

// presence is where the endpoints of a Service are, as one node sees it.
type presence int

const (
	// presenceUnknown is right after they began to be watched.
	presenceUnknown presence = iota
	presenceNowhere
	presenceElsewhere
	presenceHere
	// presenceOverdue is when they could not be learned for long, and
	// presenceDenied when to watch them is not permitted.
	presenceOverdue
	presenceDenied
)

// presenceOn returns where endpoints are, as node sees it. Like kube-proxy it
// falls back to those that are terminating, once no other is left.
func presenceOn(node string, family vrrp.Family, endpoints []endpoint) presence {
	ready, draining := presenceNowhere, presenceNowhere
	for _, e := range endpoints {
		if e.family != 0 && e.family != family {
			continue
		}
		at := presenceElsewhere
		if e.node == node {
			at = presenceHere
		}
		if e.ready {
			ready = max(ready, at)
		}
		if e.draining {
			draining = max(draining, at)
		}
	}
	if ready != presenceNowhere {
		return ready
	}
	return draining
}

// eligible tells whether a node can serve VIPs of Services whose endpoints are
// where all says. A Service without any endpoint keeps no other from being
// served.
func eligible(all []presence) bool {
	served := false
	for _, p := range all {
		switch p {
		case presenceUnknown, presenceElsewhere:
			return false
		case presenceNowhere:
		case presenceHere, presenceOverdue, presenceDenied:
			served = true
		}
	}
	return served
}
