package controller

import (
	"context"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-vrrp-vip/pkg/config"
)

// uninstallTimeout limits the last requests to the API server.
const uninstallTimeout = time.Second

// Uninstalled reports whether the daemon is being removed from the cluster, as
// opposed to being restarted: its DaemonSet or its namespace does not exist or is
// being deleted. It is meant to be called once, on SIGTERM, may be called after
// Run has returned, and takes at most one second.
//
// It reads both objects from the API server. If that fails, for example because the
// permissions of the daemon are deleted together with the DaemonSet, the caches
// decide. An object that was never in a cache counts as existing.
func (c *Controller) Uninstalled(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, uninstallTimeout)
	defer cancel()

	// The namespace may be deleted first, and its pods before the DaemonSet.
	var namespaceGone, daemonSetGone bool
	var wg sync.WaitGroup
	wg.Go(func() {
		name := c.options.PodNamespace
		namespace, err := c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		cached := getObject[corev1.Namespace](c.namespaces, "", name)
		namespaceGone = isGone(namespace, err, cached != nil && cached.DeletionTimestamp != nil)
	})
	c.mu.Lock()
	c.daemonSet.update(c.pods, c.daemonSets, c.options)
	known := c.daemonSet
	c.mu.Unlock()
	if known.name != "" {
		wg.Go(func() {
			d, err := c.client.AppsV1().DaemonSets(c.options.PodNamespace).Get(ctx, known.name, metav1.GetOptions{})
			daemonSetGone = isGone(d, err, known.deleted)
		})
	}
	wg.Wait()
	return namespaceGone || daemonSetGone
}

// isGone reports whether an object does not exist or is being deleted, from the result
// of a get request. If the request failed, it returns known.
func isGone(o metav1.Object, err error, known bool) bool {
	switch {
	case err == nil:
		return o.GetDeletionTimestamp() != nil
	case apierrors.IsNotFound(err):
		return true
	default:
		return known
	}
}

// daemonSet is the last known status of the DaemonSet that owns this pod.
type daemonSet struct {
	// name is empty until it is known.
	name string
	// seen reports whether the DaemonSet was in the cache, and deleted whether it
	// does not exist any more or is being deleted.
	seen, deleted bool
}

// update updates d from the caches.
func (d *daemonSet) update(pods, daemonSets *informer, o config.Options) {
	pod := getObject[corev1.Pod](pods, o.PodNamespace, o.PodName)
	if pod != nil {
		// An orphaned pod has no owner any more: keep the last name.
		if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "DaemonSet" && owner.Name != d.name {
			*d = daemonSet{name: owner.Name}
		}
	}
	if d.name == "" {
		return
	}
	if cached := getObject[appsv1.DaemonSet](daemonSets, o.PodNamespace, d.name); cached != nil {
		d.seen, d.deleted = true, cached.DeletionTimestamp != nil
	} else {
		d.deleted = d.seen
	}
}
