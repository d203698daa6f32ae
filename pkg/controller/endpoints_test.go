package controller

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// localCluster is testCluster with a Service that has externalTrafficPolicy: Local.
func localCluster(t *testing.T, objects ...runtime.Object) *fake.Clientset {
	t.Helper()
	client := testCluster()
	service := externallyLocal(testService("echo", "10.96.0.7", corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolTCP}))
	if _, err := client.CoreV1().Services("vip").Update(t.Context(), service, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if err := client.Tracker().Add(o); err != nil {
			t.Fatal(err)
		}
	}
	client.ClearActions()
	return client
}

// testSlice returns an EndpointSlice of the Service echo with a ready endpoint on each
// of nodes.
func testSlice(name string, family discoveryv1.AddressType, nodes ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "vip", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "echo"}},
		AddressType: family,
	}
	for _, node := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{NodeName: &node, Addresses: []string{"10.244.0.5"}})
	}
	return s
}

// testEndpoints returns the Endpoints of the Service echo.
func testEndpoints(nodes ...string) *corev1.Endpoints { //nolint:staticcheck // For API servers that permit no more.
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "vip", Name: "echo"}} //nolint:staticcheck // The same.
	for _, node := range nodes {
		e.Subsets = append(e.Subsets, corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{{IP: "10.244.0.5", NodeName: &node}}}) //nolint:staticcheck // The same.
	}
	return e
}

// isEligible reports whether the node is eligible in the State that was applied last.
func (r *run) isEligible(t *testing.T) bool {
	t.Helper()
	states := r.applied()
	if len(states) == 0 || len(states[len(states)-1].Routers) != 1 {
		t.Fatalf("states: %+v", states)
	}
	return !states[len(states)-1].Routers[0].NoLocalEndpoint
}

func (r *run) wantEligible(t *testing.T, want bool, when string) {
	t.Helper()
	r.waitForCaches()
	if got := r.isEligible(t); got != want {
		t.Errorf("%s: eligible %v, want %v", when, got, want)
	}
}

func TestEligibilityFollowsEndpointSlices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, testOptions(), localCluster(t))
		all := r.client.DiscoveryV1().EndpointSlices("vip")
		put := func(s *discoveryv1.EndpointSlice) {
			t.Helper()
			if _, err := all.Update(t.Context(), s, metav1.UpdateOptions{}); err == nil {
				return
			}
			if _, err := all.Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		r.wantEligible(t, false, "without endpoints")
		put(testSlice("1", discoveryv1.AddressTypeIPv4, "worker-b"))
		r.wantEligible(t, false, "with one elsewhere")
		put(testSlice("2", discoveryv1.AddressTypeIPv6, "worker-a"))
		r.wantEligible(t, false, "with one here, of the other family")
		put(testSlice("1", discoveryv1.AddressTypeIPv4, "worker-b", "worker-a"))
		r.wantEligible(t, true, "with one here")
		yes, no := true, false
		draining := testSlice("1", discoveryv1.AddressTypeIPv4, "worker-b", "worker-a")
		draining.Endpoints[1].Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
		put(draining)
		r.wantEligible(t, false, "with one that drains here and one that is ready elsewhere")
		draining.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &no}
		put(draining)
		r.wantEligible(t, true, "with one that drains here and none that is ready")
		if err := all.Delete(t.Context(), "1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		r.wantEligible(t, false, "when the slice was gone")
		for _, a := range r.client.Actions() {
			if a.GetResource().Resource == "endpoints" {
				t.Errorf("requested endpoints: %v", a)
			}
			if list, ok := a.(clienttesting.ListAction); ok && a.GetResource().Resource == "endpointslices" {
				if got := list.GetListRestrictions().Labels.String(); got != "kubernetes.io/service-name=echo" {
					t.Errorf("listed %q", got)
				}
			}
		}
	})
}

// TestEligibilityFromTheStart: the first State takes the endpoints into account, so
// that a restart does not move a VIP.
func TestEligibilityFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, testOptions(), localCluster(t, testSlice("1", discoveryv1.AddressTypeIPv4, "worker-a")))
		if states := r.applied(); len(states) != 1 || states[0].Routers[0].NoLocalEndpoint || states[0].Routers[0].VRID < firstAutomaticVRID {
			t.Errorf("states: %+v", states)
		}
	})
}

// TestEligibilityOfLaterService: the endpoints of a Service are watched from when its
// policy becomes Local until it is no longer.
func TestEligibilityOfLaterService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		if err := client.Tracker().Add(testSlice("1", discoveryv1.AddressTypeIPv4, "worker-b")); err != nil {
			t.Fatal(err)
		}
		api := newOutage(client, "endpointslices")
		r := start(t, testOptions(), client)
		put := func(s *corev1.Service) {
			t.Helper()
			if _, err := client.CoreV1().Services("vip").Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		port := corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolTCP}
		requests := func() (n int) {
			for _, a := range client.Actions() {
				if a.GetResource().Resource == "endpointslices" {
					n++
				}
			}
			return n
		}
		r.wantEligible(t, true, "before")
		if requests() != 0 {
			t.Error("requested EndpointSlices of a Service that needs none")
		}
		put(internallyLocal(testService("echo", "10.96.0.7", port)))
		r.wantEligible(t, false, "when it had become Local")
		put(testService("echo", "10.96.0.7", port))
		r.wantEligible(t, true, "when it was Local no longer")
		if got := r.applied()[len(r.applied())-1].Routers[0].VRID; len(r.endpointsWatchers) != 0 || got != 50 {
			t.Errorf("watches %v, VRID %d", r.endpointsWatchers, got)
		}
		// No goroutine is left that would restart a watch.
		before := requests()
		api.set(nil)
		time.Sleep(time.Minute)
		if n := requests() - before; n != 0 {
			t.Errorf("%d more requests", n)
		}
	})
}

// outage makes requests for a resource fail while it lasts, and ends its watches when
// it begins.
type outage struct {
	mu      sync.Mutex
	err     error
	watches []watch.Interface
}

func newOutage(client *fake.Clientset, resource string) *outage {
	o := &outage{}
	client.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.err != nil, nil, o.err
	})
	client.PrependWatchReactor(resource, func(a clienttesting.Action) (bool, watch.Interface, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err != nil {
			return true, nil, o.err
		}
		w, err := client.Tracker().Watch(a.GetResource(), a.GetNamespace())
		o.watches = append(o.watches, w)
		return true, w, err
	})
	return o
}

// set begins an outage with err, or ends it if err is nil.
func (o *outage) set(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
	for _, w := range o.watches {
		w.Stop()
	}
	o.watches = nil
}

// TestEligibilityWithoutAPI: the last known endpoints stay in effect without limit. If
// endpoints were never known, the node is not eligible for some seconds only.
func TestEligibilityWithoutAPI(t *testing.T) {
	refused := errors.New("connection refused")
	for _, here := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			node := map[bool]string{true: "worker-a", false: "worker-b"}[here]
			client := localCluster(t, testSlice("1", discoveryv1.AddressTypeIPv4, node))
			api := newOutage(client, "endpointslices")
			r := start(t, testOptions(), client)
			r.wantEligible(t, here, "before")
			before := len(r.applied())
			api.set(refused)
			time.Sleep(time.Hour)
			r.wantEligible(t, here, "while the API server was away")
			api.set(nil)
			time.Sleep(10 * time.Minute)
			r.wantEligible(t, here, "afterwards")
			if n := len(r.applied()); n != before {
				t.Errorf("%d more states", n-before)
			}
			if err := client.Tracker().Update(discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), testSlice("1", discoveryv1.AddressTypeIPv4), "vip"); err != nil {
				t.Fatal(err)
			}
			r.wantEligible(t, false, "after a change")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		newOutage(client, "endpointslices").set(refused)
		r := start(t, testOptions(), client)
		service := internallyLocal(testService("echo", "10.96.0.7", corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolTCP}))
		if _, err := client.CoreV1().Services("vip").Update(t.Context(), service, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.wantEligible(t, false, "at first")
		time.Sleep(optionalWait)
		r.wantEligible(t, true, "after some seconds")
	})
}

// TestEligibilityWithoutPermissionOrAPI: the last known EndpointSlices stay in effect
// if watching them is forbidden and requests for Endpoints fail.
func TestEligibilityWithoutPermissionOrAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := localCluster(t, testSlice("1", discoveryv1.AddressTypeIPv4, "worker-a"))
		api := newOutage(client, "endpointslices")
		newOutage(client, "endpoints").set(errors.New("connection refused"))
		r := start(t, testOptions(), client)
		before := len(r.applied())
		api.set(forbidden("endpointslices"))
		time.Sleep(time.Hour)
		r.wantEligible(t, true, "for an hour")
		if n := len(r.applied()); n != before {
			t.Errorf("%d more states", n-before)
		}
	})
}

// TestEligibilityUnauthorized: a token that is rejected for a while is an outage. It
// does not make a node without an endpoint eligible.
func TestEligibilityUnauthorized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := localCluster(t, testSlice("1", discoveryv1.AddressTypeIPv4, "worker-b"))
		api := newOutage(client, "endpointslices")
		newOutage(client, "endpoints").set(apierrors.NewUnauthorized("token"))
		r := start(t, testOptions(), client)
		api.set(apierrors.NewUnauthorized("token"))
		time.Sleep(time.Hour)
		r.wantEligible(t, false, "for an hour")
		if n := r.logged(`not permitted, went on without it reason="list endpointslices"`); n != 1 {
			t.Errorf("logged %d times, log:\n%s", n, r.log)
		}
	})
}

// TestEligibilityByEndpoints: if EndpointSlices are forbidden, Endpoints decide, and if
// these are forbidden too, every node is eligible.
func TestEligibilityByEndpoints(t *testing.T) {
	hasNotice := func(r *run) int { return len(r.Problems()) }
	synctest.Test(t, func(t *testing.T) {
		client := localCluster(t, testEndpoints("worker-b"))
		deny(client, forbidden("endpointslices"), "endpointslices")
		r := start(t, testOptions(), client)
		r.wantEligible(t, false, "with an endpoint elsewhere")
		if _, err := client.CoreV1().Endpoints("vip").Update(t.Context(), testEndpoints("worker-b", "worker-a"), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.wantEligible(t, true, "with an endpoint here")
		if n := r.logged(`not permitted, went on without it reason="list endpointslices"`); n != 1 || hasNotice(r) != 0 {
			t.Errorf("reported %d times, problems %v", n, r.Problems())
		}
		if slices.ContainsFunc(r.applied()[1:], func(s desired.State) bool { return s.Routers[0].VRID != r.applied()[0].Routers[0].VRID }) {
			t.Error("the VRID has changed")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		client := localCluster(t, testSlice("1", discoveryv1.AddressTypeIPv4, "worker-b"), testEndpoints("worker-b"))
		slicesAPI, endpointsAPI := newOutage(client, "endpointslices"), newOutage(client, "endpoints")
		slicesAPI.set(forbidden("endpointslices"))
		endpointsAPI.set(forbidden("endpoints"))
		r := start(t, testOptions(), client)
		r.wantEligible(t, true, "where nothing is permitted")
		time.Sleep(time.Hour)
		r.wantEligible(t, true, "where nothing is permitted for long")
		if hasNotice(r) != 1 || r.logged("listing and watching endpointslices is not permitted") != 1 {
			t.Errorf("problems %v, log:\n%s", r.Problems(), r.log)
		}
		slicesAPI.set(nil)
		time.Sleep(10 * time.Minute)
		r.wantEligible(t, false, "after it was permitted")
		if hasNotice(r) != 0 {
			t.Errorf("problems %v", r.Problems())
		}
		// The permission ends.
		slicesAPI.set(forbidden("endpointslices"))
		time.Sleep(10 * time.Minute)
		r.wantEligible(t, true, "after it was permitted no longer")
	})
}

// TestEligibilityWhileLearning: a VIP whose Service becomes Local does not move while
// the endpoints are unknown, if its virtual router stays the same.
func TestEligibilityWhileLearning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testCluster()
		if err := client.Tracker().Add(testSlice("1", discoveryv1.AddressTypeIPv4, "worker-a")); err != nil {
			t.Fatal(err)
		}
		configMap := testConfigMap(map[string]string{"web": "{addresses: [10.4.0.50], services: [{name: vip/echo}], vrid: 60}"})
		if _, err := client.CoreV1().ConfigMaps("vip").Update(t.Context(), configMap, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		api := newOutage(client, "endpointslices")
		api.set(errors.New("connection refused"))
		r := start(t, testOptions(), client)
		service := internallyLocal(testService("echo", "10.96.0.7", corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolTCP}))
		if _, err := client.CoreV1().Services("vip").Update(t.Context(), service, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.wantEligible(t, true, "while the endpoints were learned")
		api.set(nil)
		time.Sleep(time.Minute)
		r.wantEligible(t, true, "when they were")
		for i, s := range r.applied() {
			if s.Routers[0].NoLocalEndpoint {
				t.Errorf("State %d took the VIP away", i)
			}
		}
		if err := client.Tracker().Update(discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), testSlice("1", discoveryv1.AddressTypeIPv4, "worker-b"), "vip"); err != nil {
			t.Fatal(err)
		}
		r.wantEligible(t, false, "when the endpoint was elsewhere")
	})
}

// TestServiceRecreated: a Service that is deleted and created again, with another
// ClusterIP, affects only the ports of its VIP in between.
func TestServiceRecreated(t *testing.T) {
	for _, entry := range []string{"{addresses: [10.4.0.50], services: [{name: vip/echo}], vrid: 60}", "{addresses: [10.4.0.50], services: [{name: vip/echo}]}"} {
		synctest.Test(t, func(t *testing.T) {
			client := localCluster(t, testSlice("1", discoveryv1.AddressTypeIPv4, "worker-a"))
			if _, err := client.CoreV1().ConfigMaps("vip").Update(t.Context(), testConfigMap(map[string]string{"web": entry}), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			r := start(t, testOptions(), client)
			vrid := r.applied()[0].Routers[0].VRID
			all := client.CoreV1().Services("vip")
			if err := all.Delete(t.Context(), "echo", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			r.wantEligible(t, true, "without the Service")
			if f := r.applied()[len(r.applied())-1].Datapath.Forwards; len(f) != 1 || len(f[0].Ports) != 0 || f[0].Open {
				t.Errorf("forwards without the Service: %+v", f)
			}
			service := internallyLocal(testService("echo", "10.96.0.77", corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolTCP}))
			if _, err := all.Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			r.wantEligible(t, true, "with it again")
			last := r.applied()[len(r.applied())-1]
			if got := last.Datapath.Forwards[0].Ports; len(got) != 1 || got[0].Target.String() != "10.96.0.77:80" || last.Routers[0].VRID != vrid {
				t.Errorf("ports %+v, VRID %d, want %d", got, last.Routers[0].VRID, vrid)
			}
			for i, s := range r.applied() {
				if vrid == 60 && s.Routers[0].NoLocalEndpoint {
					t.Errorf("State %d takes the VIP away", i)
				}
			}
		})
	}
}

func TestLocalityOn(t *testing.T) {
	t.Parallel()
	here := func(f vrrp.Family, ready, draining bool) endpoint { return endpoint{"worker-a", f, ready, draining} }
	there := func(f vrrp.Family, ready, draining bool) endpoint { return endpoint{"worker-b", f, ready, draining} }
	const yes, no = true, false
	tests := []struct {
		name      string
		endpoints []endpoint
		want      endpointLocality
	}{
		{"none", nil, localityNone},
		{"ready here", []endpoint{there(4, yes, no), here(4, yes, no)}, localityThisNode},
		{"ready there", []endpoint{there(4, yes, no), here(4, no, no)}, localityOtherNode},
		{"of the other family here", []endpoint{there(4, yes, no), here(6, yes, no)}, localityOtherNode},
		{"of the other family only", []endpoint{here(6, yes, no)}, localityNone},
		{"of both families", []endpoint{here(0, yes, no)}, localityThisNode},
		{"neither ready nor serving", []endpoint{here(4, no, no), there(4, no, no)}, localityNone},
		{"draining here, ready there", []endpoint{here(4, no, yes), there(4, yes, no)}, localityOtherNode},
		{"draining here, none ready", []endpoint{here(4, no, yes), there(4, no, no)}, localityThisNode},
		{"draining there, none ready", []endpoint{here(4, no, no), there(4, no, yes)}, localityOtherNode},
		{"draining here, ready of the other family", []endpoint{here(4, no, yes), there(6, yes, no)}, localityThisNode},
		{"on no node", []endpoint{{"", 4, yes, no}}, localityOtherNode},
	}
	for _, test := range tests {
		if got := localityOn("worker-a", vrrp.IPv4, test.endpoints); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
