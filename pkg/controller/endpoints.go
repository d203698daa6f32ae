package controller

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/vrrp"
)

// endpointsWatcher watches the endpoints of a Service: its EndpointSlices or, if
// watching these is not permitted, its Endpoints.
type endpointsWatcher struct {
	slices *informer
	// endpoints is nil until EndpointSlices turn out to be forbidden.
	endpoints *informer
	// overdue reports whether the caches were not filled within optionalWait.
	overdue atomic.Bool
	ctx     context.Context
	stop    context.CancelFunc
}

// watchEndpoints starts watches of the endpoints of these Services, and stops those
// of all others. The watches end with ctx, and c.endpointsRunning waits for them.
func (c *Controller) watchEndpoints(ctx context.Context, names []config.ObjectName) {
	for n, w := range c.endpointsWatchers {
		if !slices.Contains(names, n) {
			w.stop()
			delete(c.endpointsWatchers, n)
		}
	}
	for _, n := range names {
		w := c.endpointsWatchers[n]
		if w == nil {
			w = &endpointsWatcher{slices: newInformer(c.client.DiscoveryV1().EndpointSlices(n.Namespace), &discoveryv1.EndpointSlice{}, "endpointslices",
				metav1.ListOptions{LabelSelector: labels.Set{discoveryv1.LabelServiceName: n.Name}.String()}, c.enqueue, c.apiErrors)}
			w.ctx, w.stop = context.WithCancel(ctx)
			c.endpointsWatchers[n] = w
			c.endpointsRunning.Go(func() { w.run(w.slices, c.enqueue) })
		}
		if w.endpoints == nil && w.slices.forbidden.Load() {
			w.endpoints = newInformer(c.client.CoreV1().Endpoints(n.Namespace), &corev1.Endpoints{}, "endpoints", objectNamed(n.Name), c.enqueue, c.apiErrors) //nolint:staticcheck // For roles that do not permit EndpointSlices.
			c.endpointsRunning.Go(func() { w.run(w.endpoints, c.enqueue) })
		}
	}
}

// run runs an informer of w until w is stopped. It also calls enqueue when the cache
// is filled, since an empty cache causes no change.
func (w *endpointsWatcher) run(i *informer, enqueue func()) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { i.RunWithContext(w.ctx) })
	timer := time.NewTimer(optionalWait)
	defer timer.Stop()
	overdue := timer.C
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-overdue:
			overdue = nil
			w.overdue.Store(true)
			enqueue()
		case <-i.HasSyncedChecker().Done():
			enqueue()
			return
		}
	}
}

// locality returns the location of the endpoints, relative to node. While the API
// server does not provide newer ones, the last known endpoints count.
func (w *endpointsWatcher) locality(node string, family vrrp.Family) endpointLocality {
	fallback := w.endpoints != nil
	switch {
	case w.slices.HasSynced() && !w.slices.forbidden.Load():
		return localityOn(node, family, fromEndpointSlices(listObjects[discoveryv1.EndpointSlice](w.slices)))
	case fallback && w.endpoints.HasSynced() && !w.endpoints.forbidden.Load():
		return localityOn(node, family, fromEndpoints(listObjects[corev1.Endpoints](w.endpoints))) //nolint:staticcheck // As above.
	case fallback && w.endpoints.forbidden.Load():
		return localityForbidden
	case w.slices.HasSynced():
		return localityOn(node, family, fromEndpointSlices(listObjects[discoveryv1.EndpointSlice](w.slices)))
	case w.overdue.Load():
		return localityOverdue
	default:
		return localityUnknown
	}
}

// fromEndpointSlices returns the endpoints in EndpointSlices. A condition that is not
// set has the default of the API: ready, serving if ready, not terminating.
func fromEndpointSlices(all []*discoveryv1.EndpointSlice) (endpoints []endpoint) {
	families := map[discoveryv1.AddressType]vrrp.Family{discoveryv1.AddressTypeIPv4: vrrp.IPv4, discoveryv1.AddressTypeIPv6: vrrp.IPv6}
	for _, s := range all {
		family, ok := families[s.AddressType]
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			serving, terminating := ready, false
			if e.Conditions.Serving != nil {
				serving = *e.Conditions.Serving
			}
			if e.Conditions.Terminating != nil {
				terminating = *e.Conditions.Terminating
			}
			endpoints = append(endpoints, endpoint{node: deref(e.NodeName), family: family, ready: ready, draining: serving && terminating})
		}
	}
	return endpoints
}

// fromEndpoints returns the ready addresses of Endpoints: those that are not ready
// are in another field.
func fromEndpoints(all []*corev1.Endpoints) (endpoints []endpoint) { //nolint:staticcheck // As above.
	for _, o := range all {
		for _, subset := range o.Subsets {
			for _, a := range subset.Addresses {
				endpoints = append(endpoints, endpoint{node: deref(a.NodeName), ready: true})
			}
		}
	}
	return endpoints
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// endpoint is an endpoint of a Service.
type endpoint struct {
	node string
	// family is 0 if the endpoint counts for both families: Endpoints list the
	// addresses of one family only, but of the same pods.
	family vrrp.Family
	ready  bool
	// draining reports whether the endpoint is terminating and still serving.
	draining bool
}

// endpointLocality is the location of the endpoints of a Service, relative to a node.
type endpointLocality int

const (
	localityUnknown   endpointLocality = iota // The watch has just begun.
	localityNone                              // There is no usable endpoint.
	localityOtherNode                         // All usable endpoints are on other nodes.
	localityThisNode                          // The node has a usable endpoint.
	localityOverdue                           // The endpoints are still unknown after optionalWait.
	localityForbidden                         // Watching is not permitted.
)

// localityOn returns the location of endpoints, relative to node. Like kube-proxy it
// uses terminating endpoints only if there are no others.
func localityOn(node string, family vrrp.Family, endpoints []endpoint) endpointLocality {
	ready, draining := localityNone, localityNone
	for _, e := range endpoints {
		if e.family != 0 && e.family != family {
			continue
		}
		at := localityOtherNode
		if e.node == node {
			at = localityThisNode
		}
		if e.ready {
			ready = max(ready, at)
		}
		if e.draining {
			draining = max(draining, at)
		}
	}
	if ready != localityNone {
		return ready
	}
	return draining
}
