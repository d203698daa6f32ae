package controller

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// forwarder decides where the ports of VIPs lead.
type forwarder struct {
	options config.Options
	self    member
	// noKubeProxy tells that nothing on this node translates ClusterIPs for
	// packets that come from outside.
	noKubeProxy bool
	service     func(config.ObjectName) *corev1.Service
	// backends are the Services that were read so far: many VIPs may share one.
	backends map[config.ObjectName]*backend
}

func newForwarder(o config.Options, in inputs, self member) *forwarder {
	return &forwarder{options: o, self: self, noKubeProxy: in.noKubeProxy, service: in.service, backends: map[config.ObjectName]*backend{}}
}

// backend returns the Service of this name; nil if it does not exist.
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

// forward returns where the ports of e's VIP lead, and what is wrong with its
// Services. What is wrong with one of them costs the others nothing.
func (f *forwarder) forward(e config.Entry) (desired.Forward, []config.Problem) {
	var problems []config.Problem
	problem := func(format string, args ...any) {
		problems = append(problems, e.Problem(fmt.Sprintf(format, args...)))
	}
	notice := func(format string, args ...any) {
		problem(format, args...)
		problems[len(problems)-1].Notice = true
	}

	open := (e.Unguarded || !f.options.Guard) && !e.Refused
	untilThen := "; until then the VIP refuses every port"
	if open || len(e.Services) > 1 {
		untilThen = "; until then none of its ports is served"
	}
	var (
		ports, nodePorts []claim
		noProxy, bare    list
		family           = vrrp.FamilyOf(e.VIP)
		node             = f.self.address(family)
	)
	for i, s := range e.Services {
		b := f.backend(s.Name)
		ip, message := f.clusterIP(b, s.Name, family)
		if message != "" {
			problem("%s%s", message, untilThen)
			continue
		}
		selected, missing := b.selected(s.Ports)
		if len(missing) > 0 {
			problem("Service %s has no port %s: there are %s", s.Name, missing, b.names())
		}
		if len(b.invalid) > 0 {
			problem("Service %s has ports that can not be served, %s: a port is TCP, UDP or SCTP, from 1 to 65535", s.Name, b.invalid)
		}
		if len(b.badRanges) > 0 {
			problem("Service %s has loadBalancerSourceRanges that are no networks, %s: clients there are refused, the other ranges count", s.Name, b.badRanges)
		}
		sources, restricted := b.sources[family]
		if restricted && len(sources) == 0 {
			notice("Service %s has no IPv%d network in its loadBalancerSourceRanges: no IPv%d client is admitted", s.Name, family, family)
		}

		var masked list // The client's address was asked for there, and is lost.
		for _, m := range selected {
			p := desired.Port{
				Protocol:   m.to.protocol,
				Port:       m.port,
				Target:     netip.AddrPortFrom(ip, m.to.port),
				Restricted: restricted,
				Sources:    sources,
			}
			nodePort := netip.AddrPortFrom(node, m.to.nodePort)
			hasNodePort := node.IsValid() && m.to.nodePort != 0 && !f.noKubeProxy
			isTCP := p.Protocol == desired.TCP
			switch {
			case isTCP && (e.ProxyProtocol != 0 || f.noKubeProxy):
				p.Proxy = proxyOf(e)
				if b.isLocal && e.ProxyProtocol == 0 {
					masked.add(label(p.Protocol, p.Port))
				}
			case f.noKubeProxy:
				noProxy.add(label(p.Protocol, p.Port))
				continue
			case b.isLocal && hasNodePort:
				p.Target, p.KeepSource = nodePort, true
			case b.isLocal:
				masked.add(label(p.Protocol, p.Port))
			}
			ports = append(ports, claim{Port: p, service: i})
			if e.ProxyProtocol != 0 {
				if isTCP {
					// The application takes what comes first for the header.
					// A client of its NodePort could write what it likes
					// there, so the VIP has none.
					continue
				}
				bare.add(label(p.Protocol, p.Port))
			}
			if hasNodePort {
				p.Port, p.Target, p.KeepSource = m.to.nodePort, nodePort, b.isLocal
				nodePorts = append(nodePorts, claim{Port: p, service: i, isNodePort: true})
			}
		}
		switch {
		case len(masked) == 0:
		case f.noKubeProxy:
			problem("Service %s has externalTrafficPolicy: Local, but without kube-proxy Pods see an address of the node, not the client's: proxyProtocol tells it to them", s.Name)
		case !node.IsValid():
			problem("Service %s has externalTrafficPolicy: Local, but node %s has no IPv%d address for its NodePorts: Pods see an address of the node, not the client's; give it one (--node-ip of the kubelet)", s.Name, f.self.node, family)
		default:
			problem("Service %s has externalTrafficPolicy: Local, but no nodePort for %s of the VIP: Pods see an address of the node there, not the client's; set allocateLoadBalancerNodePorts: true", s.Name, masked)
		}
		if len(b.ports)+len(b.invalid) == 0 {
			problem("Service %s has no ports%s", s.Name, untilThen)
		}
	}
	if len(noProxy) > 0 {
		problem("no kube-proxy was found on this node, and the daemon's own proxy carries TCP only: not served are %s", noProxy)
	}
	if len(bare) > 0 {
		notice("the PROXY protocol is for TCP only: served without its header are %s", bare)
	}
	granted, clashes := settle(append(ports, nodePorts...))
	for _, c := range clashes {
		problem("Services %s and %s both have %s: at the VIP that leads to the first by name, map the other's to another port", e.Services[c.first].Name, e.Services[c.second].Name, c.ports)
	}
	return desired.Forward{VIP: e.VIP, Open: open, Ports: granted}, problems
}

// proxyOf returns how the daemon serves the TCP ports of e itself.
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

// clusterIP returns the ClusterIP that b, the Service of this name, has of a
// family, or what is wrong with it.
func (f *forwarder) clusterIP(b *backend, name config.ObjectName, family vrrp.Family) (ip netip.Addr, message string) {
	switch {
	case f.options.WatchNamespace != "" && name.Namespace != f.options.WatchNamespace:
		return ip, fmt.Sprintf("Service %s is outside of --watch-namespace=%s: name one inside, or leave the flag out", name, f.options.WatchNamespace)
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

// list is how Problems list ports and the like: the first few of them.
type list []string

// maxListed is how many words a Problem lists.
const maxListed = 12

func (l *list) add(word string) {
	if len(*l) <= maxListed {
		*l = append(*l, word)
	}
}

// String returns the words with commas between them.
func (l list) String() string {
	if len(l) > maxListed {
		return strings.Join(l[:maxListed], ", ") + " and more"
	}
	return strings.Join(l, ", ")
}

// label returns a port as Problems name it.
func label(p desired.Protocol, port uint16) string { return fmt.Sprintf("%d/%s", port, p) }
