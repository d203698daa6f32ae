package controller

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
)

// BenchmarkBuild builds 4000 VIPs with 10 000 ports, each VIP with a different Service.
// That is the cost of a change of any object.
func BenchmarkBuild(b *testing.B) {
	const vips, ports = 4000, 10_000
	data := map[string]string{}
	services := map[config.ObjectName]*corev1.Service{}
	for i := range vips {
		name := fmt.Sprintf("echo-%d", i)
		s := testService(name, fmt.Sprintf("10.96.%d.%d", i>>8, i&255))
		for p := range (ports + i) / vips { // 10 000 in all.
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("p%d", p), Port: int32(80 + p), Protocol: corev1.ProtocolTCP})
		}
		data[fmt.Sprintf("10.4.%d.%d", 16+i>>8, i&255)] = "vip/" + name
		services[config.ObjectName{Namespace: "vip", Name: name}] = s
	}
	in := inputs{
		configMap: testConfigMap(data),
		service:   func(n config.ObjectName) *corev1.Service { return services[n] },
	}
	for b.Loop() {
		got := build(testOptions(), in)
		n := 0
		for _, f := range got.state.Datapath.Forwards {
			n += len(f.Ports)
		}
		if len(got.state.Datapath.Forwards) != vips || n != ports {
			b.Fatalf("%d VIPs with %d ports", len(got.state.Datapath.Forwards), n)
		}
	}
}
