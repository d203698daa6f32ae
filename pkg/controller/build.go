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
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// inputs is what the caches hold at one moment.
type inputs struct {
	// configMap is nil if it does not exist.
	configMap *corev1.ConfigMap
	// service returns nil for one that does not exist.
	service func(config.ObjectName) *corev1.Service
	// pods are those of the daemon's namespace, nodes those of the cluster;
	// empty where watching them is not permitted.
	pods  []*corev1.Pod
	nodes []*corev1.Node
}

// built is what follows from inputs.
type built struct {
	state desired.State
	// serviceOf names the Service behind each VIP that has one.
	serviceOf map[netip.Addr]config.ObjectName
	// problems are sorted by key.
	problems []config.Problem
}

// build decides what this node is asked to do. What is wrong with one entry
// costs the others nothing.
func build(o config.Options, in inputs) built {
	self, peers, problems := members(o, in)
	state := desired.State{}
	if self.address.IsValid() {
		state.NodeAddresses = []netip.Addr{self.address}
	}
	if in.configMap == nil {
		return built{state: state, problems: append(problems, config.Problem{
			Key:     o.ConfigMap.String(),
			Message: "the ConfigMap does not exist: no VIP is served until it does",
			Notice:  true,
		})}
	}

	entries, entryProblems := config.ParseEntries(in.configMap.Data)
	problems = append(problems, entryProblems...)
	nodeOf := nodeAddresses(self, peers, in.nodes)
	var vips []desired.VIP
	serviceOf := map[netip.Addr]config.ObjectName{}
	for _, e := range entries {
		if node, ok := nodeOf[e.VIP]; ok {
			problems = append(problems, e.Problem(fmt.Sprintf("not served: %s is the address of node %s, write a free address of the nodes' network", e.VIP, node)))
			continue
		}
		vip := desired.VIP{Address: e.VIP}
		if o.Interface != "" {
			vip.Interfaces = []string{o.Interface}
		}
		vips = append(vips, vip)
		if !e.Forwards() {
			continue
		}
		forward := desired.Forward{VIP: e.VIP}
		if !e.Refused {
			serviceOf[e.VIP] = e.Service
			var messages []string
			forward.Ports, forward.NodePorts, messages = ports(o, e, in.service(e.Service))
			for _, m := range messages {
				problems = append(problems, e.Problem(m))
			}
		}
		state.Forwards = append(state.Forwards, forward)
	}
	if len(vips) > 0 {
		vrid := uint8(o.VRID)
		state.Routers = []desired.Router{{
			Family:                vrrp.IPv4,
			VRID:                  vrid,
			Version:               vrrp.Version(o.VRRPVersion),
			Priority:              self.priority,
			AdvertisementInterval: o.AdvertisementInterval,
			Preempt:               o.Preempt,
			TakeoverDelay:         takeoverDelay(self, peers, vrid, o.AdvertisementInterval),
			VIPs:                  vips,
		}}
	}
	slices.SortStableFunc(problems, func(a, b config.Problem) int { return cmp.Compare(a.Key, b.Key) })
	return built{state: state, serviceOf: serviceOf, problems: problems}
}

// members returns this node and the other nodes that run the daemon, sorted by
// address. The only Problem there can be is this node's own.
func members(o config.Options, in inputs) (self member, peers []member, problems []config.Problem) {
	pod := findPod(in.pods, o.PodName)
	self.node = o.NodeName
	addresses := []netip.Addr{o.HostIP}
	if pod != nil {
		self.node = cmp.Or(self.node, pod.Spec.NodeName)
		addresses = append(addresses, hostAddresses(pod)...)
	}
	nodes := map[string]*corev1.Node{}
	for _, n := range in.nodes {
		nodes[n.Name] = n
	}
	if n := nodes[self.node]; n != nil {
		addresses = append(addresses, internalAddresses(n)...)
	}
	self.address = preferIPv4(addresses)
	// Without any name the pod's at least tells this node from its peers.
	self.node = cmp.Or(self.node, o.PodName)

	priority := func(node string) (uint8, error) {
		p := hashPriority(node, uint8(o.VRID))
		n := nodes[node]
		if n == nil || n.Annotations[priorityAnnotation] == "" {
			return p, nil
		}
		annotated, err := parsePriority(n.Annotations[priorityAnnotation])
		if err != nil {
			return p, err
		}
		return annotated, nil
	}
	var err error
	if self.priority, err = priority(self.node); err != nil {
		problems = append(problems, config.Problem{
			Key:     priorityAnnotation,
			Value:   config.Shorten(nodes[self.node].Annotations[priorityAnnotation]),
			Message: fmt.Sprintf("annotation of node %s: %s; %d, from the node's name, is used until then", self.node, err, self.priority),
		})
	}
	for _, p := range siblings(pod, in.pods) {
		m := member{node: p.Spec.NodeName, address: preferIPv4(hostAddresses(p))}
		known := slices.ContainsFunc(peers, func(o member) bool { return o.address == m.address })
		if !m.address.IsValid() || m.address == self.address || known {
			continue
		}
		// A peer reports what is wrong with its annotation itself.
		m.priority, _ = priority(m.node)
		peers = append(peers, m)
	}
	slices.SortFunc(peers, func(a, b member) int { return a.address.Compare(b.address) })
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

// preferIPv4 returns the first IPv4 address, else the first address at all.
func preferIPv4(addresses []netip.Addr) netip.Addr {
	var first netip.Addr
	for _, a := range addresses {
		if a.Is4() {
			return a
		}
		if !first.IsValid() {
			first = a
		}
	}
	return first
}

// parseAddr returns the invalid address for anything but an address.
func parseAddr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a.Unmap()
}

// nodeAddresses names the node of each address that is a node's own, whether or
// not it runs the daemon. As a VIP it would take the node off the network.
func nodeAddresses(self member, peers []member, nodes []*corev1.Node) map[netip.Addr]string {
	nodeOf := map[netip.Addr]string{}
	for _, n := range nodes {
		// The first only: some infrastructures list a bound VIP among the others.
		a := preferIPv4(internalAddresses(n))
		// The caches have no order. Of two nodes always the same is named.
		if other, ok := nodeOf[a]; a.IsValid() && (!ok || n.Name < other) {
			nodeOf[a] = n.Name
		}
	}
	for _, m := range append(slices.Clone(peers), self) {
		nodeOf[m.address] = m.node
	}
	return nodeOf
}

// ports returns where the ports of the Service of e lead, its NodePorts, and
// what is wrong with it. Without a Service that can be reached there are none.
func ports(o config.Options, e config.Entry, s *corev1.Service) (ports []desired.Port, nodePorts []desired.NodePort, messages []string) {
	target, problem := clusterIP(o, e, s)
	if problem != "" {
		return nil, nil, []string{problem + "; until then the VIP refuses every port"}
	}
	for _, p := range s.Spec.Ports {
		var protocol desired.Protocol
		switch p.Protocol {
		case corev1.ProtocolTCP, "":
			protocol = desired.TCP
		case corev1.ProtocolUDP:
			protocol = desired.UDP
		default:
			messages = append(messages, fmt.Sprintf("port %d/%s of Service %s is not served: only TCP and UDP are supported", p.Port, p.Protocol, e.Service))
			continue
		}
		ports = append(ports, desired.Port{Protocol: protocol, Port: uint16(p.Port), Target: target})
		if p.NodePort != 0 {
			nodePorts = append(nodePorts, desired.NodePort{Protocol: protocol, Port: uint16(p.NodePort)})
		}
	}
	slices.SortFunc(ports, func(a, b desired.Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	ports = slices.Compact(ports)
	slices.SortFunc(nodePorts, func(a, b desired.NodePort) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	nodePorts = slices.Compact(nodePorts)
	if len(ports) == 0 {
		messages = append(messages, fmt.Sprintf("Service %s has no TCP or UDP port: the VIP refuses every port", e.Service))
	}
	return ports, nodePorts, messages
}

// clusterIP returns the IPv4 ClusterIP of s, the Service of e, or what is wrong
// with it.
func clusterIP(o config.Options, e config.Entry, s *corev1.Service) (ip netip.Addr, problem string) {
	switch {
	case o.WatchNamespace != "" && e.Service.Namespace != o.WatchNamespace:
		return ip, fmt.Sprintf("Service %s is outside of --watch-namespace=%s: name one inside, or leave the flag out", e.Service, o.WatchNamespace)
	case s == nil:
		return ip, fmt.Sprintf("Service %s does not exist: create it, or name another", e.Service)
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		return ip, fmt.Sprintf("Service %s is of type ExternalName and has no ClusterIP: name one of type ClusterIP", e.Service)
	case s.Spec.ClusterIP == corev1.ClusterIPNone:
		return ip, fmt.Sprintf("Service %s is headless (clusterIP: None): name one with a ClusterIP", e.Service)
	case s.Spec.ClusterIP == "":
		return ip, fmt.Sprintf("Service %s has no ClusterIP yet", e.Service)
	}
	for _, a := range append([]string{s.Spec.ClusterIP}, s.Spec.ClusterIPs...) {
		if ip = parseAddr(a); ip.Is4() {
			return ip, ""
		}
	}
	return ip, fmt.Sprintf("Service %s has no IPv4 ClusterIP: add IPv4 to its ipFamilies, or name another", e.Service)
}
