package controller

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/prefix"
	"kube-vrrp-vip/pkg/vrrp"
)

// backend is a Service behind VIPs.
type backend struct {
	name  config.ObjectName
	spec  *corev1.ServiceSpec
	ports []servicePort
	// byName maps names and numbers to ports; nil until a VIP maps ports.
	byName map[string][]servicePort
	// invalid lists the ports that the API server should have rejected.
	invalid wordList
	// externalPolicyLocal reports whether externalTrafficPolicy is Local, so that
	// NodePorts preserve the client IP.
	externalPolicyLocal bool
	// sourceRanges are the loadBalancerSourceRanges of each family, sorted and
	// without overlaps. Clients of a family that is not in the map are not
	// restricted.
	sourceRanges map[vrrp.Family][]netip.Prefix
	// fullCost caches the cost of a VIP with all ports; the key reports whether the
	// ports are proxied.
	fullCost map[bool]cost
	// badSourceRanges lists the loadBalancerSourceRanges that cannot be parsed.
	badSourceRanges wordList
}

// servicePort is a port of a Service; nodePort is 0 if it has none.
type servicePort struct {
	name           string
	protocol       desired.Protocol
	port, nodePort uint16
}

func newBackend(name config.ObjectName, s *corev1.Service) *backend {
	b := &backend{name: name, spec: &s.Spec, ports: make([]servicePort, 0, len(s.Spec.Ports)), fullCost: map[bool]cost{}}
	for _, p := range s.Spec.Ports {
		to := servicePort{name: p.Name, port: portNumber(p.Port), nodePort: portNumber(p.NodePort)}
		switch p.Protocol {
		case corev1.ProtocolTCP, "":
			to.protocol = desired.TCP
		case corev1.ProtocolUDP:
			to.protocol = desired.UDP
		case corev1.ProtocolSCTP:
			to.protocol = desired.SCTP
		}
		if to.protocol == 0 || to.port == 0 {
			b.invalid.add(fmt.Sprintf("%d/%s", p.Port, config.Shorten(string(p.Protocol))))
			continue
		}
		b.ports = append(b.ports, to)
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		b.parseSourceRanges(s.Spec.LoadBalancerSourceRanges)
		fallthrough
	case corev1.ServiceTypeNodePort:
		b.externalPolicyLocal = s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	default:
	}
	return b
}

// portNumber returns n, or 0 if n is not a port number.
func portNumber(n int32) uint16 {
	if n != int32(uint16(n)) {
		return 0
	}
	return uint16(n)
}

// clusterIP returns the ClusterIP of a family, or the zero Addr if there is none.
func (b *backend) clusterIP(family vrrp.Family) netip.Addr {
	isOf := func(ip netip.Addr) bool { return ip.IsValid() && vrrp.FamilyOf(ip) == family }
	if ip := parseAddr(b.spec.ClusterIP); isOf(ip) {
		return ip
	}
	for _, s := range b.spec.ClusterIPs {
		if ip := parseAddr(s); isOf(ip) {
			return ip
		}
	}
	return netip.Addr{}
}

// parseSourceRanges parses loadBalancerSourceRanges. A range that cannot be parsed
// admits no client. If there are ranges of one family only, no client of the other
// family is admitted, although kube-proxy would admit all of them: a list of networks
// means only these networks.
func (b *backend) parseSourceRanges(ranges []string) {
	if len(ranges) == 0 {
		return
	}
	b.sourceRanges = map[vrrp.Family][]netip.Prefix{vrrp.IPv4: nil, vrrp.IPv6: nil}
	for _, s := range ranges {
		// The API server accepts blanks.
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil || p.Addr().Is4In6() {
			b.badSourceRanges.add(config.Shorten(s))
			continue
		}
		family := vrrp.FamilyOf(p.Addr())
		b.sourceRanges[family] = append(b.sourceRanges[family], p)
	}
	for family, networks := range b.sourceRanges {
		if b.sourceRanges[family] = prefix.Outermost(networks); len(networks) > 0 && b.sourceRanges[family][0].Bits() == 0 {
			delete(b.sourceRanges, family)
		}
	}
}

// portMapping is a port of a VIP and the port of the Service behind it.
type portMapping struct {
	port uint16
	to   servicePort
}

// selectPorts resolves mappings. It also returns the names of ports that b does not
// have. If mappings is nil, it returns all ports with their own numbers. Mappings
// that name a protocol come first, so that they take precedence.
func (b *backend) selectPorts(mappings []config.PortMapping) (ports []portMapping, missing wordList) {
	if mappings == nil {
		ports = make([]portMapping, len(b.ports))
		for i, p := range b.ports {
			ports[i] = portMapping{p.port, p}
		}
		return ports, nil
	}
	if b.byName == nil {
		b.indexPorts()
	}
	for _, named := range []bool{true, false} {
		for _, m := range mappings {
			if (m.Protocol != "") != named {
				continue
			}
			found := false
			for _, p := range b.byName[m.ServicePort] {
				if m.Protocol == "" || m.Protocol == p.protocol.String() {
					ports = append(ports, portMapping{m.Port, p})
					found = true
				}
			}
			if !found {
				word := config.Shorten(m.ServicePort)
				if named {
					word += "/" + m.Protocol
				}
				missing.add(word)
			}
		}
	}
	return ports, missing
}

// indexPorts fills byName.
func (b *backend) indexPorts() {
	b.byName = map[string][]servicePort{}
	for _, p := range b.ports {
		number := strconv.Itoa(int(p.port))
		b.byName[number] = append(b.byName[number], p)
	}
	for _, p := range b.ports {
		// A name may consist of digits: the number takes precedence.
		if b.byName[p.name] == nil {
			b.byName[p.name] = []servicePort{p}
		}
	}
}

// portNames returns the names of all ports of b, for Problems.
func (b *backend) portNames() string {
	var words wordList
	for _, p := range b.ports {
		word := portLabel(p.protocol, p.port)
		if p.name != "" {
			word = config.Shorten(p.name) + " (" + word + ")"
		}
		words.add(word)
	}
	if len(words) == 0 {
		return "none"
	}
	return words.String()
}
