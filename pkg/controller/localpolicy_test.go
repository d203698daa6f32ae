package controller

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/vrrp"
)

// localServices returns the Services web, with externalTrafficPolicy: Local, and dns,
// with internalTrafficPolicy: Local, of both families.
func localServices() map[string]*corev1.Service {
	all := map[string]*corev1.Service{
		"web":  externallyLocal(testService("web", "10.96.0.7", corev1.ServicePort{Port: 80})),
		"dns":  internallyLocal(testService("dns", "10.96.0.8", corev1.ServicePort{Port: 53})),
		"echo": testService("echo", "10.96.0.9", corev1.ServicePort{Port: 7}),
	}
	all["web"].Spec.ClusterIPs = []string{"10.96.0.7", "2001:db8:96::7"}
	return all
}

// TestBuildLocal: VIPs of Services with a Local policy have their own virtual routers,
// whose eligibility depends on the endpoints.
func TestBuildLocal(t *testing.T) {
	t.Parallel()
	const (
		web = "IPv4 169: 10.4.0.50; 10.4.0.51"
		dns = "IPv4 228: 10.4.0.60"
	)
	data := map[string]string{
		"10.4.0.40": "", "10.4.0.41": "vip/echo",
		"10.4.0.50": "vip/web", "10.4.0.51": "vip/web", "10.4.0.60": "vip/dns", "2001-db8--50": "vip/web",
	}
	tests := []struct {
		name     string
		options  func(*config.Options)
		change   map[string]string // Changes of data; "-" removes the key.
		noProxy  bool
		locality map[string]endpointLocality // By Service and family; localityThisNode if missing.
		routers  []string
		absent   []string // The routers that this node is not eligible for.
		watched  string
		problems []string
	}{
		{
			name:    "eligible",
			routers: []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns, "IPv6 169: 2001:db8::50"},
			watched: "[vip/dns vip/web]",
		},
		{
			name:     "by family",
			locality: map[string]endpointLocality{"vip/web 4": localityOtherNode},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns, "IPv6 169: 2001:db8::50"},
			absent:   []string{web},
			watched:  "[vip/dns vip/web]",
		},
		{
			name:     "the same with VRRPv2",
			options:  func(o *config.Options) { o.VRRP.Version = 2 },
			change:   map[string]string{"2001-db8--50": "-"},
			locality: map[string]endpointLocality{"vip/web 4": localityUnknown},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns},
			absent:   []string{web},
			watched:  "[vip/dns vip/web]",
		},
		{
			name:     "without kube-proxy",
			noProxy:  true,
			locality: map[string]endpointLocality{"vip/web 4": localityOtherNode, "vip/dns 4": localityOtherNode},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns, "IPv6 169: 2001:db8::50"},
			absent:   []string{dns},
			watched:  "[vip/dns]",
		},
		{
			name:     "node not known",
			options:  func(o *config.Options) { o.NodeName = "" },
			locality: map[string]endpointLocality{"vip/web 4": localityOtherNode, "vip/dns 4": localityOtherNode},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns, "IPv6 169: 2001:db8::50"},
			watched:  "[]",
		},
		{
			name:     "a VRID of their own",
			change:   map[string]string{"10.4.0.50": "{addresses: [10.4.0.50], services: [{name: vip/web}], vrid: 60}", "10.4.0.51": "{addresses: [10.4.0.51], services: [{name: vip/web}], vrid: 60}"},
			locality: map[string]endpointLocality{"vip/web 4": localityOtherNode},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", "IPv4 60: 10.4.0.50; 10.4.0.51", dns, "IPv6 169: 2001:db8::50"},
			absent:   []string{"IPv4 60: 10.4.0.50; 10.4.0.51"},
			watched:  "[vip/dns vip/web]",
		},
		{
			name: "a VRID with others",
			change: map[string]string{
				"10.4.0.50": "{addresses: [10.4.0.50], services: [{name: vip/web}], vrid: 50}", "10.4.0.60": "{addresses: [10.4.0.60], services: [{name: vip/dns}], vrid: 50}",
			},
			locality: map[string]endpointLocality{"vip/web 4": localityOtherNode, "vip/dns 4": localityOtherNode},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41; 10.4.0.50; 10.4.0.60", "IPv4 169: 10.4.0.51", "IPv6 169: 2001:db8::50"},
			absent:   []string{"IPv4 169: 10.4.0.51"},
			watched:  "[vip/web]",
			problems: []string{
				`10.4.0.50: "vip/web": VRID 50 is shared with VIPs that depend on other Services than vip/web, or on none: this VIP also goes to nodes without an endpoint of these, where its connections fail; leave vrid out, or choose one that only VIPs of the same Services use`,
				`10.4.0.60: "vip/dns": VRID 50 is shared with VIPs that depend on other Services than vip/dns, or on none: this VIP also goes to nodes without an endpoint of these, where its connections fail; leave vrid out, or choose one that only VIPs of the same Services use`,
			},
		},
		{
			name:     "VRIDs used up",
			options:  func(o *config.Options) { o.VRIDs = config.VRIDRange{First: 127, Last: 254} },
			change:   map[string]string{"10.4.0.40": "-", "10.4.0.41": "-", "10.4.0.51": "-"},
			locality: map[string]endpointLocality{"vip/web 4": localityOtherNode, "vip/web 6": localityOtherNode},
			// The remaining message is about dns: the VIPs of web are alone in their router.
			routers: []string{"IPv4 131: 10.4.0.50", "IPv4 255: 10.4.0.60", "IPv6 232: 2001:db8::50"},
			absent:  []string{"IPv4 131: 10.4.0.50", "IPv6 232: 2001:db8::50"},
			watched: "[vip/dns vip/web]",
		},
		{
			name:     "not permitted",
			locality: map[string]endpointLocality{"vip/web 4": localityForbidden, "vip/web 6": localityForbidden, "vip/dns 4": localityForbidden},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns, "IPv6 169: 2001:db8::50"},
			watched:  "[vip/dns vip/web]",
			problems: []string{"vip/vip-configmap: listing and watching endpointslices is not permitted: VIPs of Services with a Local policy go to any node, even to one without an endpoint; apply manifests/rbac.yaml"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := testOptions()
			if test.options != nil {
				test.options(&o)
			}
			changed := map[string]string{}
			for key, value := range data {
				if c, ok := test.change[key]; ok {
					value = c
				}
				if value != "-" {
					changed[key] = value
				}
			}
			services := localServices()
			got := build(o, inputs{
				configMap:   testConfigMap(changed),
				service:     func(n config.ObjectName) *corev1.Service { return services[n.Name] },
				noKubeProxy: test.noProxy,
				wasEligible: func(vrrp.Family, uint8) bool { return false },
				locality: func(n config.ObjectName, node string, f vrrp.Family) endpointLocality {
					if p, ok := test.locality[fmt.Sprintf("%s %d", n, f)]; ok {
						return p
					}
					return localityThisNode
				},
			})
			if diff := cmp.Diff(test.routers, summary(got.state)); diff != "" {
				t.Errorf("routers (-want +got):\n%s", diff)
			}
			var absent []string
			for i, r := range got.state.Routers {
				if r.NoLocalEndpoint {
					absent = append(absent, summary(got.state)[i])
				}
			}
			if diff := cmp.Diff(test.absent, absent); diff != "" {
				t.Errorf("not eligible for (-want +got):\n%s", diff)
			}
			if watched := fmt.Sprint(got.watchedServices); watched != test.watched {
				t.Errorf("watched: %s, want %s", watched, test.watched)
			}
			var problems []string
			for _, p := range got.problems {
				if p.Notice {
					problems = append(problems, p.String())
				}
			}
			if diff := cmp.Diff(test.problems, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// externallyLocal sets externalTrafficPolicy: Local.
func externallyLocal(s *corev1.Service) *corev1.Service {
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	for i := range s.Spec.Ports {
		s.Spec.Ports[i].NodePort = 30000 + s.Spec.Ports[i].Port
	}
	return s
}

// internallyLocal sets internalTrafficPolicy: Local.
func internallyLocal(s *corev1.Service) *corev1.Service {
	local := corev1.ServiceInternalTrafficPolicyLocal
	s.Spec.InternalTrafficPolicy = &local
	return s
}

func TestHasLocalPolicy(t *testing.T) {
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
		if got := hasLocalPolicy(test.entry, b); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestEligible(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		all  []endpointLocality
		want bool
	}{
		{"here", []endpointLocality{localityThisNode}, true},
		{"elsewhere", []endpointLocality{localityOtherNode}, false},
		{"nowhere", []endpointLocality{localityNone}, false},
		{"not known yet", []endpointLocality{localityUnknown}, false},
		{"not known for long", []endpointLocality{localityOverdue}, true},
		{"not permitted", []endpointLocality{localityForbidden}, true},
		{"one here, one elsewhere", []endpointLocality{localityThisNode, localityOtherNode}, false},
		{"one here, one not known yet", []endpointLocality{localityThisNode, localityUnknown}, false},
		{"one here, one without any", []endpointLocality{localityNone, localityThisNode}, true},
		{"one not permitted, one elsewhere", []endpointLocality{localityForbidden, localityOtherNode}, false},
	}
	for _, test := range tests {
		if got := eligible(test.all); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// setsOf returns a VIP for each of the words, which are sets of Services.
func setsOf(words ...string) (entries []config.Entry, sets map[netip.Addr]string) {
	sets = map[netip.Addr]string{}
	for i, set := range words {
		e := config.Entry{VIP: netip.AddrFrom4([4]byte{10, 4, byte(i >> 8), byte(i)})}
		entries = append(entries, e)
		if set != "" {
			sets[e.VIP] = set
		}
	}
	return entries, sets
}

func TestAutomaticVRIDs(t *testing.T) {
	t.Parallel()
	o := testOptions()
	entries, sets := setsOf("vip/web", "vip/dns", "vip/web", "", "vip/dns, vip/web")
	// Other versions of the daemon must compute the same numbers.
	want := map[string]uint8{"vip/web": 169, "vip/dns": 228, "vip/dns, vip/web": 250}
	if diff := cmp.Diff(want, automaticVRIDs(o, entries, sets)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The flag uses this VRID, and an entry the next one.
	o.VRID = 169
	entries[3].VRID = 170
	want["vip/web"] = 171
	if diff := cmp.Diff(want, automaticVRIDs(o, entries, sets)); diff != "" {
		t.Errorf("VRIDs in use (-want +got):\n%s", diff)
	}
	// An entry with a VRID needs no automatic one.
	entries[0].VRID, entries[2].VRID = 60, 60
	delete(want, "vip/web")
	if diff := cmp.Diff(want, automaticVRIDs(o, entries, sets)); diff != "" {
		t.Errorf("VRID named (-want +got):\n%s", diff)
	}
}

// TestAutomaticVRIDsUsedUp: if all VRIDs are used, the remaining sets get none.
func TestAutomaticVRIDsUsedUp(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.VRIDs = config.VRIDRange{First: 100, Last: 253}
	entries, sets := setsOf("vip/a", "vip/b", "vip/c")
	got := automaticVRIDs(o, entries, sets)
	if vrids := slices.Sorted(maps.Values(got)); !slices.Equal(vrids, []uint8{254, 255}) || got["vip/c"] != 0 {
		t.Errorf("%v, want 254 and 255 for the first two", got)
	}
}

// TestAutomaticVRIDsStay: a set that is added or removed changes only the VRIDs of sets
// that collide with it.
func TestAutomaticVRIDsStay(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	moved, checked := 0, 0
	for range 200 {
		var words []string
		for range 1 + rng.IntN(40) {
			words = append(words, fmt.Sprintf("ns%d/svc%d", rng.IntN(5), rng.IntN(1000)))
		}
		entries, sets := setsOf(words...)
		before := automaticVRIDs(testOptions(), entries[1:], sets)
		after := automaticVRIDs(testOptions(), entries, sets)
		for set, vrid := range before {
			checked++
			if after[set] != vrid {
				moved++
			}
		}
	}
	if moved*50 > checked {
		t.Errorf("%d of %d sets moved when one came, want one in fifty at most", moved, checked)
	}
}

// TestAutomaticVRIDsApart: with any entries and flags, VIPs of different sets have
// different automatic VRIDs, and other VIPs have an automatic VRID only if their entry
// or a flag names it.
func TestAutomaticVRIDsApart(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		o := testOptions()
		o.VRID = 1 + rng.IntN(255)
		if rng.IntN(2) == 0 {
			a, b := uint8(1+rng.IntN(255)), uint8(1+rng.IntN(255))
			o.VRIDs = config.VRIDRange{First: min(a, b), Last: max(a, b)}
		}
		var words []string
		services := 1 + rng.IntN(160)
		for range rng.IntN(200) {
			word := ""
			if rng.IntN(3) > 0 {
				word = fmt.Sprintf("vip/s%d", rng.IntN(services))
			}
			words = append(words, word)
		}
		entries, sets := setsOf(words...)
		for i := range entries {
			if rng.IntN(5) == 0 {
				entries[i].VRID = uint8(1 + rng.IntN(255))
			}
		}
		l := &localPolicy{options: o, sets: sets, vrids: automaticVRIDs(o, entries, sets)}
		other := slices.Clone(entries)
		rng.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
		if !maps.Equal(l.vrids, automaticVRIDs(o, other, sets)) {
			t.Fatalf("seed %d: the VRIDs depend on the order of the entries", seed)
		}
		isNamed := func(vrid uint8) bool {
			return o.VRIDs.IsZero() && int(vrid) == o.VRID || !o.VRIDs.IsZero() && vrid >= o.VRIDs.First && vrid <= o.VRIDs.Last ||
				slices.ContainsFunc(entries, func(e config.Entry) bool { return e.VRID == vrid })
		}
		owner := map[uint8]string{}
		for _, e := range entries {
			vrid, set := l.vridOf(e), sets[e.VIP]
			if vrid == 0 || e.VRID != 0 && vrid != e.VRID {
				t.Fatalf("seed %d: VRID %d of %+v", seed, vrid, e)
			}
			if isNamed(vrid) {
				continue // Not an automatic VRID.
			}
			if vrid < firstAutomaticVRID || set == "" {
				t.Fatalf("seed %d: unexpected VRID %d of set %q", seed, vrid, set)
			}
			if first, ok := owner[vrid]; ok && first != set {
				t.Fatalf("seed %d: VRID %d of %q and of %q", seed, vrid, first, set)
			}
			owner[vrid] = set
		}
	}
}
