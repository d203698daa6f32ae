package controller

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/internal/prefix"
	"kube-vrrp-vip/pkg/vrrp"
)

// member is a node that runs the daemon.
type member struct {
	node string
	// addresses are the node's own addresses, at most one of each family, IPv4 first.
	addresses []netip.Addr
	// annotated is the priority in the Node's annotation, or 0 if it has none.
	annotated uint8
}

// address returns the address of a family, or the zero Addr if there is none.
func (m member) address(f vrrp.Family) netip.Addr {
	for _, a := range m.addresses {
		if vrrp.FamilyOf(a) == f {
			return a
		}
	}
	return netip.Addr{}
}

// priority returns the priority of the node in virtual routers with this VRID.
func (m member) priority(vrid uint8) uint8 {
	if m.annotated != 0 {
		return m.annotated
	}
	return hashPriority(m.node, vrid)
}

// members returns this node and the other nodes that run the daemon, sorted by
// address. The only possible Problem is an invalid annotation of this node.
func members(o config.Options, in inputs) (self member, peers []member, problems []config.Problem) {
	nodes := map[string]*corev1.Node{}
	for _, n := range in.nodes {
		nodes[n.Name] = n
	}
	newMember := func(node string, addresses []netip.Addr) (m member, err error) {
		if n := nodes[node]; n != nil {
			addresses = append(addresses, internalAddresses(n)...)
			if s := n.Annotations[priorityAnnotation]; s != "" {
				m.annotated, err = parsePriority(s)
			}
		}
		m.node, m.addresses = node, firstOfEach(addresses)
		return m, err
	}

	pod := findPod(in.pods, o.PodName)
	node, addresses := o.NodeName, []netip.Addr{o.HostIP}
	if pod != nil {
		node = cmp.Or(node, pod.Spec.NodeName)
		addresses = append(addresses, hostAddresses(pod)...)
	}
	self, err := newMember(node, addresses)
	if err != nil {
		problems = append(problems, config.Problem{
			Key:     priorityAnnotation,
			Value:   config.Shorten(nodes[node].Annotations[priorityAnnotation]),
			Message: fmt.Sprintf("annotation of node %s: %s; until then the priority is derived from the node's name", node, err),
		})
	}
	// Without the name of the node, that of the pod distinguishes it from its peers.
	self.node = cmp.Or(self.node, o.PodName)

	known := slices.Clone(self.addresses)
	for _, p := range siblings(pod, in.pods) {
		// A peer reports an error in its annotation itself.
		m, _ := newMember(p.Spec.NodeName, hostAddresses(p))
		if len(m.addresses) == 0 || slices.ContainsFunc(m.addresses, func(a netip.Addr) bool { return slices.Contains(known, a) }) {
			continue
		}
		peers = append(peers, m)
		known = append(known, m.addresses...)
	}
	slices.SortFunc(peers, func(a, b member) int { return a.addresses[0].Compare(b.addresses[0]) })
	return self, peers, problems
}

func findPod(pods []*corev1.Pod, name string) *corev1.Pod {
	i := slices.IndexFunc(pods, func(p *corev1.Pod) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return pods[i]
}

// siblings returns the other pods of pod's DaemonSet that may be running,
// sorted by name.
func siblings(pod *corev1.Pod, pods []*corev1.Pod) []*corev1.Pod {
	if pod == nil || metav1.GetControllerOf(pod) == nil {
		return nil
	}
	var found []*corev1.Pod
	for _, p := range pods {
		ended := p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
		if p.Name != pod.Name && !ended && metav1.IsControlledBy(p, &metav1.ObjectMeta{UID: metav1.GetControllerOf(pod).UID}) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return found
}

func hostAddresses(p *corev1.Pod) []netip.Addr {
	addresses := []netip.Addr{parseAddr(p.Status.HostIP)}
	for _, ip := range p.Status.HostIPs {
		addresses = append(addresses, parseAddr(ip.IP))
	}
	return addresses
}

func internalAddresses(n *corev1.Node) []netip.Addr {
	var addresses []netip.Addr
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			addresses = append(addresses, parseAddr(a.Address))
		}
	}
	return addresses
}

// firstOfEach returns the first IPv4 address and the first IPv6 address, if any.
func firstOfEach(addresses []netip.Addr) []netip.Addr {
	var first []netip.Addr
	for _, f := range []vrrp.Family{vrrp.IPv4, vrrp.IPv6} {
		i := slices.IndexFunc(addresses, func(a netip.Addr) bool { return a.IsValid() && vrrp.FamilyOf(a) == f })
		if i >= 0 {
			first = append(first, addresses[i])
		}
	}
	return first
}

// parseAddr parses an address. It returns the zero Addr if s is not one.
func parseAddr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a.Unmap()
}

// nodeAddresses maps the addresses of all nodes, with or without the daemon, to the
// names of the nodes. Such an address as a VIP would disconnect the node from the
// network.
func nodeAddresses(self member, peers []member, nodes []*corev1.Node) map[netip.Addr]string {
	nodeOf := map[netip.Addr]string{}
	for _, n := range nodes {
		// Only the first of each family: some infrastructure providers list bound VIPs too.
		for _, a := range firstOfEach(internalAddresses(n)) {
			// The caches have no order: choose the same of two nodes each time.
			if other, ok := nodeOf[a]; !ok || n.Name < other {
				nodeOf[a] = n.Name
			}
		}
	}
	for _, m := range append(slices.Clone(peers), self) {
		for _, a := range m.addresses {
			nodeOf[a] = m.node
		}
	}
	return nodeOf
}

// podNetworks returns the pod CIDRs of a node, sorted, or nil if they are not known.
func podNetworks(node string, nodes []*corev1.Node) []netip.Prefix {
	var networks []netip.Prefix
	for _, n := range nodes {
		if n.Name != node {
			continue
		}
		for _, s := range append([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs...) {
			if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
				networks = append(networks, p)
			}
		}
	}
	return prefix.Outermost(networks)
}
