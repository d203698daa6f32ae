package controller

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
)

// ports returns where the ports of the Service of e lead, its NodePorts, and
// what is wrong with it. Without a Service that can be reached there are none.
func ports(o config.Options, e config.Entry, name config.ObjectName, s *corev1.Service) (ports []desired.Port, nodePorts []desired.NodePort, messages []string) {
	target, problem := clusterIP(o, e, name, s)
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
			messages = append(messages, fmt.Sprintf("port %d/%s of Service %s is not served: only TCP and UDP are supported", p.Port, p.Protocol, name))
			continue
		}
		ports = append(ports, desired.Port{Protocol: protocol, Port: uint16(p.Port), Target: netip.AddrPortFrom(target, uint16(p.Port))})
		if p.NodePort != 0 {
			nodePorts = append(nodePorts, desired.NodePort{Protocol: protocol, Port: uint16(p.NodePort)})
		}
	}
	slices.SortFunc(ports, func(a, b desired.Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	ports = slices.CompactFunc(ports, func(a, b desired.Port) bool { return a.Protocol == b.Protocol && a.Port == b.Port })
	slices.SortFunc(nodePorts, func(a, b desired.NodePort) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	nodePorts = slices.Compact(nodePorts)
	if len(ports) == 0 {
		messages = append(messages, fmt.Sprintf("Service %s has no TCP or UDP port: the VIP refuses every port", name))
	}
	return ports, nodePorts, messages
}

// clusterIP returns the IPv4 ClusterIP of s, the Service of e, or what is wrong
// with it.
func clusterIP(o config.Options, e config.Entry, name config.ObjectName, s *corev1.Service) (ip netip.Addr, problem string) {
	switch {
	case e.VIP.Is6():
		return ip, fmt.Sprintf("%s is an IPv6 VIP, and those do not reach Services yet: leave the Service out to have the address only", e.VIP)
	case o.WatchNamespace != "" && name.Namespace != o.WatchNamespace:
		return ip, fmt.Sprintf("Service %s is outside of --watch-namespace=%s: name one inside, or leave the flag out", name, o.WatchNamespace)
	case s == nil:
		return ip, fmt.Sprintf("Service %s does not exist: create it, or name another", name)
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		return ip, fmt.Sprintf("Service %s is of type ExternalName and has no ClusterIP: name one of type ClusterIP", name)
	case s.Spec.ClusterIP == corev1.ClusterIPNone:
		return ip, fmt.Sprintf("Service %s is headless (clusterIP: None): name one with a ClusterIP", name)
	case s.Spec.ClusterIP == "":
		return ip, fmt.Sprintf("Service %s has no ClusterIP yet", name)
	}
	for _, a := range append([]string{s.Spec.ClusterIP}, s.Spec.ClusterIPs...) {
		if ip = parseAddr(a); ip.Is4() {
			return ip, ""
		}
	}
	return ip, fmt.Sprintf("Service %s has no IPv4 ClusterIP: add IPv4 to its ipFamilies, or name another", name)
}
