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

// follower knows the endpoints of one Service: from EndpointSlices or, where
// these are not permitted, from Endpoints.
type follower struct {
	slices *informer
	// endpoints is nil until it is needed.
	endpoints *informer
	// late tells that the endpoints were not learned for optionalWait.
	late atomic.Bool
	ctx  context.Context
	stop context.CancelFunc
}

// follow makes the Services that are followed those of names. What it starts
// ends with ctx, and c.following waits for it.
func (c *Controller) follow(ctx context.Context, names []config.ObjectName) {
	for n, f := range c.followers {
		if !slices.Contains(names, n) {
			f.stop()
			delete(c.followers, n)
		}
	}
	for _, n := range names {
		f := c.followers[n]
		if f == nil {
			f = &follower{slices: newInformer(c.client.DiscoveryV1().EndpointSlices(n.Namespace), &discoveryv1.EndpointSlice{}, "endpointslices",
				metav1.ListOptions{LabelSelector: labels.Set{discoveryv1.LabelServiceName: n.Name}.String()}, c.enqueue, c.apiErrors)}
			f.ctx, f.stop = context.WithCancel(ctx)
			c.followers[n] = f
			c.following.Go(func() { f.run(f.slices, c.enqueue) })
		}
		if f.endpoints == nil && f.slices.forbidden.Load() {
			f.endpoints = newInformer(c.client.CoreV1().Endpoints(n.Namespace), &corev1.Endpoints{}, "endpoints", named(n.Name), c.enqueue, c.apiErrors) //nolint:staticcheck // For API servers that permit no more.
			c.following.Go(func() { f.run(f.endpoints, c.enqueue) })
		}
	}
}

// run fills a cache until f is stopped. That it was filled is to be known even
// if there was nothing to fill it with.
func (f *follower) run(s *informer, enqueue func()) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.RunWithContext(f.ctx) })
	timer := time.NewTimer(optionalWait)
	defer timer.Stop()
	late := timer.C
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-late:
			late = nil
			f.late.Store(true)
			enqueue()
		case <-s.HasSyncedChecker().Done():
			enqueue()
			return
		}
	}
}

// presence returns where the endpoints are, as node sees it. What was learned
// once counts for as long as nothing newer can be.
func (f *follower) presence(node string, family vrrp.Family) presence {
	fallback := f.endpoints != nil
	switch {
	case f.slices.HasSynced() && !f.slices.forbidden.Load():
		return presenceOn(node, family, ofSlices(listObjects[discoveryv1.EndpointSlice](f.slices)))
	case fallback && f.endpoints.HasSynced() && !f.endpoints.forbidden.Load():
		return presenceOn(node, family, ofEndpoints(listObjects[corev1.Endpoints](f.endpoints))) //nolint:staticcheck // As above.
	case fallback && f.endpoints.forbidden.Load():
		return presenceDenied
	case f.slices.HasSynced():
		return presenceOn(node, family, ofSlices(listObjects[discoveryv1.EndpointSlice](f.slices)))
	case f.late.Load():
		return presenceOverdue
	default:
		return presenceUnknown
	}
}

// ofSlices returns the endpoints of EndpointSlices. A condition that is not
// there is as the API has it: ready, serving as ready is, not terminating.
func ofSlices(all []*discoveryv1.EndpointSlice) (endpoints []endpoint) {
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

// ofEndpoints returns the endpoints of Endpoints, which tell only of those that
// are ready.
func ofEndpoints(all []*corev1.Endpoints) (endpoints []endpoint) { //nolint:staticcheck // As above.
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

// endpoint is what matters of an endpoint of a Service.
type endpoint struct {
	node string
	// family is 0 if it counts for both: Endpoints have one family only, of the
	// same pods.
	family vrrp.Family
	ready  bool
	// draining tells that it is terminating and still serves.
	draining bool
}

// presence is where the endpoints of a Service are, as one node sees it.
type presence int

const (
	// presenceUnknown is right after they began to be watched.
	presenceUnknown presence = iota
	presenceNowhere
	presenceElsewhere
	presenceHere
	// presenceOverdue is when they could not be learned for long, and
	// presenceDenied when to watch them is not permitted.
	presenceOverdue
	presenceDenied
)

// presenceOn returns where endpoints are, as node sees it. Like kube-proxy it
// falls back to those that are terminating, once no other is left.
func presenceOn(node string, family vrrp.Family, endpoints []endpoint) presence {
	ready, draining := presenceNowhere, presenceNowhere
	for _, e := range endpoints {
		if e.family != 0 && e.family != family {
			continue
		}
		at := presenceElsewhere
		if e.node == node {
			at = presenceHere
		}
		if e.ready {
			ready = max(ready, at)
		}
		if e.draining {
			draining = max(draining, at)
		}
	}
	if ready != presenceNowhere {
		return ready
	}
	return draining
}
