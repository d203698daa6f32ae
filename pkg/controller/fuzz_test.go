package controller

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// FuzzForward: the Forward of any Service keeps the guarantees of desired.
func FuzzForward(f *testing.F) {
	for _, spec := range []string{
		`{}`,
		`{"clusterIP": "10.96.0.7", "clusterIPs": [], "ports": [{"port": 0}, {"port": 65536}, {"port": -1, "nodePort": 70000}]}`,
		`{"clusterIP": "fd00::7", "clusterIPs": ["fd00::7", "10.96.0.7"], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}, {"port": 53}]}`,
		`{"clusterIP": "::ffff:10.96.0.7", "clusterIPs": ["None", "", "x"], "ports": [{"port": 80, "protocol": "QUIC"}]}`,
		`{"type": "LoadBalancer", "clusterIP": "10.96.0.7", "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": ["", " 10.0.0.0/8", "0.0.0.0/33", "::/0", "10.1.0.0/16", "9.0.0.0/8"], "ports": [{"name": "80", "port": 81, "nodePort": 30080}, {"port": 80, "nodePort": 81}]}`,
		`{"type": "NodePort", "clusterIP": "10.96.0.7", "externalTrafficPolicy": "Local", "ports": [{"port": 80}, {"port": 90, "nodePort": 80, "protocol": "SCTP"}]}`,
	} {
		for n := range uint8(8) {
			f.Add(spec, n, uint16(80), "", "80")
		}
		f.Add(spec, uint8(2), uint16(53), "UDP", "")
	}
	vips := addrs("10.4.0.50", "2001:db8::50")
	f.Fuzz(func(t *testing.T, spec string, flags uint8, port uint16, protocol, servicePort string) {
		s := &corev1.Service{}
		if port == 0 || json.Unmarshal([]byte(spec), &s.Spec) != nil { // No entry maps port 0.
			return
		}
		bit := func(n int) bool { return flags>>n&1 == 1 }
		services := []config.Service{{Name: config.ObjectName{Namespace: "vip", Name: "a"}}, {Name: config.ObjectName{Namespace: "vip", Name: "b"}}}
		if bit(1) {
			services[0].Ports = []config.PortMapping{{Port: port, Protocol: protocol, ServicePort: servicePort}}
		}
		self := member{node: "worker-a", addresses: addrs("10.4.0.11", "2001:db8::b")[:1+flags>>7]}
		in := inputs{service: func(config.ObjectName) *corev1.Service { return s }, noKubeProxy: bit(2)}
		for _, vip := range vips {
			e := config.Entry{Key: "e", VIP: vip, Services: services[:1+flags&1], AllowHostPorts: bit(3), ProxyProtocol: int(flags >> 4 & 3)}
			got, problems := newForwarder(testOptions(), in, self).forward(e)
			again, problems2 := newForwarder(testOptions(), in, self).forward(e)
			if !reflect.DeepEqual(got, again) || !slices.Equal(problems, problems2) {
				t.Errorf("not always the same:\n%+v\n%+v", got, again)
			}
			checkForward(t, got, self, in.noKubeProxy)
		}
	})
}

// checkForward checks the guarantees of desired for a Forward.
func checkForward(t *testing.T, got desired.Forward, self member, noKubeProxy bool) {
	t.Helper()
	family := vrrp.FamilyOf(got.VIP)
	inOrder := func(a, b desired.Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	}
	for i, p := range got.Ports {
		a := p.Target.Addr()
		switch {
		case i > 0 && inOrder(got.Ports[i-1], p) >= 0:
			t.Errorf("not sorted: %+v", got.Ports)
		case p.Protocol != desired.TCP && p.Protocol != desired.UDP && p.Protocol != desired.SCTP:
			t.Errorf("protocol: %+v", p)
		case p.Port == 0, p.Target.Port() == 0, !a.IsValid(), a.Is4In6(), vrrp.FamilyOf(a) != family:
			t.Errorf("port or target: %+v", p)
		case p.Proxy != desired.NoProxy && (p.Protocol != desired.TCP || p.KeepSource):
			t.Errorf("proxy: %+v", p)
		case noKubeProxy && p.Proxy == desired.NoProxy:
			t.Errorf("left to a kube-proxy that is not there: %+v", p)
		case p.KeepSource && a != self.address(family):
			t.Errorf("preserves the client IP, but leads to %s", a)
		case !p.Restricted && p.Sources != nil:
			t.Errorf("sources: %+v", p)
		}
		for i, s := range p.Sources {
			if s != s.Masked() || vrrp.FamilyOf(s.Addr()) != family || s.Bits() == 0 ||
				i > 0 && (p.Sources[i-1].Addr().Compare(s.Addr()) >= 0 || s.Overlaps(p.Sources[i-1])) {
				t.Errorf("sources: %v", p.Sources)
			}
		}
	}
}
