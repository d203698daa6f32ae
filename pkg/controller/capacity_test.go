package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/vrrp"
)

// longEntry returns an entry with n addresses from 10.x.0.0 on, and a Service.
func longEntry(x, n int, service string) string {
	var addresses []string
	for i := range n {
		addresses = append(addresses, fmt.Sprintf("10.%d.%d.%d", x, i>>8, i&255))
	}
	return fmt.Sprintf("{addresses: [%s], services: [%s]}", strings.Join(addresses, ", "), service)
}

// portsFrom returns a mapping of n ports from first on to a port of a Service.
func portsFrom(first, n int, to string) string {
	var ports []string
	for i := range n {
		ports = append(ports, fmt.Sprintf("%d: %s", first+i, to))
	}
	return "{" + strings.Join(ports, ", ") + "}"
}

// TestOverCapacity: entries that exceed the capacity are rejected as a whole, the
// largest first, and do not affect the others.
func TestOverCapacity(t *testing.T) {
	t.Parallel()
	var many []corev1.ServicePort
	for i := range 1000 {
		many = append(many, corev1.ServicePort{Name: fmt.Sprintf("p%d", i), Port: int32(1 + i)})
	}
	services := map[string]*corev1.Service{
		"web":  testService("web", "10.96.0.7", corev1.ServicePort{Name: "http", Port: 80}),
		"many": testService("many", "10.96.0.8", many...),
		"node": externallyLocal(testService("node", "10.96.0.9", slices.Clone(many)...)),
	}
	services["ranges"] = testService("ranges", "10.96.0.10", many...)
	services["ranges"].Spec.Type = corev1.ServiceTypeLoadBalancer
	for i := range 100 {
		services["ranges"].Spec.LoadBalancerSourceRanges = append(services["ranges"].Spec.LoadBalancerSourceRanges, fmt.Sprintf("10.%d.0.0/16", 2*i))
	}
	const (
		tooManyPorts = " ports of its VIPs, counting NodePorts, and each port again for each of the loadBalancerSourceRanges, exceed the capacity that the smaller entries leave: a node serves 65536 in all, list only the ports that are needed (ports), or fewer addresses or ranges; until then its VIPs refuse every port"
		tooManyZones = " ports of its VIPs that lead to other ports, or to the proxy, exceed the capacity that the smaller entries leave: a node has 10000 conntrack zones for such ports and for the VIPs, map fewer ports, or list fewer addresses; until then its VIPs refuse every port"
	)
	tests := []struct {
		name        string
		data        map[string]string
		noKubeProxy bool
		ports       int
		problem     string
	}{
		{
			name:    "addresses times mapped ports",
			data:    map[string]string{"a": longEntry(0, 4000, "{name: vip/web, ports: "+portsFrom(1000, 1024, "http")+"}"), "10.9.0.1": "vip/web", "10.9.0.2": "vip/many"},
			ports:   1001,
			problem: `a: "vip/web": 4096000` + tooManyPorts,
		},
		{
			name:    "addresses times ports of a Service",
			data:    map[string]string{"a": longEntry(0, 60, "{name: vip/many}"), "b": longEntry(1, 6, "{name: vip/many}"), "10.9.0.1": "vip/web"},
			ports:   6001,
			problem: `a: "vip/many": 60000` + tooManyPorts,
		},
		{name: "as much as fits", data: map[string]string{"a": longEntry(0, 60, "{name: vip/many}"), "b": longEntry(1, 5, "{name: vip/many}"), "10.9.0.1": "vip/web"}, ports: 65001},
		{
			name:    "ports times source ranges",
			data:    map[string]string{"a": longEntry(0, 2, "{name: vip/ranges}"), "10.9.0.1": "vip/web"},
			ports:   1,
			problem: `a: "vip/ranges": 202000` + tooManyPorts,
		},
		{
			name:    "zones",
			data:    map[string]string{"a": longEntry(0, 100, "{name: vip/web, ports: "+portsFrom(1000, 100, "http")+"}"), "b": longEntry(1, 10, "{name: vip/web, ports: "+portsFrom(1000, 100, "http")+"}")},
			ports:   1000,
			problem: `a: "vip/web": 10000` + tooManyZones,
		},
		{
			name:    "zones of NodePorts",
			data:    map[string]string{"a": longEntry(0, 10, "{name: vip/node}"), "10.9.0.1": "vip/web"},
			ports:   1,
			problem: `a: "vip/node": 10010` + tooManyZones,
		},
		{
			name:        "zones of the proxy",
			data:        map[string]string{"a": longEntry(0, 10, "{name: vip/many}"), "10.9.0.1": "vip/web"},
			noKubeProxy: true,
			ports:       1,
			problem:     `a: "vip/many": 10000` + tooManyZones,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := build(testOptions(), inputs{
				configMap:   testConfigMap(test.data),
				service:     func(n config.ObjectName) *corev1.Service { return services[n.Name] },
				noKubeProxy: test.noKubeProxy,
				locality:    func(config.ObjectName, string, vrrp.Family) endpointLocality { return localityThisNode },
			})
			ports, vips := 0, 0
			for _, f := range got.state.Datapath.Forwards {
				ports += len(f.Ports)
				if f.Open {
					t.Fatalf("%s is open", f.VIP)
				}
			}
			for _, r := range got.state.Routers {
				vips += len(r.VIPs)
			}
			if len(got.state.Datapath.Forwards) != vips {
				t.Errorf("%d forwards, %d VIPs", len(got.state.Datapath.Forwards), vips)
			}
			if ports != test.ports {
				t.Errorf("%d ports, want %d", ports, test.ports)
			}
			var problems []string
			for _, p := range got.problems {
				if !p.Notice {
					problems = append(problems, p.String())
				}
			}
			if strings.Join(problems, "\n") != test.problem {
				t.Errorf("problems %q, want %q", problems, test.problem)
			}
		})
	}
}
