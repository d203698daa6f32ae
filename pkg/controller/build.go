package controller

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// inputs are the contents of the caches at one instant.
type inputs struct {
	// configMap is nil if it does not exist.
	configMap *corev1.ConfigMap
	// service returns a Service, or nil if it does not exist.
	service func(config.ObjectName) *corev1.Service
	// pods are the pods in the daemon's namespace, and nodes the Nodes of the
	// cluster. They are empty if watching them is not permitted.
	pods  []*corev1.Pod
	nodes []*corev1.Node
	// noKubeProxy reports whether this node runs no kube-proxy.
	noKubeProxy bool
	// locality returns the location of the endpoints of a Service, relative to node.
	locality func(n config.ObjectName, node string, f vrrp.Family) endpointLocality
	// wasEligible reports whether this node was eligible for a virtual router in the
	// last State.
	wasEligible func(f vrrp.Family, vrid uint8) bool
}

// built is the result of build.
type built struct {
	state desired.State
	// servicesOf maps each VIP with Services to their names.
	servicesOf map[netip.Addr][]config.ObjectName
	// watchedServices are the Services whose endpoints the Controller must watch,
	// sorted.
	watchedServices []config.ObjectName
	// problems are sorted by key.
	problems []config.Problem
}

// build derives the desired State of this node from inputs. An error in one entry
// does not affect the others.
func build(o config.Options, in inputs) built {
	self, peers, problems := members(o, in)
	b := built{
		state: desired.State{
			NodeAddresses: self.addresses,
			Datapath:      desired.Datapath{PodCIDRs: podNetworks(self.node, in.nodes)},
		},
		servicesOf: map[netip.Addr][]config.ObjectName{},
		problems:   problems,
	}
	if in.configMap == nil {
		b.problems = append(b.problems, config.Problem{
			Key:     o.ConfigMap.String(),
			Message: "the ConfigMap does not exist: no VIP is served until it does",
			Notice:  true,
		})
		return b
	}

	entries, problems := config.ParseEntries(in.configMap.Data)
	b.problems = append(b.problems, problems...)
	nodeOf := nodeAddresses(self, peers, in.nodes)
	f := newForwarder(o, in, self)
	overCapacity := f.overCapacity(entries)
	var served []config.Entry
	for _, e := range entries {
		if message := unservedReason(o, e, self, nodeOf); message != "" {
			b.problems = append(b.problems, e.Problem(message))
			continue
		}
		served = append(served, e)
		if !e.Forwards() {
			continue
		}
		for _, s := range e.Services {
			b.servicesOf[e.VIP] = append(b.servicesOf[e.VIP], s.Name)
		}
		if message := overCapacity[e.VIP]; message != "" {
			b.problems = append(b.problems, e.Problem(message))
			e.Services, e.Refused = nil, true
		}
		forward, problems := f.forward(e)
		b.state.Datapath.Forwards = append(b.state.Datapath.Forwards, forward)
		b.problems = append(b.problems, problems...)
	}
	l := newLocalPolicy(o, in, self, f.backend, entries)
	b.state.Routers = routers(o, self, peers, served, l.vridOf)
	b.watchedServices, problems = l.setEligibility(b.state.Routers, served)
	b.problems = append(b.problems, problems...)
	for _, r := range b.state.Routers {
		if most := vrrp.MaxAddresses(r.Family); len(r.VIPs) > most {
			b.problems = append(b.problems, config.Problem{
				Key: o.ConfigMap.String(),
				Message: fmt.Sprintf("VRID %d has %d IPv%d addresses: if they are on one interface, the first %d are advertised, and the others are only bound and announced; spread them with --vrids or vrid",
					r.VRID, len(r.VIPs), r.Family, most),
				Notice: true,
			})
		}
	}
	slices.SortStableFunc(b.problems, func(a, b config.Problem) int { return cmp.Compare(a.Key, b.Key) })
	b.problems = distinct(b.problems)
	return b
}

// unservedReason returns the reason why this node cannot serve e, or "" if it can.
func unservedReason(o config.Options, e config.Entry, self member, nodeOf map[netip.Addr]string) string {
	family := vrrp.FamilyOf(e.VIP)
	if node, ok := nodeOf[e.VIP]; ok {
		return fmt.Sprintf("not served: %s is the address of node %s, write a free address of the nodes' network", e.VIP, node)
	}
	if family == vrrp.IPv6 && o.VRRP.Version == vrrp.V2 {
		return fmt.Sprintf("not served: VRRPv2 has no IPv6, %s needs --vrrp-version=3", e.VIP)
	}
	if o.VRRP.Unicast && !self.address(family).IsValid() {
		return fmt.Sprintf("not served: node %s has no IPv%d address to send advertisements of %s from, which --use-unicast requires: give it one (--node-ip of the kubelet), or use multicast", self.node, family, e.VIP)
	}
	return ""
}

// distinct removes duplicates: VIPs that share a Service share its Problems.
func distinct(problems []config.Problem) []config.Problem {
	known := map[config.Problem]bool{}
	return slices.DeleteFunc(problems, func(p config.Problem) bool {
		twice := known[p]
		known[p] = true
		return twice
	})
}
