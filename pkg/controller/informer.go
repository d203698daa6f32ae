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

// informer is a client-go informer that also tracks whether the API server permits
// its requests.
type informer struct {
	cache.SharedIndexInformer
	// forbidden reports whether a list or a watch was not permitted, and no watch
	// has begun since.
	forbidden atomic.Bool
}

// typedClient is the part of a typed client that an informer uses.
type typedClient[L runtime.Object] interface {
	List(ctx context.Context, opts metav1.ListOptions) (L, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// newInformer returns an informer for the objects of client that match the selectors
// of only; resource is their name in log lines. The informer calls enqueue after
// every change of its cache or of forbidden.
func newInformer[L runtime.Object](client typedClient[L], object runtime.Object, resource string, only metav1.ListOptions, enqueue func(), apiErrors *apiErrorLog) *informer {
	i := &informer{}
	result := func(ctx context.Context, verb string, err error) {
		// Unauthorized is an outage, not a missing permission: the API server does
		// not recognize the client.
		if apierrors.IsForbidden(err) && !i.forbidden.Swap(true) || err == nil && verb == "watch" && i.forbidden.Swap(false) {
			enqueue()
		}
		apiErrors.record(ctx, verb+" "+resource, err)
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector, opts.LabelSelector = only.FieldSelector, only.LabelSelector
			list, err := client.List(ctx, opts)
			result(ctx, "list", err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.FieldSelector, opts.LabelSelector = only.FieldSelector, only.LabelSelector
			w, err := client.Watch(ctx, opts)
			result(ctx, "watch", err)
			return w, err
		},
	}
	i.SharedIndexInformer = cache.NewSharedIndexInformer(listThenWatch{lw}, object, 0, cache.Indexers{})
	// None of the setters fails before the informer is started.
	_ = i.SetTransform(trimObject)
	_ = i.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
	_, _ = i.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { enqueue() },
		UpdateFunc: func(any, any) { enqueue() },
		DeleteFunc: func(any) { enqueue() },
	})
	return i
}

// allObjects selects all objects.
var allObjects = metav1.ListOptions{}

// objectNamed selects the object with this name.
func objectNamed(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
}

// ready reports whether the cache is filled, or filling it is forbidden.
func (i *informer) ready() bool { return i.HasSynced() || i.forbidden.Load() }

// listThenWatch keeps client-go from streaming the initial list through a watch:
// while the API server is unreachable, that would delay the end of Run by up to 30 s.
type listThenWatch struct{ *cache.ListWatch }

func (listThenWatch) IsWatchListSemanticsUnSupported() bool { return true }

// trimObject removes the fields of an object that the controller does not read, to save
// memory in clusters with many objects.
func trimObject(object any) (any, error) {
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
	case *corev1.Endpoints: //nolint:staticcheck // For roles that do not permit EndpointSlices.
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

// listObjects returns all objects in the cache of i. Their type is *T.
func listObjects[T any](i *informer) []*T {
	list := i.GetStore().List()
	typed := make([]*T, 0, len(list))
	for _, o := range list {
		typed = append(typed, o.(*T))
	}
	return typed
}

// getObject returns an object from the cache of i, or nil if there is none. The
// namespace of a cluster-scoped object is empty.
func getObject[T any](i *informer, namespace, name string) *T {
	o, ok, err := i.GetStore().GetByKey(cache.NewObjectName(namespace, name).String())
	if err != nil || !ok {
		return nil
	}
	return o.(*T)
}
