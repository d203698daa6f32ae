package controller

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
)

// dualStackService is like testService, but with a ClusterIP of each family.
func dualStackService(name string, n int, ports ...corev1.ServicePort) *corev1.Service {
	s := testService(name, fmt.Sprintf("10.96.0.%d", n), ports...)
	s.Spec.ClusterIPs = []string{s.Spec.ClusterIP, fmt.Sprintf("fd00:96::%d", n)}
	return s
}

// formatForward formats a Forward as a line for each port.
func formatForward(f desired.Forward) (lines []string) {
	if f.Open {
		lines = append(lines, "hostPorts")
	}
	for _, p := range f.Ports {
		line := fmt.Sprintf("%d/%s %s", p.Port, p.Protocol, p.Target)
		if p.KeepSource {
			line += " clientIP"
		}
		if p.Restricted {
			line += fmt.Sprint(" from ", p.Sources)
		}
		if p.Proxy != desired.NoProxy {
			line += fmt.Sprint(" proxy ", map[desired.Proxy]string{desired.ProxyPlain: "plain", desired.ProxyV1: "v1", desired.ProxyV2: "v2"}[p.Proxy])
		}
		lines = append(lines, line)
	}
	return lines
}

func TestForward(t *testing.T) {
	t.Parallel()
	const (
		tcp, udp, sctp = corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP
		none           = "; until then none of its ports is served"
		refuses        = "; until then the VIP refuses every port"
	)
	services := map[string]*corev1.Service{}
	add := func(s *corev1.Service, change ...func(*corev1.ServiceSpec)) {
		for _, c := range change {
			c(&s.Spec)
		}
		if _, err := trimObject(s); err != nil { // As the cache does.
			t.Fatal(err)
		}
		services[s.Name] = s
	}
	web := []corev1.ServicePort{{Name: "http", Port: 80, NodePort: 30080}, {Name: "https", Port: 443, NodePort: 30443}}
	dns := []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: udp, NodePort: 30053}, {Name: "dns-tcp", Port: 53, Protocol: tcp, NodePort: 30054}}
	loadBalancer := func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeLoadBalancer }
	nodePort := func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }
	local := func(s *corev1.ServiceSpec) { s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	from := func(ranges ...string) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.LoadBalancerSourceRanges = ranges }
	}
	add(dualStackService("web", 1, web...))
	add(dualStackService("dns", 2, dns...))
	add(testService("four", "10.96.0.4", corev1.ServicePort{Port: 80}, corev1.ServicePort{Port: 81}))
	add(testService("six", "fd00:96::6", corev1.ServicePort{Port: 80}))
	add(dualStackService("local", 7, web...), nodePort, local)
	add(dualStackService("local-dns", 8, dns...), loadBalancer, local)
	add(dualStackService("no-node-ports", 9, corev1.ServicePort{Port: 80}, corev1.ServicePort{Port: 53, Protocol: udp}), loadBalancer, local)
	add(dualStackService("not-external", 10, web...), local)
	add(dualStackService("inner", 11, corev1.ServicePort{Port: 80}), func(s *corev1.ServiceSpec) {
		policy := corev1.ServiceInternalTrafficPolicyLocal
		s.InternalTrafficPolicy = &policy
	})
	add(dualStackService("ranges", 12, web[0]), loadBalancer, from(" 192.168.7.9/24 ", "10.0.0.0/8", "10.1.0.0/16", "2001:db8:7::9/48", "192.168.7.0/24"))
	add(dualStackService("any", 13, web[0]), loadBalancer, from("10.0.0.0/8", "0.0.0.0/0"))
	add(dualStackService("bad-ranges", 14, web[0]), loadBalancer, from("10.0.0.0/33", "everybody", "10.1.2.0/24", "2001:db8::/32", "::ffff:10.0.0.0/104"))
	add(dualStackService("all-bad-ranges", 15, web[0]), loadBalancer, from("010.0.0.0/8"))
	add(dualStackService("ranges-elsewhere", 16, web[0]), nodePort, from("10.0.0.0/8"))
	add(dualStackService("at-node-port", 17, corev1.ServicePort{Port: 30080}, corev1.ServicePort{Port: 80, Protocol: sctp}))
	add(dualStackService("invalid", 18, corev1.ServicePort{Name: "http", Port: 80, NodePort: 65536 + 30080}, corev1.ServicePort{Name: "zero", Port: 0}, corev1.ServicePort{Port: 65536 + 443}, corev1.ServicePort{Port: 1, Protocol: "DCCP"}))
	add(dualStackService("digits", 19, corev1.ServicePort{Name: "8080", Port: 80}, corev1.ServicePort{Name: "443", Port: 8443}, corev1.ServicePort{Name: "x", Port: 443}))
	add(dualStackService("many", 20, func() (ports []corev1.ServicePort) {
		for i := range 20 {
			ports = append(ports, corev1.ServicePort{Port: int32(1000 + i), Protocol: udp})
		}
		return ports
	}()...))

	port := func(n uint16, protocol, to string) config.PortMapping {
		return config.PortMapping{Port: n, Protocol: protocol, ServicePort: to}
	}
	service := func(name string, ports ...config.PortMapping) config.Service {
		return config.Service{Name: config.ObjectName{Namespace: "vip", Name: name}, Ports: ports}
	}
	const ipv4, ipv6 = "10.4.0.50", "2001:db8::50"
	entry := func(vip string, services ...config.Service) config.Entry {
		return config.Entry{Key: "e", VIP: netip.MustParseAddr(vip), Services: services}
	}
	with := func(e config.Entry, f func(*config.Entry)) config.Entry {
		f(&e)
		return e
	}
	proxied := func(version int) func(*config.Entry) {
		return func(e *config.Entry) { e.ProxyProtocol = version }
	}

	tests := []struct {
		name     string
		entry    config.Entry
		without  string // What the node lacks: "kube-proxy", "IPv6" or "guard".
		ports    []string
		problems []string // A Notice begins with "notice: ".
	}{
		{
			name: "IPv4", entry: entry(ipv4, service("web")),
			ports: []string{"80/TCP 10.96.0.1:80", "443/TCP 10.96.0.1:443", "30080/TCP 10.4.0.11:30080", "30443/TCP 10.4.0.11:30443"},
		},
		{
			name: "IPv6", entry: entry(ipv6, service("dns")),
			ports: []string{"53/TCP [fd00:96::2]:53", "30054/TCP [2001:db8::b]:30054", "53/UDP [fd00:96::2]:53", "30053/UDP [2001:db8::b]:30053"},
		},
		{
			name: "IPv6 on a node without", entry: entry(ipv6, service("dns")), without: "IPv6",
			ports: []string{"53/TCP [fd00:96::2]:53", "53/UDP [fd00:96::2]:53"},
		},
		{
			name: "the Service lacks IPv6", entry: entry(ipv6, service("four")),
			problems: []string{"Service vip/four has no IPv6 ClusterIP: add IPv6 to its ipFamilies, or name another" + refuses},
		},
		{
			name: "the Service lacks IPv4", entry: entry(ipv4, service("six")),
			problems: []string{"Service vip/six has no IPv4 ClusterIP: add IPv4 to its ipFamilies, or name another" + refuses},
		},
		{
			name: "mapped by name and number", entry: entry(ipv4, service("web", port(8080, "", "http"), port(8443, "TCP", "443"))),
			ports: []string{"8080/TCP 10.96.0.1:80", "8443/TCP 10.96.0.1:443", "30080/TCP 10.4.0.11:30080", "30443/TCP 10.4.0.11:30443"},
		},
		{
			name: "only the NodePorts of mapped ports, once", entry: entry(ipv4, service("web", port(80, "", "http"), port(8080, "", "http"))),
			ports: []string{"80/TCP 10.96.0.1:80", "8080/TCP 10.96.0.1:80", "30080/TCP 10.4.0.11:30080"},
		},
		{
			name: "a number in both protocols", entry: entry(ipv6, service("dns", port(5353, "", "53"))), without: "IPv6",
			ports: []string{"5353/TCP [fd00:96::2]:53", "5353/UDP [fd00:96::2]:53"},
		},
		{
			name: "a protocol of the two", entry: entry(ipv6, service("dns", port(53, "UDP", "53"))), without: "IPv6",
			ports: []string{"53/UDP [fd00:96::2]:53"},
		},
		{
			name: "the mapping with a protocol wins", entry: entry(ipv6, service("local-dns", port(53, "", "53"), port(54, "", "53")), service("web", port(55, "", "80"), port(55, "TCP", "443"))), without: "IPv6",
			ports: []string{"53/TCP [fd00:96::8]:53", "54/TCP [fd00:96::8]:53", "55/TCP [fd00:96::1]:443", "53/UDP [fd00:96::8]:53", "54/UDP [fd00:96::8]:53"},
			problems: []string{
				"Service vip/local-dns has externalTrafficPolicy: Local, but node worker-a has no IPv6 address for its NodePorts: Pods see an address of the node, not the client's; give it one (--node-ip of the kubelet)",
			},
		},
		{
			name: "missing ports", entry: entry(ipv4, service("four", port(8080, "", "http"), port(80, "", "80"), port(53, "UDP", "80"), port(82, "", "82"))),
			ports:    []string{"80/TCP 10.96.0.4:80"},
			problems: []string{"Service vip/four has no port 80/UDP, http, 82: it has 80/TCP, 81/TCP"},
		},
		{
			name: "a name of digits gives way to the number", entry: entry(ipv4, service("digits", port(1, "", "443"), port(2, "", "8080"))),
			ports: []string{"1/TCP 10.96.0.19:443", "2/TCP 10.96.0.19:80"},
		},
		{
			name: "several Services", entry: entry(ipv6, service("dns"), service("four"), service("gone"), service("web")), without: "IPv6",
			ports: []string{"53/TCP [fd00:96::2]:53", "80/TCP [fd00:96::1]:80", "443/TCP [fd00:96::1]:443", "53/UDP [fd00:96::2]:53"},
			problems: []string{
				"Service vip/four has no IPv6 ClusterIP: add IPv6 to its ipFamilies, or name another" + none,
				"Service vip/gone does not exist: create it, or name another" + none,
			},
		},
		{
			name: "port conflict", entry: entry(ipv4, service("any", port(443, "", "80")), service("four"), service("inner"), service("web")),
			ports: []string{"80/TCP 10.96.0.4:80", "81/TCP 10.96.0.4:81", "443/TCP 10.96.0.13:80", "30080/TCP 10.4.0.11:30080", "30443/TCP 10.4.0.11:30443"},
			problems: []string{
				"Services vip/four and vip/inner both have 80/TCP: the first by name gets them at the VIP, map the ports of the other to other ports",
				"Services vip/any and vip/web both have 443/TCP: the first by name gets them at the VIP, map the ports of the other to other ports",
				"Services vip/four and vip/web both have 80/TCP: the first by name gets them at the VIP, map the ports of the other to other ports",
			},
		},
		{
			name: "a conflict over many ports", entry: entry(ipv4, service("many"), service("many")),
			ports: func() (lines []string) {
				for i := range 20 {
					lines = append(lines, fmt.Sprintf("%d/UDP 10.96.0.20:%d", 1000+i, 1000+i))
				}
				return lines
			}(),
			problems: []string{"Services vip/many and vip/many both have 1000/UDP, 1001/UDP, 1002/UDP, 1003/UDP, 1004/UDP, 1005/UDP, 1006/UDP, 1007/UDP, 1008/UDP, 1009/UDP, 1010/UDP, 1011/UDP and more: the first by name gets them at the VIP, map the ports of the other to other ports"},
		},
		{
			name: "a NodePort gives way", entry: entry(ipv4, service("web", port(8080, "", "http")), service("at-node-port", port(30080, "", "30080"))),
			ports: []string{"8080/TCP 10.96.0.1:80", "30080/TCP 10.96.0.17:30080"},
		},
		{
			name: "externalTrafficPolicy Local", entry: entry(ipv4, service("local", port(8080, "", "http"))),
			ports: []string{"8080/TCP 10.4.0.11:30080 clientIP", "30080/TCP 10.4.0.11:30080 clientIP"},
		},
		{
			name: "externalTrafficPolicy Local over IPv6", entry: entry(ipv6, service("local-dns")),
			ports: []string{"53/TCP [2001:db8::b]:30054 clientIP", "30054/TCP [2001:db8::b]:30054 clientIP", "53/UDP [2001:db8::b]:30053 clientIP", "30053/UDP [2001:db8::b]:30053 clientIP"},
		},
		{
			name: "externalTrafficPolicy Local without NodePorts", entry: entry(ipv4, service("no-node-ports")),
			ports:    []string{"80/TCP 10.96.0.9:80", "53/UDP 10.96.0.9:53"},
			problems: []string{"Service vip/no-node-ports has externalTrafficPolicy: Local, but no nodePort for 80/TCP, 53/UDP of the VIP: Pods see an address of the node there, not the client's; set allocateLoadBalancerNodePorts: true"},
		},
		{
			name: "externalTrafficPolicy does not apply to a ClusterIP", entry: entry(ipv6, service("not-external")), without: "IPv6",
			ports: []string{"80/TCP [fd00:96::10]:80", "443/TCP [fd00:96::10]:443"},
		},
		{
			name: "internalTrafficPolicy Local", entry: entry(ipv4, service("inner")),
			ports: []string{"80/TCP 10.96.0.11:80"},
		},
		{
			name: "source ranges", entry: entry(ipv4, service("ranges")),
			ports: []string{"80/TCP 10.96.0.12:80 from [10.0.0.0/8 192.168.7.0/24]", "30080/TCP 10.4.0.11:30080 from [10.0.0.0/8 192.168.7.0/24]"},
		},
		{
			name: "source ranges of IPv6", entry: entry(ipv6, service("ranges")),
			ports: []string{"80/TCP [fd00:96::12]:80 from [2001:db8:7::/48]", "30080/TCP [2001:db8::b]:30080 from [2001:db8:7::/48]"},
		},
		{
			name: "all addresses are in the source ranges", entry: entry(ipv4, service("any")),
			ports: []string{"80/TCP 10.96.0.13:80", "30080/TCP 10.4.0.11:30080"},
		},
		{
			name: "source ranges of the other family", entry: entry(ipv6, service("any")),
			ports:    []string{"80/TCP [fd00:96::13]:80 from []", "30080/TCP [2001:db8::b]:30080 from []"},
			problems: []string{"notice: Service vip/any has no IPv6 network in its loadBalancerSourceRanges: no IPv6 client is admitted"},
		},
		{
			name: "bad source ranges", entry: entry(ipv4, service("bad-ranges")),
			ports:    []string{"80/TCP 10.96.0.14:80 from [10.1.2.0/24]", "30080/TCP 10.4.0.11:30080 from [10.1.2.0/24]"},
			problems: []string{"Service vip/bad-ranges has invalid loadBalancerSourceRanges, 10.0.0.0/33, everybody, ::ffff:10.0.0.0/104: clients in them are refused, the other ranges are used"},
		},
		{
			name: "bad source ranges only", entry: entry(ipv4, service("all-bad-ranges")),
			ports: []string{"80/TCP 10.96.0.15:80 from []", "30080/TCP 10.4.0.11:30080 from []"},
			problems: []string{
				"Service vip/all-bad-ranges has invalid loadBalancerSourceRanges, 010.0.0.0/8: clients in them are refused, the other ranges are used",
				"notice: Service vip/all-bad-ranges has no IPv4 network in its loadBalancerSourceRanges: no IPv4 client is admitted",
			},
		},
		{
			name: "source ranges without a load balancer", entry: entry(ipv4, service("ranges-elsewhere")),
			ports: []string{"80/TCP 10.96.0.16:80", "30080/TCP 10.4.0.11:30080"},
		},
		{
			name: "host ports allowed", entry: with(entry(ipv4, service("four"), service("gone")), func(e *config.Entry) { e.AllowHostPorts = true }),
			ports:    []string{"hostPorts", "80/TCP 10.96.0.4:80", "81/TCP 10.96.0.4:81"},
			problems: []string{"Service vip/gone does not exist: create it, or name another" + none},
		},
		{
			name: "host ports allowed, without the Service", entry: with(entry(ipv4, service("gone")), func(e *config.Entry) { e.AllowHostPorts = true }),
			ports:    []string{"hostPorts"},
			problems: []string{"Service vip/gone does not exist: create it, or name another" + none},
		},
		{
			name: "host ports allowed at all VIPs", entry: entry(ipv4, service("four")), without: "guard",
			ports: []string{"hostPorts", "80/TCP 10.96.0.4:80", "81/TCP 10.96.0.4:81"},
		},
		{
			name: "refused although host ports are allowed at all VIPs", entry: with(entry(ipv4), func(e *config.Entry) { e.Refused = true }), without: "guard",
		},
		{
			name:  "refused although host ports are allowed",
			entry: with(entry(ipv4), func(e *config.Entry) { e.Refused, e.AllowHostPorts = true, true }),
		},
		{
			name: "PROXY protocol", entry: with(entry(ipv4, service("web"), service("dns")), proxied(1)),
			ports:    []string{"53/TCP 10.96.0.2:53 proxy v1", "80/TCP 10.96.0.1:80 proxy v1", "443/TCP 10.96.0.1:443 proxy v1", "53/UDP 10.96.0.2:53", "30053/UDP 10.4.0.11:30053"},
			problems: []string{"notice: the PROXY protocol is for TCP only: these ports are served without its header: 53/UDP"},
		},
		{
			name: "PROXY protocol and externalTrafficPolicy Local", entry: with(entry(ipv4, service("local-dns")), proxied(2)),
			ports:    []string{"53/TCP 10.96.0.8:53 proxy v2", "53/UDP 10.4.0.11:30053 clientIP", "30053/UDP 10.4.0.11:30053 clientIP"},
			problems: []string{"notice: the PROXY protocol is for TCP only: these ports are served without its header: 53/UDP"},
		},
		{
			name: "PROXY protocol and source ranges", entry: with(entry(ipv4, service("ranges")), proxied(2)),
			ports: []string{"80/TCP 10.96.0.12:80 from [10.0.0.0/8 192.168.7.0/24] proxy v2"},
		},
		{
			name: "no kube-proxy", entry: entry(ipv4, service("dns"), service("ranges"), service("web", port(443, "", "https"))), without: "kube-proxy",
			ports:    []string{"53/TCP 10.96.0.2:53 proxy plain", "80/TCP 10.96.0.12:80 from [10.0.0.0/8 192.168.7.0/24] proxy plain", "443/TCP 10.96.0.1:443 proxy plain"},
			problems: []string{"no kube-proxy was found on this node, and the daemon's own proxy serves TCP only: these ports are not served: 53/UDP"},
		},
		{
			name: "no kube-proxy and externalTrafficPolicy Local", entry: entry(ipv4, service("local-dns")), without: "kube-proxy",
			ports: []string{"53/TCP 10.96.0.8:53 proxy plain"},
			problems: []string{
				"Service vip/local-dns has externalTrafficPolicy: Local, but without kube-proxy Pods see an address of the node, not the client's: set proxyProtocol to send it to them",
				"no kube-proxy was found on this node, and the daemon's own proxy serves TCP only: these ports are not served: 53/UDP",
			},
		},
		{
			name: "no kube-proxy and the PROXY protocol", entry: with(entry(ipv6, service("local-dns")), proxied(1)), without: "kube-proxy",
			ports:    []string{"53/TCP [fd00:96::8]:53 proxy v1"},
			problems: []string{"no kube-proxy was found on this node, and the daemon's own proxy serves TCP only: these ports are not served: 53/UDP"},
		},
		{
			name: "no kube-proxy, host ports allowed", entry: with(entry(ipv4, service("inner")), func(e *config.Entry) { e.AllowHostPorts = true }), without: "kube-proxy",
			ports: []string{"hostPorts", "80/TCP 10.96.0.11:80 proxy plain"},
		},
		{
			name: "invalid ports", entry: entry(ipv4, service("invalid")),
			ports:    []string{"80/TCP 10.96.0.18:80"},
			problems: []string{"Service vip/invalid has ports that cannot be served, 0/, 65979/, 1/DCCP: a port must be TCP, UDP or SCTP, from 1 to 65535"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := inputs{
				service:     func(n config.ObjectName) *corev1.Service { return services[n.Name] },
				noKubeProxy: tt.without == "kube-proxy",
			}
			self := member{node: "worker-a", addresses: addrs("10.4.0.11", "2001:db8::b")}
			if tt.without == "IPv6" {
				self.addresses = self.addresses[:1]
			}
			// The second call uses the cache that the first has filled.
			o := testOptions()
			o.AllowHostPorts = tt.without == "guard"
			f := newForwarder(o, in, self)
			f.forward(tt.entry)
			got, problems := f.forward(tt.entry)
			if got.VIP != tt.entry.VIP {
				t.Errorf("VIP %s", got.VIP)
			}
			if diff := cmp.Diff(tt.ports, formatForward(got)); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
			var lines []string
			for _, p := range problems {
				line := strings.TrimPrefix(p.String(), "e: ")
				if p.Notice {
					line = "notice: " + line
				}
				lines = append(lines, line)
			}
			if diff := cmp.Diff(tt.problems, lines); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
