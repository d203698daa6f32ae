package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/vrrp"
)

// externallyLocal makes a Service one whose external traffic stays on the node.
func externallyLocal(s *corev1.Service) *corev1.Service {
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	for i := range s.Spec.Ports {
		s.Spec.Ports[i].NodePort = 30000 + s.Spec.Ports[i].Port
	}
	return s
}

// internallyLocal makes a Service one whose internal traffic stays on the node.
func internallyLocal(s *corev1.Service) *corev1.Service {
	local := corev1.ServiceInternalTrafficPolicyLocal
	s.Spec.InternalTrafficPolicy = &local
	return s
}

func TestStaysLocal(t *testing.T) {
	t.Parallel()
	tcp, udp := corev1.ServicePort{Port: 80}, corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP}
	web := func(ports ...corev1.ServicePort) *corev1.Service { return testService("web", "10.96.0.7", ports...) }
	change := func(s *corev1.Service, f func(*corev1.ServiceSpec)) *corev1.Service {
		f(&s.Spec)
		return s
	}
	cluster := corev1.ServiceInternalTrafficPolicyCluster
	tests := []struct {
		name    string
		entry   config.Entry
		service *corev1.Service
		want    bool
	}{
		{name: "no Service"},
		{name: "ClusterIP", service: web(tcp)},
		{name: "NodePort, external Local", service: externallyLocal(web(tcp)), want: true},
		{name: "LoadBalancer, external Local", want: true, service: change(externallyLocal(web(tcp)), func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeLoadBalancer })},
		{name: "NodePort, external Cluster", service: change(externallyLocal(web(tcp)), func(s *corev1.ServiceSpec) { s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster })},
		{name: "external Local without NodePorts", service: change(externallyLocal(web(tcp)), func(s *corev1.ServiceSpec) { s.Ports[0].NodePort = 0 })},
		{name: "external Local, proxied", entry: config.Entry{ProxyProtocol: 2}, service: externallyLocal(web(tcp))},
		{name: "external Local, TCP proxied, UDP not", entry: config.Entry{ProxyProtocol: 2}, service: externallyLocal(web(tcp, udp)), want: true},
		{name: "internal Local", service: internallyLocal(web(tcp)), want: true},
		{name: "internal Cluster", service: change(web(tcp), func(s *corev1.ServiceSpec) { s.InternalTrafficPolicy = &cluster })},
		{name: "internal Local, proxied", entry: config.Entry{ProxyProtocol: 1}, service: internallyLocal(web(tcp)), want: true},
		{name: "headless", service: internallyLocal(testService("web", corev1.ClusterIPNone, tcp))},
		{name: "no ClusterIP of the family", service: internallyLocal(testService("web", "2001:db8::7", tcp))},
		{
			name: "second ClusterIP of the family", want: true,
			service: change(internallyLocal(testService("web", "2001:db8::7", tcp)), func(s *corev1.ServiceSpec) { s.ClusterIPs = []string{"2001:db8::7", "10.96.0.7"} }),
		},
	}
	for _, test := range tests {
		test.entry.VIP = addrs("10.4.0.50")[0]
		var b *backend
		if test.service != nil {
			b = newBackend(config.ObjectName{Namespace: "vip", Name: "web"}, test.service)
		}
		if got := staysLocal(test.entry, b); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestPresenceOn(t *testing.T) {
	t.Parallel()
	here := func(f vrrp.Family, ready, draining bool) endpoint { return endpoint{"worker-a", f, ready, draining} }
	there := func(f vrrp.Family, ready, draining bool) endpoint { return endpoint{"worker-b", f, ready, draining} }
	const yes, no = true, false
	tests := []struct {
		name      string
		endpoints []endpoint
		want      presence
	}{
		{"none", nil, presenceNowhere},
		{"ready here", []endpoint{there(4, yes, no), here(4, yes, no)}, presenceHere},
		{"ready there", []endpoint{there(4, yes, no), here(4, no, no)}, presenceElsewhere},
		{"of the other family here", []endpoint{there(4, yes, no), here(6, yes, no)}, presenceElsewhere},
		{"of the other family only", []endpoint{here(6, yes, no)}, presenceNowhere},
		{"of both families", []endpoint{here(0, yes, no)}, presenceHere},
		{"neither ready nor serving", []endpoint{here(4, no, no), there(4, no, no)}, presenceNowhere},
		{"draining here, ready there", []endpoint{here(4, no, yes), there(4, yes, no)}, presenceElsewhere},
		{"draining here, none ready", []endpoint{here(4, no, yes), there(4, no, no)}, presenceHere},
		{"draining there, none ready", []endpoint{here(4, no, no), there(4, no, yes)}, presenceElsewhere},
		{"draining here, ready of the other family", []endpoint{here(4, no, yes), there(6, yes, no)}, presenceHere},
		{"on no node", []endpoint{{"", 4, yes, no}}, presenceElsewhere},
	}
	for _, test := range tests {
		if got := presenceOn("worker-a", vrrp.IPv4, test.endpoints); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestEligible(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		all  []presence
		want bool
	}{
		{"here", []presence{presenceHere}, true},
		{"elsewhere", []presence{presenceElsewhere}, false},
		{"nowhere", []presence{presenceNowhere}, false},
		{"not known yet", []presence{presenceUnknown}, false},
		{"not known for long", []presence{presenceOverdue}, true},
		{"not permitted", []presence{presenceDenied}, true},
		{"one here, one elsewhere", []presence{presenceHere, presenceElsewhere}, false},
		{"one here, one not known yet", []presence{presenceHere, presenceUnknown}, false},
		{"one here, one without any", []presence{presenceNowhere, presenceHere}, true},
		{"one not permitted, one elsewhere", []presence{presenceDenied, presenceElsewhere}, false},
	}
	for _, test := range tests {
		if got := eligible(test.all); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
