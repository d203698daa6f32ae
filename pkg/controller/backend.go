package controller

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// backend is a Service as its VIPs need it.
type backend struct {
	name  config.ObjectName
	spec  *corev1.ServiceSpec
	ports []servicePort
	// byName has them by name and by number, once a VIP maps its ports.
	byName map[string][]servicePort
	// invalid are the ports that no API server should have let pass.
	invalid wordList
	// externalLocal reports that externalTrafficPolicy is Local: Pods see the
	// client's address.
	externalLocal bool
	// sources are the networks of each family that may be clients, sorted and
	// none within another. A family that is not there is not restricted.
	sources map[vrrp.Family][]netip.Prefix
	// fullCost is the cost of a VIP with all ports, with and without the proxy.
	fullCost map[bool]cost
	// badRanges are loadBalancerSourceRanges that can not be read.
	badRanges wordList
}

// servicePort is a port of a Service. What has no nodePort has 0.
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
		b.restrict(s.Spec.LoadBalancerSourceRanges)
		fallthrough
	case corev1.ServiceTypeNodePort:
		b.externalLocal = s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	default:
	}
	return b
}

// portNumber returns 0 for what is no port.
func portNumber(n int32) uint16 {
	if n != int32(uint16(n)) {
		return 0
	}
	return uint16(n)
}

// clusterIP returns the ClusterIP of a family, invalid if there is none.
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

// restrict reads loadBalancerSourceRanges. What can not be read admits nobody.
// A family without any range admits nobody either, although kube-proxy has it
// admit everybody then: whoever lists networks means only those.
func (b *backend) restrict(ranges []string) {
	if len(ranges) == 0 {
		return
	}
	b.sources = map[vrrp.Family][]netip.Prefix{vrrp.IPv4: nil, vrrp.IPv6: nil}
	for _, s := range ranges {
		// The API server lets blanks pass.
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil || p.Addr().Is4In6() {
			b.badRanges.add(config.Shorten(s))
			continue
		}
		family := vrrp.FamilyOf(p.Addr())
		b.sources[family] = append(b.sources[family], p)
	}
	for family, networks := range b.sources {
		if b.sources[family] = desired.Outermost(networks); len(networks) > 0 && b.sources[family][0].Bits() == 0 {
			delete(b.sources, family)
		}
	}
}

// mapped is a port of a VIP and the port of a Service that it leads to.
type mapped struct {
	port uint16
	to   servicePort
}

// selected returns the ports that mappings ask for, and what there is not: all
// ports by their own number if mappings is nil. Where the same number is mapped
// for one protocol and for whichever there is, the former comes first.
func (b *backend) selected(mappings []config.PortMapping) (ports []mapped, missing wordList) {
	if mappings == nil {
		ports = make([]mapped, len(b.ports))
		for i, p := range b.ports {
			ports[i] = mapped{p.port, p}
		}
		return ports, nil
	}
	if b.byName == nil {
		b.index()
	}
	for _, named := range []bool{true, false} {
		for _, m := range mappings {
			if (m.Protocol != "") != named {
				continue
			}
			found := false
			for _, p := range b.byName[m.ServicePort] {
				if m.Protocol == "" || m.Protocol == p.protocol.String() {
					ports = append(ports, mapped{m.Port, p})
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

// index fills byName.
func (b *backend) index() {
	b.byName = map[string][]servicePort{}
	for _, p := range b.ports {
		number := strconv.Itoa(int(p.port))
		b.byName[number] = append(b.byName[number], p)
	}
	for _, p := range b.ports {
		// A name may consist of digits; the number goes before it.
		if b.byName[p.name] == nil {
			b.byName[p.name] = []servicePort{p}
		}
	}
}

// names returns the ports that there are.
func (b *backend) names() string {
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
