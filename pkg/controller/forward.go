package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// forwarder determines the destinations of the ports of VIPs.
type forwarder struct {
	options config.Options
	self    member
	// noKubeProxy reports whether nothing on this node translates the ClusterIPs of
	// forwarded packets.
	noKubeProxy bool
	service     func(config.ObjectName) *corev1.Service
	// backends caches the backends, since many VIPs may share a Service.
	backends map[config.ObjectName]*backend
}

func newForwarder(o config.Options, in inputs, self member) *forwarder {
	return &forwarder{options: o, self: self, noKubeProxy: in.noKubeProxy, service: in.service, backends: map[config.ObjectName]*backend{}}
}

// backend returns the Service with this name, or nil if it does not exist.
func (f *forwarder) backend(name config.ObjectName) *backend {
	b, known := f.backends[name]
	if !known {
		if s := f.service(name); s != nil {
			b = newBackend(name, s)
		}
		f.backends[name] = b
	}
	return b
}

// forward returns the Forward of e's VIP and the Problems of its Services. A Problem
// of one Service does not affect the others.
func (f *forwarder) forward(e config.Entry) (desired.Forward, []config.Problem) {
	p := plan{forwarder: f, entry: e, family: vrrp.FamilyOf(e.VIP)}
	p.node = f.self.address(p.family)
	p.allowHostPorts = (e.AllowHostPorts || f.options.AllowHostPorts) && !e.Refused
	for i, s := range e.Services {
		p.addService(i, s)
	}
	if len(p.unserved) > 0 {
		p.problem("no kube-proxy was found on this node, and the daemon's own proxy serves TCP only: these ports are not served: %s", p.unserved)
	}
	if len(p.withoutHeader) > 0 {
		p.notice("the PROXY protocol is for TCP only: these ports are served without its header: %s", p.withoutHeader)
	}
	ports, conflicts := resolvePorts(append(p.ports, p.nodePorts...))
	for _, c := range conflicts {
		p.problem("Services %s and %s both have %s: the first by name gets them at the VIP, map the ports of the other to other ports", e.Services[c.first].Name, e.Services[c.second].Name, c.ports)
	}
	return desired.Forward{VIP: e.VIP, Open: p.allowHostPorts, Ports: ports}, p.problems
}

// plan is a Forward under construction.
type plan struct {
	*forwarder
	entry  config.Entry
	family vrrp.Family
	// node is this node's own address of the family; it may be invalid.
	node netip.Addr
	// allowHostPorts is the Open of the Forward.
	allowHostPorts bool

	ports, nodePorts []candidate
	// unserved lists the ports that need a kube-proxy, and withoutHeader those that
	// cannot have a PROXY protocol header.
	unserved, withoutHeader wordList
	problems                []config.Problem
}

func (p *plan) problem(format string, args ...any) {
	p.problems = append(p.problems, p.entry.Problem(fmt.Sprintf(format, args...)))
}

func (p *plan) notice(format string, args ...any) {
	p.problem(format, args...)
	p.problems[len(p.problems)-1].Notice = true
}

// consequence returns the part of a message that describes how the VIP behaves while
// its Service cannot be used.
func (p *plan) consequence() string {
	if p.allowHostPorts || len(p.entry.Services) > 1 {
		return "; until then none of its ports is served"
	}
	return "; until then the VIP refuses every port"
}

// addService adds the ports of s, which has this index in the Services of the entry.
func (p *plan) addService(index int, s config.Service) {
	b := p.backend(s.Name)
	ip, message := p.clusterIP(b, s.Name, p.family)
	if message != "" {
		p.problem("%s%s", message, p.consequence())
		return
	}
	selected, missing := b.selectPorts(s.Ports)
	if len(missing) > 0 {
		p.problem("Service %s has no port %s: it has %s", s.Name, missing, b.portNames())
	}
	if len(b.invalid) > 0 {
		p.problem("Service %s has ports that cannot be served, %s: a port must be TCP, UDP or SCTP, from 1 to 65535", s.Name, b.invalid)
	}
	if len(b.ports)+len(b.invalid) == 0 {
		p.problem("Service %s has no ports%s", s.Name, p.consequence())
	}
	if len(b.badSourceRanges) > 0 {
		p.problem("Service %s has invalid loadBalancerSourceRanges, %s: clients in them are refused, the other ranges are used", s.Name, b.badSourceRanges)
	}
	if ranges, restricted := b.sourceRanges[p.family]; restricted && len(ranges) == 0 {
		p.notice("Service %s has no IPv%d network in its loadBalancerSourceRanges: no IPv%d client is admitted", s.Name, p.family, p.family)
	}
	var portsHidingClientIP wordList
	p.ports = slices.Grow(p.ports, len(selected))
	for _, m := range selected {
		if p.addPort(index, b, ip, m) {
			portsHidingClientIP.add(portLabel(m.to.protocol, m.port))
		}
	}
	switch {
	case len(portsHidingClientIP) == 0:
	case p.noKubeProxy:
		p.problem("Service %s has externalTrafficPolicy: Local, but without kube-proxy Pods see an address of the node, not the client's: set proxyProtocol to send it to them", s.Name)
	case !p.node.IsValid():
		p.problem("Service %s has externalTrafficPolicy: Local, but node %s has no IPv%d address for its NodePorts: Pods see an address of the node, not the client's; give it one (--node-ip of the kubelet)", s.Name, p.self.node, p.family)
	default:
		p.problem("Service %s has externalTrafficPolicy: Local, but no nodePort for %s of the VIP: Pods see an address of the node there, not the client's; set allocateLoadBalancerNodePorts: true", s.Name, portsHidingClientIP)
	}
}

// addPort adds a port that leads to the Service b with this ClusterIP, and its
// NodePort. It reports whether the port does not preserve the client IP although the
// Service has externalTrafficPolicy: Local.
func (p *plan) addPort(index int, b *backend, ip netip.Addr, m portMapping) (hidesClientIP bool) {
	ranges, restricted := b.sourceRanges[p.family]
	port := desired.Port{
		Protocol:   m.to.protocol,
		Port:       m.port,
		Target:     netip.AddrPortFrom(ip, m.to.port),
		Restricted: restricted,
		Sources:    ranges,
	}
	isTCP, hasHeader := port.Protocol == desired.TCP, p.entry.ProxyProtocol != 0
	hasNodePort := m.to.nodePort != 0 && p.node.IsValid() && !p.noKubeProxy
	nodePort := netip.AddrPortFrom(p.node, m.to.nodePort)
	switch {
	case isTCP && (hasHeader || p.noKubeProxy):
		port.Proxy = proxyOf(p.entry)
		hidesClientIP = b.externalPolicyLocal && !hasHeader
	case p.noKubeProxy:
		p.unserved.add(portLabel(port.Protocol, port.Port))
		return false
	case b.externalPolicyLocal && hasNodePort:
		port.Target, port.KeepSource = nodePort, true
	default:
		hidesClientIP = b.externalPolicyLocal
	}
	p.ports = append(p.ports, candidate{Port: port, service: index})
	if hasHeader && !isTCP {
		p.withoutHeader.add(portLabel(port.Protocol, port.Port))
	}
	// An application that expects the header trusts the first bytes of a connection.
	// A client could forge a header at a NodePort, so the VIP has no NodePort then.
	if hasNodePort && (!hasHeader || !isTCP) {
		port.Port, port.Target, port.KeepSource = m.to.nodePort, nodePort, b.externalPolicyLocal
		p.nodePorts = append(p.nodePorts, candidate{Port: port, service: index, isNodePort: true})
	}
	return hidesClientIP
}

// proxyOf returns the Proxy of the proxied TCP ports of e.
func proxyOf(e config.Entry) desired.Proxy {
	switch e.ProxyProtocol {
	case 1:
		return desired.ProxyV1
	case 2:
		return desired.ProxyV2
	default:
		return desired.ProxyPlain
	}
}

// clusterIP returns the ClusterIP of b, the Service with this name, of a family. If
// there is none, it returns a message with the reason and the remedy.
func (f *forwarder) clusterIP(b *backend, name config.ObjectName, family vrrp.Family) (ip netip.Addr, message string) {
	switch {
	case f.options.WatchNamespace != "" && name.Namespace != f.options.WatchNamespace:
		return ip, fmt.Sprintf("Service %s is outside --watch-namespace=%s: name one inside, or leave the flag out", name, f.options.WatchNamespace)
	case b == nil:
		return ip, fmt.Sprintf("Service %s does not exist: create it, or name another", name)
	case b.spec.Type == corev1.ServiceTypeExternalName:
		return ip, fmt.Sprintf("Service %s is of type ExternalName and has no ClusterIP: name one of type ClusterIP", name)
	case b.spec.ClusterIP == corev1.ClusterIPNone:
		return ip, fmt.Sprintf("Service %s is headless (clusterIP: None): name one with a ClusterIP", name)
	case b.spec.ClusterIP == "":
		return ip, fmt.Sprintf("Service %s has no ClusterIP yet", name)
	}
	if ip = b.clusterIP(family); !ip.IsValid() {
		message = fmt.Sprintf("Service %s has no IPv%d ClusterIP: add IPv%d to its ipFamilies, or name another", name, family, family)
	}
	return ip, message
}

// wordList is a list of ports or other words in a Problem. It shows the first few.
type wordList []string

// maxListed is the maximum number of words that a wordList shows.
const maxListed = 12

func (l *wordList) add(word string) {
	if len(*l) <= maxListed {
		*l = append(*l, word)
	}
}

// String returns the words separated by commas.
func (l wordList) String() string {
	if len(l) > maxListed {
		return strings.Join(l[:maxListed], ", ") + " and more"
	}
	return strings.Join(l, ", ")
}

// portLabel returns the form of a port in Problems, such as 80/TCP.
func portLabel(p desired.Protocol, port uint16) string { return fmt.Sprintf("%d/%s", port, p) }
