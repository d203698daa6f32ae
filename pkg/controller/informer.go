package controller

import (
	"context"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// source is the cache of one kind of object, and the watch that fills it.
type source struct {
	cache.SharedIndexInformer
	// denied tells that a list or a watch was not permitted, and that no watch
	// has begun since.
	denied atomic.Bool
}

// typedClient is the part of a typed client that a source needs.
type typedClient[L runtime.Object] interface {
	List(ctx context.Context, opts metav1.ListOptions) (L, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// newSource watches the objects of client, which are resources, as far as the
// selectors of only have them. After every change of the cache, and of whether
// it is permitted, it calls changed.
func newSource[L runtime.Object](client typedClient[L], object runtime.Object, resource string, only metav1.ListOptions, changed func(), answers *answers) *source {
	s := &source{}
	heard := func(ctx context.Context, verb string, err error) {
		// Who is not known (Unauthorized) is permitted nothing at all: an outage,
		// like those of the network.
		if apierrors.IsForbidden(err) && !s.denied.Swap(true) || err == nil && verb == "watch" && s.denied.Swap(false) {
			changed()
		}
		answers.heard(ctx, verb+" "+resource, err)
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector, opts.LabelSelector = only.FieldSelector, only.LabelSelector
			list, err := client.List(ctx, opts)
			heard(ctx, "list", err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.FieldSelector, opts.LabelSelector = only.FieldSelector, only.LabelSelector
			w, err := client.Watch(ctx, opts)
			heard(ctx, "watch", err)
			return w, err
		},
	}
	s.SharedIndexInformer = cache.NewSharedIndexInformer(listThenWatch{lw}, object, 0, cache.Indexers{})
	// None of the setters fails before the informer is started.
	_ = s.SetTransform(strip)
	_ = s.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
	_, _ = s.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	})
	return s
}

// everything and named are what a source may be limited to.
var everything = metav1.ListOptions{}

func named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
}

// settled tells that waiting longer for s is of no use for now.
func (s *source) settled() bool { return s.HasSynced() || s.denied.Load() }

// listThenWatch keeps client-go from streaming the initial list through a
// watch: while the API server can not be reached, that waits for as long as
// 30 s after the daemon was told to stop.
type listThenWatch struct{ *cache.ListWatch }

func (listThenWatch) IsWatchListSemanticsUnSupported() bool { return true }

// strip leaves of an object what the controller reads, since a cluster may
// have many Services and their like.
func strip(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.ConfigMap:
		o.ManagedFields, o.Annotations, o.BinaryData = nil, nil, nil
	case *corev1.Service:
		o.ManagedFields, o.Annotations, o.Labels = nil, nil, nil
		o.Status = corev1.ServiceStatus{}
	case *corev1.Pod:
		o.ManagedFields, o.Annotations, o.Labels = nil, nil, nil
		o.Spec = corev1.PodSpec{NodeName: o.Spec.NodeName}
		o.Status = corev1.PodStatus{Phase: o.Status.Phase, HostIP: o.Status.HostIP, HostIPs: o.Status.HostIPs}
	case *corev1.Node:
		o.ManagedFields, o.Labels = nil, nil
		o.Spec = corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs}
		o.Status = corev1.NodeStatus{Addresses: o.Status.Addresses}
	case *appsv1.DaemonSet:
		o.ManagedFields, o.Annotations, o.Labels = nil, nil, nil
		o.Spec, o.Status = appsv1.DaemonSetSpec{}, appsv1.DaemonSetStatus{}
	case *corev1.Namespace:
		o.ManagedFields, o.Annotations, o.Labels = nil, nil, nil
	case *discoveryv1.EndpointSlice:
		o.ManagedFields, o.Annotations, o.Labels, o.Ports = nil, nil, nil, nil
		for i, e := range o.Endpoints {
			o.Endpoints[i] = discoveryv1.Endpoint{Conditions: e.Conditions, NodeName: e.NodeName}
		}
	case *corev1.Endpoints: //nolint:staticcheck // For API servers that permit no more.
		o.ManagedFields, o.Annotations, o.Labels = nil, nil, nil
		for i, subset := range o.Subsets {
			for j, a := range subset.Addresses {
				subset.Addresses[j] = corev1.EndpointAddress{NodeName: a.NodeName}
			}
			o.Subsets[i] = corev1.EndpointSubset{Addresses: subset.Addresses} //nolint:staticcheck // The same.
		}
	}
	return object, nil
}

// objects returns what the cache of s holds.
func objects[T any](s *source) []*T {
	list := s.GetStore().List()
	typed := make([]*T, 0, len(list))
	for _, o := range list {
		typed = append(typed, o.(*T))
	}
	return typed
}

// object returns one object of the cache of s, or nil. The namespace of a
// cluster-wide object is empty.
func object[T any](s *source, namespace, name string) *T {
	o, ok, err := s.GetStore().GetByKey(cache.NewObjectName(namespace, name).String())
	if err != nil || !ok {
		return nil
	}
	return o.(*T)
}
