package controller

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/vrrp"
)

// localServices are web, external, and dns, internal, of both families.
func localServices() map[string]*corev1.Service {
	all := map[string]*corev1.Service{
		"web":  externallyLocal(testService("web", "10.96.0.7", corev1.ServicePort{Port: 80})),
		"dns":  internallyLocal(testService("dns", "10.96.0.8", corev1.ServicePort{Port: 53})),
		"echo": testService("echo", "10.96.0.9", corev1.ServicePort{Port: 7}),
	}
	all["web"].Spec.ClusterIPs = []string{"10.96.0.7", "2001:db8:96::7"}
	return all
}

// TestBuildLocal: VIPs of Services whose traffic stays on a node are in virtual
// routers of their own, which follow the endpoints.
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
		change   map[string]string // Of data; "-": without.
		noProxy  bool
		presence map[string]presence // Of Service and family; else here.
		routers  []string
		absent   []string // The routers that this node is not eligible for.
		followed string
		problems []string
	}{
		{
			name:     "eligible",
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns, "IPv6 169: 2001:db8::50"},
			followed: "[vip/dns vip/web]",
		},
		{
			name:     "by family",
			presence: map[string]presence{"vip/web 4": presenceElsewhere},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns, "IPv6 169: 2001:db8::50"},
			absent:   []string{web},
			followed: "[vip/dns vip/web]",
		},
		{
			name:     "the same with VRRPv2",
			options:  func(o *config.Options) { o.VRRP.Version = 2 },
			change:   map[string]string{"2001-db8--50": "-"},
			presence: map[string]presence{"vip/web 4": presenceUnknown},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns},
			absent:   []string{web},
			followed: "[vip/dns vip/web]",
		},
		{
			name:     "without kube-proxy",
			noProxy:  true,
			presence: map[string]presence{"vip/web 4": presenceElsewhere, "vip/dns 4": presenceElsewhere},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns, "IPv6 169: 2001:db8::50"},
			absent:   []string{dns},
			followed: "[vip/dns]",
		},
		{
			name:     "node not known",
			options:  func(o *config.Options) { o.NodeName = "" },
			presence: map[string]presence{"vip/web 4": presenceElsewhere, "vip/dns 4": presenceElsewhere},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns, "IPv6 169: 2001:db8::50"},
			followed: "[]",
		},
		{
			name:     "a VRID of their own",
			change:   map[string]string{"10.4.0.50": "{addresses: [10.4.0.50], services: [{name: vip/web}], vrid: 60}", "10.4.0.51": "{addresses: [10.4.0.51], services: [{name: vip/web}], vrid: 60}"},
			presence: map[string]presence{"vip/web 4": presenceElsewhere},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", "IPv4 60: 10.4.0.50; 10.4.0.51", dns, "IPv6 169: 2001:db8::50"},
			absent:   []string{"IPv4 60: 10.4.0.50; 10.4.0.51"},
			followed: "[vip/dns vip/web]",
		},
		{
			name: "a VRID with others",
			change: map[string]string{
				"10.4.0.50": "{addresses: [10.4.0.50], services: [{name: vip/web}], vrid: 50}", "10.4.0.60": "{addresses: [10.4.0.60], services: [{name: vip/dns}], vrid: 50}",
			},
			presence: map[string]presence{"vip/web 4": presenceElsewhere, "vip/dns 4": presenceElsewhere},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41; 10.4.0.50; 10.4.0.60", "IPv4 169: 10.4.0.51", "IPv6 169: 2001:db8::50"},
			absent:   []string{"IPv4 169: 10.4.0.51"},
			followed: "[vip/web]",
			problems: []string{
				`10.4.0.50: "vip/web": VRID 50 has other VIPs too, which need no endpoint of vip/web on their node, or need others: this VIP goes also to nodes without one, where its connections fail; leave vrid out, or name one that only VIPs of the same Services have`,
				`10.4.0.60: "vip/dns": VRID 50 has other VIPs too, which need no endpoint of vip/dns on their node, or need others: this VIP goes also to nodes without one, where its connections fail; leave vrid out, or name one that only VIPs of the same Services have`,
			},
		},
		{
			name:     "VRIDs used up",
			options:  func(o *config.Options) { o.VRIDs = config.VRIDRange{First: 127, Last: 254} },
			change:   map[string]string{"10.4.0.40": "-", "10.4.0.41": "-", "10.4.0.51": "-"},
			presence: map[string]presence{"vip/web 4": presenceElsewhere, "vip/web 6": presenceElsewhere},
			// The one that is left is dns's; web's are alone where other VIPs could be.
			routers:  []string{"IPv4 131: 10.4.0.50", "IPv4 255: 10.4.0.60", "IPv6 232: 2001:db8::50"},
			absent:   []string{"IPv4 131: 10.4.0.50", "IPv6 232: 2001:db8::50"},
			followed: "[vip/dns vip/web]",
		},
		{
			name:     "not permitted",
			presence: map[string]presence{"vip/web 4": presenceDenied, "vip/web 6": presenceDenied, "vip/dns 4": presenceDenied},
			routers:  []string{"IPv4 50: 10.4.0.40; 10.4.0.41", web, dns, "IPv6 169: 2001:db8::50"},
			followed: "[vip/dns vip/web]",
			problems: []string{"vip/vip-configmap: to list and watch endpointslices is not permitted: VIPs of Services with a Local policy go to any node, also to those without an endpoint; apply manifests/rbac.yaml"},
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
				presence: func(n config.ObjectName, node string, f vrrp.Family) presence {
					if p, ok := test.presence[fmt.Sprintf("%s %d", n, f)]; ok {
						return p
					}
					return presenceHere
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
			if followed := fmt.Sprint(got.followed); followed != test.followed {
				t.Errorf("followed: %s, want %s", followed, test.followed)
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
