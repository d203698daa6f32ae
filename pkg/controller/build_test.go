package controller

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

var compareAddr = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

// testOptions returns the options of a daemon with the flags and the environment in
// the manifests.
func testOptions() config.Options {
	return config.Options{
		ConfigMap:   config.ObjectName{Namespace: "vip", Name: "vip-configmap"},
		VRID:        50,
		HTTPPort:    8080,
		ReleaseVIPs: true,
		VRRP: vrrp.Settings{
			Version:               vrrp.V3,
			AdvertisementInterval: 100 * time.Millisecond,
			DownAdverts:           3,
			AdvertsPerInterval:    1,
			Checksum:              vrrp.ChecksumPseudoHeader,
		},
		PodName:      "kube-vrrp-vip-a",
		PodNamespace: "vip",
		NodeName:     "worker-a",
		HostIP:       netip.MustParseAddr("10.4.0.11"),
	}
}

func testConfigMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "vip", Name: "vip-configmap", UID: "config"}, Data: data}
}

func testService(name, clusterIP string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "vip", Name: name, UID: types.UID(name)},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: clusterIP, Ports: ports},
	}
}

// testPod returns a pod of the daemon whose name ends with letter, on the node with
// that letter.
func testPod(letter, hostIP string) *corev1.Pod {
	isController := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       "vip",
			Name:            "kube-vrrp-vip-" + letter,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "kube-vrrp-vip", UID: "daemonset", Controller: &isController}},
		},
		Spec:   corev1.PodSpec{NodeName: "worker-" + letter},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, HostIP: hostIP, HostIPs: []corev1.HostIP{{IP: hostIP}}},
	}
}

func testNode(letter, address string, annotations map[string]string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "worker-" + letter, Annotations: annotations},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "x"}, {Type: corev1.NodeInternalIP, Address: address}}},
	}
}

func TestBuildForwards(t *testing.T) {
	t.Parallel()
	var (
		vip    = netip.MustParseAddr("10.4.0.50")
		target = netip.MustParseAddr("10.96.0.7")
		node   = netip.MustParseAddr("10.4.0.11")
		http   = corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}
	)
	const untilThen = "; until then the VIP refuses every port"
	refused := []desired.Forward{{VIP: vip}}

	tests := []struct {
		name     string
		value    string
		options  func(*config.Options)
		service  *corev1.Service
		forwards []desired.Forward
		problems []string
	}{
		{
			name:    "TCP and UDP, sorted",
			value:   "vip/echo",
			service: testService("echo", "10.96.0.7", corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP}, corev1.ServicePort{Port: 443}, http),
			forwards: []desired.Forward{{VIP: vip, Ports: []desired.Port{
				{Protocol: desired.TCP, Port: 80, Target: netip.AddrPortFrom(target, 80)},
				{Protocol: desired.TCP, Port: 443, Target: netip.AddrPortFrom(target, 443)},
				{Protocol: desired.UDP, Port: 53, Target: netip.AddrPortFrom(target, 53)},
			}}},
		},
		{
			name:  "NodePorts lead to the node's own",
			value: "vip/echo",
			service: testService("echo", "10.96.0.7",
				corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP, NodePort: 30001},
				corev1.ServicePort{Port: 9000, Protocol: corev1.ProtocolSCTP, NodePort: 30000},
				corev1.ServicePort{Port: 443, NodePort: 30002}),
			forwards: []desired.Forward{{VIP: vip, Ports: []desired.Port{
				{Protocol: desired.TCP, Port: 443, Target: netip.AddrPortFrom(target, 443)},
				{Protocol: desired.TCP, Port: 30002, Target: netip.AddrPortFrom(node, 30002)},
				{Protocol: desired.UDP, Port: 53, Target: netip.AddrPortFrom(target, 53)},
				{Protocol: desired.UDP, Port: 30001, Target: netip.AddrPortFrom(node, 30001)},
				{Protocol: desired.SCTP, Port: 9000, Target: netip.AddrPortFrom(target, 9000)},
				{Protocol: desired.SCTP, Port: 30000, Target: netip.AddrPortFrom(node, 30000)},
			}}},
		},
		{
			name:  "address only",
			value: "",
		},
		{
			name:     "bad value",
			value:    "echo",
			forwards: refused,
			problems: []string{`10.4.0.50: "echo": the name of the Service is incomplete: write namespace/service, or nothing for the address only` + untilThen},
		},
		{
			name:     "missing Service",
			value:    "vip/echo",
			forwards: refused,
			problems: []string{`10.4.0.50: "vip/echo": Service vip/echo does not exist: create it, or name another` + untilThen},
		},
		{
			name:     "headless Service",
			value:    "vip/echo",
			service:  testService("echo", corev1.ClusterIPNone, http),
			forwards: refused,
			problems: []string{`10.4.0.50: "vip/echo": Service vip/echo is headless (clusterIP: None): name one with a ClusterIP` + untilThen},
		},
		{
			name:     "Service without ClusterIP",
			value:    "vip/echo",
			service:  testService("echo", "", http),
			forwards: refused,
			problems: []string{`10.4.0.50: "vip/echo": Service vip/echo has no ClusterIP yet` + untilThen},
		},
		{
			name:  "ExternalName",
			value: "vip/echo",
			service: &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "vip", Name: "echo"},
				Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"},
			},
			forwards: refused,
			problems: []string{`10.4.0.50: "vip/echo": Service vip/echo is of type ExternalName and has no ClusterIP: name one of type ClusterIP` + untilThen},
		},
		{
			name:     "IPv6 Service",
			value:    "vip/echo",
			service:  testService("echo", "fd00::7", http),
			forwards: refused,
			problems: []string{`10.4.0.50: "vip/echo": Service vip/echo has no IPv4 ClusterIP: add IPv4 to its ipFamilies, or name another` + untilThen},
		},
		{
			name:  "dual-stack Service, IPv6 first",
			value: "vip/echo",
			service: func() *corev1.Service {
				s := testService("echo", "fd00::7", http)
				s.Spec.ClusterIPs = []string{"fd00::7", "10.96.0.7"}
				return s
			}(),
			forwards: []desired.Forward{{VIP: vip, Ports: []desired.Port{{Protocol: desired.TCP, Port: 80, Target: netip.AddrPortFrom(target, 80)}}}},
		},
		{
			name:     "no port",
			value:    "vip/echo",
			service:  testService("echo", "10.96.0.7"),
			forwards: refused,
			problems: []string{`10.4.0.50: "vip/echo": Service vip/echo has no ports` + untilThen},
		},
		{
			name:     "outside the watched namespace",
			value:    "vip/echo",
			options:  func(o *config.Options) { o.WatchNamespace = "default" },
			forwards: refused,
			problems: []string{`10.4.0.50: "vip/echo": Service vip/echo is outside --watch-namespace=default: name one inside, or leave the flag out` + untilThen},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := testOptions()
			if tt.options != nil {
				tt.options(&o)
			}
			got := build(o, inputs{
				configMap: testConfigMap(map[string]string{"10.4.0.50": tt.value}),
				service:   func(config.ObjectName) *corev1.Service { return tt.service },
			})
			if diff := cmp.Diff(tt.forwards, got.state.Datapath.Forwards, compareAddr); diff != "" {
				t.Errorf("forwards (-want +got):\n%s", diff)
			}
			var problems []string
			for _, p := range got.problems {
				problems = append(problems, p.String())
			}
			if diff := cmp.Diff(tt.problems, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			// The node keeps the VIP whatever the error in the Service is.
			if len(got.state.Routers) != 1 || len(got.state.Routers[0].VIPs) != 1 || got.state.Routers[0].VIPs[0].Address != vip {
				t.Errorf("routers: %+v", got.state.Routers)
			}
		})
	}
}

func TestBuildState(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Interface = "eth1"
	o.VRRP.Preempt = true
	in := inputs{
		configMap: testConfigMap(map[string]string{"10.4.0.50": "vip/echo", "10.4.0.9": "", "10.4.0.51": "vip/echo", "10.4.0.52": "vip/gone"}),
		service: func(n config.ObjectName) *corev1.Service {
			if n.Name != "echo" {
				return nil
			}
			return testService("echo", "10.96.0.7", corev1.ServicePort{Port: 80})
		},
		pods:  []*corev1.Pod{testPod("c", "10.4.0.13"), testPod("a", "10.4.0.11"), testPod("b", "10.4.0.12")},
		nodes: []*corev1.Node{testNode("a", "10.4.0.11", map[string]string{priorityAnnotation: "200"}), testNode("b", "10.4.0.12", map[string]string{priorityAnnotation: "201"}), testNode("c", "10.4.0.13", map[string]string{priorityAnnotation: "1"})},
	}
	ports := []desired.Port{{Protocol: desired.TCP, Port: 80, Target: netip.AddrPortFrom(netip.MustParseAddr("10.96.0.7"), 80)}}
	vip := func(s string) desired.VIP {
		return desired.VIP{Address: netip.MustParseAddr(s), Interfaces: []string{"eth1"}}
	}
	want := desired.State{
		NodeAddresses: []netip.Addr{netip.MustParseAddr("10.4.0.11")},
		Routers: []desired.Router{{
			Family: vrrp.IPv4,
			VRID:   50,
			Settings: vrrp.Settings{
				Version:               vrrp.V3,
				Priority:              200,
				AdvertisementInterval: 100 * time.Millisecond,
				Preempt:               true,
				DownAdverts:           3,
				AdvertsPerInterval:    1,
				Checksum:              vrrp.ChecksumPseudoHeader,
			},
			TakeoverDelay: 100 * time.Millisecond / 16,
			TakeoverStep:  100 * time.Millisecond / 16,
			Peers:         []netip.Addr{netip.MustParseAddr("10.4.0.12"), netip.MustParseAddr("10.4.0.13")},
			VIPs:          []desired.VIP{vip("10.4.0.9"), vip("10.4.0.50"), vip("10.4.0.51"), vip("10.4.0.52")},
		}},
		Datapath: desired.Datapath{Forwards: []desired.Forward{
			{VIP: netip.MustParseAddr("10.4.0.50"), Ports: ports},
			{VIP: netip.MustParseAddr("10.4.0.51"), Ports: ports},
			{VIP: netip.MustParseAddr("10.4.0.52")},
		}},
	}
	if diff := cmp.Diff(want, build(o, in).state, compareAddr); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestBuildWithoutVIPs(t *testing.T) {
	t.Parallel()
	want := desired.State{NodeAddresses: []netip.Addr{netip.MustParseAddr("10.4.0.11")}}
	for name, configMap := range map[string]*corev1.ConfigMap{
		"deleted": nil,
		"no data": testConfigMap(nil),
		"empty":   testConfigMap(map[string]string{}),
		"bad":     testConfigMap(map[string]string{"web": "vip/echo"}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := build(testOptions(), inputs{configMap: configMap})
			if diff := cmp.Diff(want, got.state, compareAddr); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}
