package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

func addrs(words ...string) []netip.Addr {
	var all []netip.Addr
	for _, w := range words {
		all = append(all, netip.MustParseAddr(w))
	}
	return all
}

// dualStack returns the testPod with this letter, with an address of each family.
func dualStack(letter, ipv4, ipv6 string) *corev1.Pod {
	p := testPod(letter, ipv4)
	p.Status.HostIPs = []corev1.HostIP{{IP: ipv4}, {IP: ipv6}}
	return p
}

// summary has the fields in which the routers of a State differ.
func summary(s desired.State) []string {
	var lines []string
	for _, r := range s.Routers {
		var vips []string
		for _, v := range r.VIPs {
			vips = append(vips, strings.TrimSpace(v.Address.String()+" "+strings.Join(v.Interfaces, ",")))
		}
		lines = append(lines, fmt.Sprintf("IPv%d %d: %s", r.Family, r.VRID, strings.Join(vips, "; ")))
	}
	return lines
}

// The entry of a VIP decides whether it has a virtual MAC or, if it does not, the flag.
func TestRoutersVirtualMAC(t *testing.T) {
	t.Parallel()
	o := testOptions()
	data := map[string]string{
		"10.4.0.50": "",
		"yes":       `{addresses: [10.4.0.51, "2001:db8::51"], virtualMAC: true}`,
		"no":        `{addresses: [10.4.0.52], virtualMAC: false}`,
	}
	for flag, want := range map[bool]string{
		false: "10.4.0.50 false 10.4.0.51 true 10.4.0.52 false 2001:db8::51 true ",
		true:  "10.4.0.50 true 10.4.0.51 true 10.4.0.52 false 2001:db8::51 true ",
	} {
		o.VirtualMAC = flag
		got := ""
		for _, r := range build(o, inputs{configMap: testConfigMap(data)}).state.Routers {
			for _, v := range r.VIPs {
				got += fmt.Sprint(v.Address, " ", v.VirtualMAC, " ")
			}
		}
		if got != want {
			t.Errorf("--virtual-mac=%t: got %s, want %s", flag, got, want)
		}
	}
}

func messages(problems []config.Problem) []string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return lines
}

func TestRoutersByFamilyAndVRID(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Interface = "eth0"
	got := build(o, inputs{configMap: testConfigMap(map[string]string{
		"10.4.0.50":    "",
		"10.4.0.9":     "",
		"2001-db8--10": "",
		"web":          `{addresses: [10.4.0.60, "2001:db8::60"], vrid: 60, interface: [eth1, ens3]}`,
		"db":           `{addresses: [10.4.0.61], vrid: 60}`,
		"forced":       `{addresses: [10.4.0.70], vrid: 40, force: true}`,
		"also forced":  `{addresses: [10.4.0.71], vrid: 40}`,
	})})
	want := []string{
		"IPv4 40: 10.4.0.70 eth0; 10.4.0.71 eth0",
		"IPv4 50: 10.4.0.9 eth0; 10.4.0.50 eth0",
		"IPv4 60: 10.4.0.60 eth1,ens3; 10.4.0.61 eth0",
		"IPv6 50: 2001:db8::10 eth0",
		"IPv6 60: 2001:db8::60 eth1,ens3",
	}
	if diff := cmp.Diff(want, summary(got.state)); diff != "" {
		t.Errorf("routers (-want +got):\n%s", diff)
	}
	if got.problems != nil {
		t.Errorf("problems: %q", messages(got.problems))
	}
	for _, r := range got.state.Routers {
		if want := hashPriority("worker-a", r.VRID); r.Priority != want {
			t.Errorf("VRID %d: priority %d, want %d", r.VRID, r.Priority, want)
		}
		if want := r.VRID == 40; r.Force != want {
			t.Errorf("VRID %d: force %v", r.VRID, r.Force)
		}
		if want := map[vrrp.Family]vrrp.ChecksumForm{vrrp.IPv4: vrrp.ChecksumPseudoHeader}[r.Family]; r.Checksum != want {
			t.Errorf("IPv%d: checksum %v, want %v", r.Family, r.Checksum, want)
		}
	}
}

// TestVRIDs: the VIPs are spread evenly, a VIP keeps its VRID when others are added or
// removed, and the VRID in an entry takes precedence.
func TestVRIDs(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.VRIDs = config.VRIDRange{First: 50, Last: 57}
	// Other versions of the daemon must compute the same numbers.
	for address, want := range map[string]uint8{"192.168.1.99": 53, "192.168.1.100": 50, "2001:db8::10": 52} {
		e := config.Entry{VIP: netip.MustParseAddr(address)}
		if got := vridOf(o, e); got != want {
			t.Errorf("VRID of %s is %d, want %d", address, got, want)
		}
		e.VRID = 99
		if got := vridOf(o, e); got != 99 {
			t.Errorf("VRID of %s is %d, want its own", address, got)
		}
	}
	for _, step := range []int{1, 2, 8, 10, 16} {
		count := map[uint8]int{}
		for i := range 800 {
			n := 1 + i*step
			count[vridOf(o, config.Entry{VIP: netip.AddrFrom4([4]byte{10, 4, byte(n >> 8), byte(n)})})]++
		}
		for vrid := o.VRIDs.First; vrid <= o.VRIDs.Last; vrid++ {
			if count[vrid] < 80 || count[vrid] > 120 {
				t.Errorf("every %d. address: VRID %d has %d of 800", step, vrid, count[vrid])
			}
		}
	}
	o.VRIDs = config.VRIDRange{First: 1, Last: 255}
	for i := range 5000 {
		if vridOf(o, config.Entry{VIP: netip.AddrFrom4([4]byte{10, 4, byte(i >> 8), byte(i)})}) == 0 {
			t.Fatal("VRID 0")
		}
	}
}

// TestVRIDsSpreadOverNodes: with several VRIDs, several nodes have the highest
// priority.
func TestVRIDsSpreadOverNodes(t *testing.T) {
	t.Parallel()
	nodes := []string{"n1", "n2", "n3"}
	masters := map[string]bool{}
	for vrid := uint8(50); vrid <= 57; vrid++ {
		masters[slices.MaxFunc(nodes, func(a, b string) int {
			return int(hashPriority(a, vrid)) - int(hashPriority(b, vrid))
		})] = true
	}
	if len(masters) != len(nodes) {
		t.Errorf("masters: %v", masters)
	}
}

func TestRouterOptions(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.VRRP.Version = 2
	o.VRRP.AdvertisementInterval = 2 * time.Second
	o.VRRP.Preempt, o.VRRP.PreemptDelay = true, time.Minute
	o.VRRP.DownAdverts = 7
	o.VRRP.Password = vrrp.Password([]byte("secret\x00\x00"))
	got := build(o, inputs{configMap: testConfigMap(map[string]string{"10.4.0.50": ""})}).state.Routers
	want := []desired.Router{{
		Family: vrrp.IPv4,
		VRID:   50,
		Settings: vrrp.Settings{
			Version:               vrrp.V2,
			Priority:              hashPriority("worker-a", 50),
			AdvertisementInterval: 2 * time.Second,
			Preempt:               true,
			PreemptDelay:          time.Minute,
			DownAdverts:           7,
			AdvertsPerInterval:    1,
			Password:              vrrp.Password([]byte("secret\x00\x00")),
		},
		TakeoverDelay: got[0].TakeoverDelay,
		VIPs:          []desired.VIP{{Address: netip.MustParseAddr("10.4.0.50")}},
	}}
	if diff := cmp.Diff(want, got, compareAddr); diff != "" {
		t.Errorf("routers (-want +got):\n%s", diff)
	}

	o = testOptions()
	o.VRRP.AdvertsPerInterval, o.VRRP.Checksum = 3, vrrp.ChecksumMessage
	got = build(o, inputs{configMap: testConfigMap(map[string]string{"10.4.0.50": ""})}).state.Routers
	if r := got[0]; r.AdvertsPerInterval != 3 || r.Checksum != vrrp.ChecksumMessage {
		t.Errorf("router: %+v", r)
	}
}

// TestPeers: the peers are the other pods of each family and, with unicast, the routers
// that the operator names, except for this node itself.
func TestPeers(t *testing.T) {
	t.Parallel()
	in := inputs{
		configMap: testConfigMap(map[string]string{"10.4.0.50": "", "2001-db8--10": ""}),
		pods: []*corev1.Pod{
			dualStack("a", "10.4.0.11", "2001:db8::b"), dualStack("b", "10.4.0.12", "2001:db8::c"), testPod("c", "10.4.0.13"),
		},
		// In older clusters, only the Node has a second address.
		nodes: []*corev1.Node{testNode("c", "2001:db8::d", nil)},
	}
	peers := func(o config.Options) map[vrrp.Family][]netip.Addr {
		found := map[vrrp.Family][]netip.Addr{}
		for _, r := range build(o, in).state.Routers {
			if r.Unicast != o.VRRP.Unicast {
				t.Errorf("unicast %v", r.Unicast)
			}
			found[r.Family] = r.Peers
		}
		return found
	}
	o := testOptions()
	want := map[vrrp.Family][]netip.Addr{
		vrrp.IPv4: addrs("10.4.0.12", "10.4.0.13"),
		vrrp.IPv6: addrs("2001:db8::c", "2001:db8::d"),
	}
	if diff := cmp.Diff(want, peers(o), compareAddr); diff != "" {
		t.Errorf("multicast (-want +got):\n%s", diff)
	}
	o.VRRP.Unicast = true
	o.UnicastPeers = addrs("10.4.0.2", "10.4.0.11", "10.4.0.12", "2001:db8::b", "2001:db8::2")
	want = map[vrrp.Family][]netip.Addr{
		vrrp.IPv4: addrs("10.4.0.2", "10.4.0.12", "10.4.0.13"),
		vrrp.IPv6: addrs("2001:db8::2", "2001:db8::c", "2001:db8::d"),
	}
	if diff := cmp.Diff(want, peers(o), compareAddr); diff != "" {
		t.Errorf("unicast (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(addrs("10.4.0.11", "2001:db8::b"), build(o, in).state.NodeAddresses, compareAddr); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
}

func TestBuildUnserved(t *testing.T) {
	t.Parallel()
	data := map[string]string{"10.4.0.50": "", "web": `{addresses: [10.4.0.51, "2001:db8::51"], services: [{name: vip/echo}]}`}
	service := func(config.ObjectName) *corev1.Service {
		return testService("echo", "10.96.0.7", corev1.ServicePort{Port: 80})
	}
	tests := []struct {
		name     string
		options  func(*config.Options)
		in       inputs
		routers  []string
		forwards []netip.Addr
		problems []string
	}{
		{
			name:     "a Service without IPv6",
			routers:  []string{"IPv4 50: 10.4.0.50; 10.4.0.51", "IPv6 50: 2001:db8::51"},
			forwards: addrs("10.4.0.51", "2001:db8::51"),
			problems: []string{`web: "vip/echo": Service vip/echo has no IPv6 ClusterIP: add IPv6 to its ipFamilies, or name another; until then the VIP refuses every port`},
		},
		{
			name:     "VRRPv2 has no IPv6",
			options:  func(o *config.Options) { o.VRRP.Version, o.VRRP.AdvertisementInterval = 2, time.Second },
			routers:  []string{"IPv4 50: 10.4.0.50; 10.4.0.51"},
			forwards: addrs("10.4.0.51"),
			problems: []string{`web: "vip/echo": not served: VRRPv2 has no IPv6, 2001:db8::51 needs --vrrp-version=3`},
		},
		{
			name:     "unicast without an IPv6 address of the node",
			options:  func(o *config.Options) { o.VRRP.Unicast = true },
			routers:  []string{"IPv4 50: 10.4.0.50; 10.4.0.51"},
			forwards: addrs("10.4.0.51"),
			problems: []string{`web: "vip/echo": not served: node worker-a has no IPv6 address to send advertisements of 2001:db8::51 from, which --use-unicast requires: give it one (--node-ip of the kubelet), or use multicast`},
		},
		{
			name: "unicast without an IPv4 address of the node",
			options: func(o *config.Options) {
				o.VRRP.Unicast, o.HostIP = true, netip.MustParseAddr("2001:db8::b")
			},
			routers:  []string{"IPv6 50: 2001:db8::51"},
			forwards: addrs("2001:db8::51"),
			problems: []string{
				`10.4.0.50: not served: node worker-a has no IPv4 address to send advertisements of 10.4.0.50 from, which --use-unicast requires: give it one (--node-ip of the kubelet), or use multicast`,
				`web: "vip/echo": not served: node worker-a has no IPv4 address to send advertisements of 10.4.0.51 from, which --use-unicast requires: give it one (--node-ip of the kubelet), or use multicast`,
				`web: "vip/echo": Service vip/echo has no IPv6 ClusterIP: add IPv6 to its ipFamilies, or name another; until then the VIP refuses every port`,
			},
		},
		{
			name:     "the IPv6 address of a node",
			in:       inputs{nodes: []*corev1.Node{testNode("b", "2001:db8::51", nil)}},
			routers:  []string{"IPv4 50: 10.4.0.50; 10.4.0.51"},
			forwards: addrs("10.4.0.51"),
			problems: []string{`web: "vip/echo": not served: 2001:db8::51 is the address of node worker-b, write a free address of the nodes' network`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := testOptions()
			if tt.options != nil {
				tt.options(&o)
			}
			tt.in.configMap, tt.in.service = testConfigMap(data), service
			got := build(o, tt.in)
			if diff := cmp.Diff(tt.routers, summary(got.state)); diff != "" {
				t.Errorf("routers (-want +got):\n%s", diff)
			}
			var forwards []netip.Addr
			for _, f := range got.state.Datapath.Forwards {
				forwards = append(forwards, f.VIP)
				if f.VIP.Is6() && f.Ports != nil {
					t.Errorf("ports of %s: %+v", f.VIP, f)
				}
			}
			if diff := cmp.Diff(tt.forwards, forwards, compareAddr); diff != "" {
				t.Errorf("forwards (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, messages(got.problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestProblemsAreDistinct: several VIPs of an entry that share a Problem have it once.
// Otherwise every sync would report it again.
func TestProblemsAreDistinct(t *testing.T) {
	t.Parallel()
	got := build(testOptions(), inputs{
		configMap: testConfigMap(map[string]string{"web": `{addresses: [10.4.0.51, 10.4.0.52], services: [{name: vip/gone}]}`}),
		service:   func(config.ObjectName) *corev1.Service { return nil },
	})
	want := []string{`web: "vip/gone": Service vip/gone does not exist: create it, or name another; until then the VIP refuses every port`}
	if diff := cmp.Diff(want, messages(got.problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestMoreThanAnAdvertisementHolds: addresses beyond the limit are served, with a
// notice.
func TestMoreThanAnAdvertisementHolds(t *testing.T) {
	t.Parallel()
	data := map[string]string{}
	for i := range 256 {
		data[fmt.Sprintf("10.4.1.%d", i)] = ""
	}
	for i := range 91 {
		data[fmt.Sprintf("2001-db8--%x", i+1)] = ""
	}
	got := build(testOptions(), inputs{configMap: testConfigMap(data)})
	if n := []int{len(got.state.Routers[0].VIPs), len(got.state.Routers[1].VIPs)}; n[0] != 256 || n[1] != 91 {
		t.Errorf("%v VIPs", n)
	}
	const most = " addresses: if they are on one interface, the first %d are advertised, and the others are only bound and announced; spread them with --vrids or vrid"
	want := []config.Problem{
		{Key: "vip/vip-configmap", Message: "VRID 50 has 256 IPv4" + fmt.Sprintf(most, 255), Notice: true},
		{Key: "vip/vip-configmap", Message: "VRID 50 has 91 IPv6" + fmt.Sprintf(most, 90), Notice: true},
	}
	if diff := cmp.Diff(want, got.problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
