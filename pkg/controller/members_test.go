package controller

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
)

func TestMembers(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	a, b, c := testPod("a", "10.4.0.11"), testPod("b", "10.4.0.12"), testPod("c", "10.4.0.9")
	with := func(p *corev1.Pod, f func(*corev1.Pod)) *corev1.Pod {
		p = p.DeepCopy()
		f(p)
		return p
	}
	learn := func(o *config.Options) { o.NodeName, o.HostIP = "", netip.Addr{} }
	m := func(node string, annotated uint8, addresses ...string) member {
		m := member{node: node, annotated: annotated}
		for _, a := range addresses {
			m.addresses = append(m.addresses, addr(a))
		}
		return m
	}
	self := m("worker-a", 0, "10.4.0.11")

	tests := []struct {
		name    string
		options func(*config.Options)
		in      inputs
		self    member
		peers   []member
		problem string
	}{
		{name: "nothing is permitted", self: self},
		{
			name:    "nothing is known",
			options: learn,
			self:    m("kube-vrrp-vip-a", 0),
		},
		{
			name:    "learned from the pod",
			options: learn,
			in:      inputs{pods: []*corev1.Pod{b, a}},
			self:    self,
			peers:   []member{m("worker-b", 0, "10.4.0.12")},
		},
		{
			name:    "learned from the Node",
			options: func(o *config.Options) { o.HostIP = netip.Addr{} },
			in:      inputs{nodes: []*corev1.Node{testNode("b", "10.4.0.12", nil), testNode("a", "10.4.0.11", nil)}},
			self:    self,
		},
		{
			name: "one address of each family, IPv4 first",
			options: func(o *config.Options) {
				o.HostIP = addr("fd00::11")
			},
			in: inputs{pods: []*corev1.Pod{
				with(a, func(p *corev1.Pod) {
					p.Status.HostIP, p.Status.HostIPs = "fd00::11", []corev1.HostIP{{IP: "fd00::11"}, {IP: "10.4.0.11"}}
				}),
				with(b, func(p *corev1.Pod) { p.Status.HostIP, p.Status.HostIPs = "fd00::12", nil }),
			}},
			self:  m("worker-a", 0, "10.4.0.11", "fd00::11"),
			peers: []member{m("worker-b", 0, "fd00::12")},
		},
		{
			name:  "peers sorted by address",
			in:    inputs{pods: []*corev1.Pod{a, b, c}},
			self:  self,
			peers: []member{m("worker-c", 0, "10.4.0.9"), m("worker-b", 0, "10.4.0.12")},
		},
		{
			name: "pods that are not peers",
			in: inputs{pods: []*corev1.Pod{
				a,
				with(b, func(p *corev1.Pod) { p.OwnerReferences = nil }),
				with(b, func(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" }),
				with(b, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
				with(b, func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }),
				with(b, func(p *corev1.Pod) { p.Status.HostIP, p.Status.HostIPs = "10.4.0.11", nil }),
			}},
			self: self,
		},
		{
			name: "two pods on one node during an update",
			in: inputs{pods: []*corev1.Pod{
				a, b, with(b, func(p *corev1.Pod) { p.Name += "2" }),
			}},
			self:  self,
			peers: []member{m("worker-b", 0, "10.4.0.12")},
		},
		{
			name: "annotations",
			in: inputs{
				pods:  []*corev1.Pod{a, b},
				nodes: []*corev1.Node{testNode("a", "10.4.0.11", map[string]string{priorityAnnotation: "254"}), testNode("b", "10.4.0.12", map[string]string{priorityAnnotation: "1"})},
			},
			self:  m("worker-a", 254, "10.4.0.11"),
			peers: []member{m("worker-b", 1, "10.4.0.12")},
		},
		{
			name: "only our own bad annotation is our problem",
			in: inputs{
				pods:  []*corev1.Pod{a, b},
				nodes: []*corev1.Node{testNode("a", "10.4.0.11", map[string]string{priorityAnnotation: "255"}), testNode("b", "10.4.0.12", map[string]string{priorityAnnotation: "high"})},
			},
			self:    self,
			peers:   []member{m("worker-b", 0, "10.4.0.12")},
			problem: `kube-vrrp-vip/priority: "255": annotation of node worker-a: must be a number from 1 to 254; until then the priority is derived from the node's name`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := testOptions()
			if tt.options != nil {
				tt.options(&o)
			}
			gotSelf, peers, problems := members(o, tt.in)
			for name, diff := range map[string]string{
				"self":  cmp.Diff(tt.self, gotSelf, compareAddr, cmp.AllowUnexported(member{})),
				"peers": cmp.Diff(tt.peers, peers, compareAddr, cmp.AllowUnexported(member{})),
			} {
				if diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			var problem string
			for _, p := range problems {
				problem += p.String()
			}
			if diff := cmp.Diff(tt.problem, problem); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBuildRefusesAddressesOfNodes(t *testing.T) {
	t.Parallel()
	// Nodes d to f do not run the daemon, and f has the same address as e.
	twoAddresses := testNode("d", "fd00::14", nil)
	twoAddresses.Status.Addresses = append(twoAddresses.Status.Addresses,
		corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "10.4.0.14"},
		corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "10.4.0.51"})
	got := build(testOptions(), inputs{
		configMap: testConfigMap(map[string]string{
			"10.4.0.11": "", "10.4.0.12": "vip/echo", "10.4.0.14": "", "10.4.0.15": "", "10.4.0.50": "", "10.4.0.51": "",
		}),
		service: func(config.ObjectName) *corev1.Service { return nil },
		pods:    []*corev1.Pod{testPod("a", "10.4.0.11"), testPod("b", "10.4.0.12")},
		nodes:   []*corev1.Node{testNode("f", "10.4.0.15", nil), testNode("e", "10.4.0.15", nil), twoAddresses, testNode("a", "10.4.0.11", nil)},
	})
	want := []desired.VIP{{Address: netip.MustParseAddr("10.4.0.50")}, {Address: netip.MustParseAddr("10.4.0.51")}}
	if diff := cmp.Diff(want, got.state.Routers[0].VIPs, compareAddr); diff != "" {
		t.Errorf("VIPs (-want +got):\n%s", diff)
	}
	if got.state.Datapath.Forwards != nil {
		t.Errorf("forwards: %+v", got.state.Datapath.Forwards)
	}
	wantProblems := []config.Problem{
		{Key: "10.4.0.11", Message: "not served: 10.4.0.11 is the address of node worker-a, write a free address of the nodes' network"},
		{Key: "10.4.0.12", Value: "vip/echo", Message: "not served: 10.4.0.12 is the address of node worker-b, write a free address of the nodes' network"},
		{Key: "10.4.0.14", Message: "not served: 10.4.0.14 is the address of node worker-d, write a free address of the nodes' network"},
		{Key: "10.4.0.15", Message: "not served: 10.4.0.15 is the address of node worker-e, write a free address of the nodes' network"},
	}
	if diff := cmp.Diff(wantProblems, got.problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestPodCIDRs: the State has the valid pod CIDRs of this node, sorted.
func TestPodCIDRs(t *testing.T) {
	t.Parallel()
	a, b := testNode("a", "10.4.0.11", nil), testNode("b", "10.4.0.12", nil)
	a.Spec.PodCIDR = "10.244.1.0/24"
	a.Spec.PodCIDRs = []string{"fd00:244:1::7/64", "10.244.1.0/24", "", "10.244.0.9/24", "10.244.2.0/33", "::ffff:10.0.0.0/104"}
	b.Spec.PodCIDRs = []string{"10.244.3.0/24"}
	build := func(nodes ...*corev1.Node) []netip.Prefix {
		for _, n := range nodes { // As the caches do.
			if _, err := trimObject(n); err != nil {
				t.Fatal(err)
			}
		}
		return build(testOptions(), inputs{configMap: testConfigMap(nil), nodes: nodes}).state.Datapath.PodCIDRs
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:244:1::/64")}
	if got := build(b, a); !slices.Equal(got, want) {
		t.Errorf("networks %v, want %v", got, want)
	}
	if got := build(b, testNode("a", "10.4.0.11", nil)); got != nil {
		t.Errorf("networks %v of a Node without", got)
	}
}
