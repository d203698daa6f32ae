package controller

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
)

// run is a running Controller with a fake cluster, inside a bubble of synctest.
type run struct {
	*Controller
	client *fake.Clientset
	log    ktesting.Buffer
	stop   func()

	mu     sync.Mutex
	states []desired.State
}

// start starts a Controller and waits until it is idle.
func start(t *testing.T, o config.Options, client *fake.Clientset) *run {
	t.Helper()
	r := startWith(t, o, client)
	r.client = client
	return r
}

func startWith(t *testing.T, o config.Options, client kubernetes.Interface) *run {
	t.Helper()
	logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true), ktesting.Verbosity(2)))
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), logger))
	r := &run{log: logger.GetSink().(ktesting.Underlier).GetBuffer()}
	r.Controller = New(client, o, func(s desired.State) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.states = append(r.states, s)
	})
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	r.waitForCaches()
	return r
}

// waitForCaches waits until the Controller has polled its caches and is idle.
func (r *run) waitForCaches() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func (r *run) applied() []desired.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.states
}

// events returns the recorded Events as "type reason object: message".
func (r *run) events() []string {
	var lines []string
	for _, a := range r.client.Actions() {
		if a, ok := a.(clienttesting.CreateAction); ok && a.GetResource().Resource == "events" {
			e := a.GetObject().(*corev1.Event)
			lines = append(lines, e.Type+" "+e.Reason+" "+e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name+": "+e.Message)
		}
	}
	return lines
}

func (r *run) logged(s string) int { return strings.Count(r.log.String(), s) }

func testDaemonSet() *appsv1.DaemonSet {
	return &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "vip", Name: "kube-vrrp-vip", UID: "daemonset"}}
}

func testNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "vip"}}
}

// testCluster returns a cluster with a VIP, a Service, and the daemon on two nodes.
func testCluster() *fake.Clientset {
	return fake.NewClientset(
		testConfigMap(map[string]string{"10.4.0.50": "vip/echo"}),
		testService("echo", "10.96.0.7", corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolTCP}),
		testPod("a", "10.4.0.11"), testPod("b", "10.4.0.12"),
		testNode("a", "10.4.0.11", nil), testNode("b", "10.4.0.12", nil),
		testDaemonSet(), testNamespace(),
	)
}

// knowsPeer reports whether a State of testCluster takes worker-b into account, which
// has a higher priority: worker-a has rank 1 then, and without peers its delay would
// be a hash.
func knowsPeer(s desired.State) bool { return s.Routers[0].TakeoverDelay == 100*time.Millisecond/16 }

// deny makes the API server respond to every request for a resource with err.
func deny(client *fake.Clientset, err error, resources ...string) {
	for _, resource := range resources {
		client.PrependReactor("*", resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, err })
		client.PrependWatchReactor(resource, func(clienttesting.Action) (bool, watch.Interface, error) { return true, nil, err })
	}
}

func forbidden(resource string) error {
	return apierrors.NewForbidden(corev1.Resource(resource), "", errors.New("no RBAC"))
}

func TestControllerApplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, testOptions(), testCluster())
		states := r.applied()
		if len(states) != 1 {
			t.Fatalf("%d states, want 1: %+v", len(states), states)
		}
		want := []desired.Forward{{VIP: netip.MustParseAddr("10.4.0.50"), Ports: []desired.Port{{Protocol: desired.TCP, Port: 80, Target: netip.AddrPortFrom(netip.MustParseAddr("10.96.0.7"), 80)}}}}
		if diff := cmp.Diff(want, states[0].Datapath.Forwards, compareAddr); diff != "" {
			t.Errorf("forwards (-want +got):\n%s", diff)
		}
		if len(states[0].Routers) != 1 || !knowsPeer(states[0]) {
			t.Errorf("state: %+v", states[0])
		}
		if n := r.logged("Accepted the configuration"); n != 1 {
			t.Errorf("accepted %d times:\n%s", n, r.log)
		}
		if len(r.Problems()) != 0 || len(r.events()) != 0 {
			t.Errorf("problems %v, events %v", r.Problems(), r.events())
		}
	})
}

func TestControllerAppliesOnlyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, testOptions(), testCluster())
		core := r.client.CoreV1()
		ctx := t.Context()

		// A change that the State does not depend on.
		service := testService("other", "10.96.0.8", corev1.ServicePort{Port: 80})
		if _, err := core.Services("vip").Create(ctx, service, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		node := testNode("b", "10.4.0.12", map[string]string{"else": "x"})
		if _, err := core.Nodes().Update(ctx, node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.waitForCaches()
		if n := len(r.applied()); n != 1 {
			t.Fatalf("%d states, want 1", n)
		}

		steps := []struct {
			name string
			do   func() error
			want func(desired.State) bool
		}{
			{"the ConfigMap names the other Service", func() error {
				_, err := core.ConfigMaps("vip").Update(ctx, testConfigMap(map[string]string{"10.4.0.50": "vip/other"}), metav1.UpdateOptions{})
				return err
			}, func(s desired.State) bool {
				return s.Datapath.Forwards[0].Ports[0].Target.Addr() == netip.MustParseAddr("10.96.0.8")
			}},
			{"the Service is deleted", func() error {
				return core.Services("vip").Delete(ctx, "other", metav1.DeleteOptions{})
			}, func(s desired.State) bool {
				return len(s.Routers[0].VIPs) == 1 && len(s.Datapath.Forwards) == 1 && s.Datapath.Forwards[0].Ports == nil
			}},
			{"a peer goes", func() error {
				return core.Pods("vip").Delete(ctx, "kube-vrrp-vip-b", metav1.DeleteOptions{})
			}, func(s desired.State) bool { return !knowsPeer(s) }},
			{"our Node gets a priority", func() error {
				_, err := core.Nodes().Update(ctx, testNode("a", "10.4.0.11", map[string]string{priorityAnnotation: "17"}), metav1.UpdateOptions{})
				return err
			}, func(s desired.State) bool { return s.Routers[0].Priority == 17 }},
			{"the ConfigMap is emptied", func() error {
				_, err := core.ConfigMaps("vip").Update(ctx, testConfigMap(nil), metav1.UpdateOptions{})
				return err
			}, func(s desired.State) bool { return s.Routers == nil && s.Datapath.Forwards == nil }},
			{"and filled", func() error {
				_, err := core.ConfigMaps("vip").Update(ctx, testConfigMap(map[string]string{"10.4.0.51": ""}), metav1.UpdateOptions{})
				return err
			}, func(s desired.State) bool { return len(s.Routers) == 1 && s.Datapath.Forwards == nil }},
			{"and deleted", func() error {
				return core.ConfigMaps("vip").Delete(ctx, "vip-configmap", metav1.DeleteOptions{})
			}, func(s desired.State) bool { return s.Routers == nil }},
		}
		for i, step := range steps {
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			r.waitForCaches()
			states := r.applied()
			if len(states) != i+2 {
				t.Fatalf("%s: %d states, want %d", step.name, len(states), i+2)
			}
			if s := states[i+1]; !step.want(s) {
				t.Errorf("%s: %+v", step.name, s)
			}
		}
	})
}

// TestControllerWatchesOneConfigMap: the daemon does not read other ConfigMaps of the
// namespace, which may contain secrets or a megabyte.
func TestControllerWatchesOneConfigMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, testOptions(), testCluster())
		seen := 0
		for _, a := range r.client.Actions() {
			switch a := a.(type) {
			case clienttesting.ListAction:
				if a.GetResource().Resource == "configmaps" {
					seen++
					if got := a.GetListRestrictions().Fields.String(); got != "metadata.name=vip-configmap" {
						t.Errorf("list with %q", got)
					}
				}
			case clienttesting.WatchAction:
				if a.GetResource().Resource == "configmaps" {
					seen++
					if got := a.GetWatchRestrictions().Fields.String(); got != "metadata.name=vip-configmap" {
						t.Errorf("watch with %q", got)
					}
				}
			}
		}
		if seen < 2 {
			t.Errorf("%d requests for ConfigMaps", seen)
		}
	})
}

// TestControllerOldPermissions: with the RBAC of kube-keepalived-vip all VIPs are
// served, and each missing permission is logged once.
func TestControllerOldPermissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		for _, resource := range []string{"daemonsets", "namespaces", "events"} {
			deny(client, forbidden(resource), resource)
		}
		r := start(t, testOptions(), client)
		for range 3 {
			r.Transition(testTransition())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(r.applied()); n != 1 {
			t.Errorf("%d states, want 1", n)
		}
		for _, request := range []string{"list daemonsets", "list namespaces", "write events"} {
			if n := r.logged(`reason="` + request + `"`); n != 1 {
				t.Errorf("%q is logged %d times:\n%s", request, n, r.log)
			}
		}
		if r.Uninstalled(t.Context()) {
			t.Error("uninstalled")
		}
	})
}

// TestControllerFewPermissions: reading the ConfigMap and the Services suffices.
func TestControllerFewPermissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		for _, resource := range []string{"daemonsets", "namespaces", "events", "pods", "nodes"} {
			deny(client, forbidden(resource), resource)
		}
		r := start(t, testOptions(), client)
		if states := r.applied(); len(states) != 1 || len(states[0].Datapath.Forwards) != 1 || knowsPeer(states[0]) {
			t.Errorf("states: %+v", states)
		}
	})
}

// hangingNodes is a client whose requests for Nodes get no response.
type hangingNodes struct{ *fake.Clientset }

func (h hangingNodes) CoreV1() typedcorev1.CoreV1Interface { return hangingCore{h.Clientset.CoreV1()} }

type hangingCore struct{ typedcorev1.CoreV1Interface }

func (h hangingCore) Nodes() typedcorev1.NodeInterface {
	return hangingLists{h.CoreV1Interface.Nodes()}
}

type hangingLists struct{ typedcorev1.NodeInterface }

func (hangingLists) List(ctx context.Context, _ metav1.ListOptions) (*corev1.NodeList, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestControllerHangingRequest: the first State waits for optional informers for a
// short time only.
func TestControllerHangingRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startWith(t, testOptions(), hangingNodes{testCluster()})
		if n := len(r.applied()); n != 0 {
			t.Fatalf("%d states at once", n)
		}
		time.Sleep(optionalWait)
		r.waitForCaches()
		if n := len(r.applied()); n != 1 {
			t.Errorf("%d states, want 1", n)
		}
	})
}

// TestControllerUnicastWaitsForPeers: with unicast the first State has the peers,
// unless watching Pods is not permitted.
func TestControllerUnicastWaitsForPeers(t *testing.T) {
	o := testOptions()
	o.VRRP.Unicast = true
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		var up atomic.Bool
		client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return !up.Load(), nil, errors.New("connection refused")
		})
		r := start(t, o, client)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(r.applied()); n != 0 {
			t.Fatalf("%d states without peers", n)
		}
		up.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		states := r.applied()
		if len(states) != 1 {
			t.Fatalf("%d states", len(states))
		}
		if diff := cmp.Diff(addrs("10.4.0.12"), states[0].Routers[0].Peers, compareAddr); diff != "" {
			t.Errorf("peers (-want +got):\n%s", diff)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		deny(client, apierrors.NewForbidden(corev1.Resource("pods"), "", nil), "pods")
		if n := len(start(t, o, client).applied()); n != 1 {
			t.Errorf("%d states where pods may not be watched", n)
		}
	})
}

// TestPeersFollowPods: a node that joins or leaves changes only the peers.
func TestPeersFollowPods(t *testing.T) {
	o := testOptions()
	o.VRRP.Unicast = true
	o.UnicastPeers = addrs("10.4.0.2")
	synctest.Test(t, func(t *testing.T) {
		r := start(t, o, testCluster())
		pods := r.client.CoreV1().Pods("vip")
		check := func(want ...string) {
			t.Helper()
			r.waitForCaches()
			states := r.applied()
			last := states[len(states)-1].Routers[0]
			if diff := cmp.Diff(addrs(want...), last.Peers, compareAddr); diff != "" {
				t.Errorf("peers (-want +got):\n%s", diff)
			}
			first := states[0].Routers[0]
			last.Peers, last.TakeoverDelay = first.Peers, first.TakeoverDelay
			if diff := cmp.Diff(first, last, compareAddr); diff != "" {
				t.Errorf("router (-before +after):\n%s", diff)
			}
		}
		check("10.4.0.2", "10.4.0.12")
		if _, err := pods.Create(t.Context(), testPod("c", "10.4.0.13"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		check("10.4.0.2", "10.4.0.12", "10.4.0.13")
		if err := pods.Delete(t.Context(), "kube-vrrp-vip-b", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		check("10.4.0.2", "10.4.0.13")
	})
}

// TestControllerWithoutAPI: nothing is applied before the first response of the API
// server. The Controller retries without end, and logs the failure once.
func TestControllerWithoutAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		var mu sync.Mutex
		down := true
		client.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			mu.Lock()
			defer mu.Unlock()
			return down, nil, errors.New("connection refused")
		})
		r := start(t, testOptions(), client)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(r.applied()); n != 0 {
			t.Fatalf("%d states without an API server", n)
		}
		if n := r.logged(`failed, went on with what is known reason="list services"`); n != 1 {
			t.Errorf("logged %d times:\n%s", n, r.log)
		}
		mu.Lock()
		down = false
		mu.Unlock()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		states := r.applied()
		if len(states) == 0 {
			t.Fatal("no state")
		}
		if last := states[len(states)-1]; len(last.Datapath.Forwards) != 1 || !knowsPeer(last) {
			t.Errorf("state: %+v", last)
		}
		if n := r.logged(`succeeded again reason="list services"`); n != 1 {
			t.Errorf("logged %d times:\n%s", n, r.log)
		}
	})
}

func TestControllerProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		r := start(t, testOptions(), client)
		update := func(data map[string]string) {
			t.Helper()
			if _, err := client.CoreV1().ConfigMaps("vip").Update(t.Context(), testConfigMap(data), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			r.waitForCaches()
		}
		problem := `10.4.0.51: "vip/gone": Service vip/gone does not exist: create it, or name another; until then the VIP refuses every port`
		notice := `10.4.0.52: "vip/echo:DR": DR is served as NAT: write namespace/service instead`
		update(map[string]string{"10.4.0.50": "vip/echo", "10.4.0.51": "vip/gone", "10.4.0.52": "vip/echo:DR"})
		update(map[string]string{"10.4.0.53": "vip/echo", "10.4.0.51": "vip/gone", "10.4.0.52": "vip/echo:DR"})

		var got []string
		for _, p := range r.Problems() {
			got = append(got, p.String())
		}
		if diff := cmp.Diff([]string{problem, notice}, got); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
		wantEvents := []string{
			"Warning ConfigProblem ConfigMap/vip-configmap: " + problem,
			"Normal ConfigNotice ConfigMap/vip-configmap: " + notice,
		}
		if diff := cmp.Diff(wantEvents, r.events()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if n := r.logged("Configuration has a problem"); n != 2 {
			t.Errorf("%d problems logged:\n%s", n, r.log)
		}

		update(map[string]string{"10.4.0.50": "vip/echo"})
		if len(r.Problems()) != 0 || r.logged("Configuration problem was resolved") != 2 {
			t.Errorf("problems %v, log:\n%s", r.Problems(), r.log)
		}
	})
}

// TestControllerKubeProxy: the daemon serves TCP ports itself after KubeProxy(false),
// until KubeProxy(true).
func TestControllerKubeProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, testOptions(), testCluster())
		for i, step := range []struct {
			present bool
			states  int
			want    desired.Proxy
		}{
			{true, 1, desired.NoProxy},
			{false, 2, desired.ProxyPlain},
			{false, 2, desired.ProxyPlain},
			{true, 3, desired.NoProxy},
		} {
			r.KubeProxy(step.present)
			r.waitForCaches()
			states := r.applied()
			if len(states) != step.states {
				t.Fatalf("step %d: %d states, want %d", i, len(states), step.states)
			}
			if got := states[len(states)-1].Datapath.Forwards[0].Ports[0].Proxy; got != step.want {
				t.Errorf("step %d: proxy %d, want %d", i, got, step.want)
			}
		}
	})
}

// TestControllerRests: endless changes use a part of a processor only, and a single
// change is not delayed.
func TestControllerRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cost = 50 * time.Millisecond
		r := start(t, testOptions(), testCluster())
		apply := r.apply
		r.apply = func(s desired.State) {
			time.Sleep(cost)
			apply(s)
		}
		change := func(i int) {
			t.Helper()
			s := testService("echo", "10.96.0.7", corev1.ServicePort{Port: int32(i + 1), Protocol: corev1.ProtocolTCP})
			if _, err := r.client.CoreV1().Services("vip").Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		before := len(r.applied())
		change(100)
		time.Sleep(cost + time.Millisecond)
		if n := len(r.applied()) - before; n != 1 {
			t.Errorf("%d states right after one change, want 1", n)
		}
		r.waitForCaches()

		before = len(r.applied())
		begin := time.Now()
		for i := range 1000 {
			change(i)
			time.Sleep(10 * time.Millisecond)
		}
		most := int(time.Since(begin)/(5*cost)) + 1 // A fifth of the time.
		if n := len(r.applied()) - before; n > most || n < most/2 {
			t.Errorf("%d states in %v of changes, want up to %d", n, time.Since(begin), most)
		}
		r.waitForCaches()
		if got := r.applied()[len(r.applied())-1].Datapath.Forwards[0].Ports[0].Port; got != 1000 {
			t.Errorf("port %d at last, want 1000", got)
		}
	})
}
