package controller

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// optionalWait is the maximum time that the first State waits for the optional
// informers, which provide priorities and peers.
const optionalWait = 3 * time.Second

// After a sync the Controller pauses for restFactor times the duration of the sync,
// but at most for maxRest. So frequent changes in the cluster use at most a fifth of
// a processor, and a change after a quiet period takes effect at once.
const (
	restFactor = 4
	maxRest    = time.Second
)

// Controller builds the desired State from the objects of the cluster and keeps it up
// to date. Use New to create one.
type Controller struct {
	client  kubernetes.Interface
	options config.Options
	apply   func(desired.State)

	// Required informers: the first State waits until their caches are filled.
	configMaps, services *informer
	// Optional informers.
	pods, nodes, daemonSets, namespaces *informer

	apiErrors *apiErrorLog
	recorder  *recorder
	// queue is the work queue. It has a single key, since every change of a cache
	// causes the same sync.
	queue chan struct{}
	// noKubeProxy is the negated argument of the last call of KubeProxy.
	noKubeProxy atomic.Bool

	// events queues Events about virtual routers.
	events chan routerEvent

	// Only Run uses these: the last ConfigMap that was accepted, the last State that
	// was applied, and the watches of endpoints, by Service.
	accepted          *corev1.ConfigMap
	applied           *desired.State
	endpointsWatchers map[config.ObjectName]*endpointsWatcher
	// endpointsRunning waits for the goroutines of endpointsWatchers.
	endpointsRunning sync.WaitGroup

	mu         sync.Mutex
	problems   []config.Problem
	servicesOf map[netip.Addr][]config.ObjectName
	daemonSet  daemonSet
}

// New returns a Controller. It starts nothing: Run calls apply with the first State
// and with every State that differs from the previous one.
func New(client kubernetes.Interface, o config.Options, apply func(desired.State)) *Controller {
	c := &Controller{
		client:    client,
		options:   o,
		apply:     apply,
		apiErrors: newAPIErrorLog(),
		queue:     make(chan struct{}, 1),
		events:    make(chan routerEvent, maxQueuedEvents),

		endpointsWatchers: map[config.ObjectName]*endpointsWatcher{},
	}
	c.recorder = newRecorder(client, c.host(), c.apiErrors)
	core, apps := client.CoreV1(), client.AppsV1()
	c.configMaps = newInformer(core.ConfigMaps(o.ConfigMap.Namespace), &corev1.ConfigMap{}, "configmaps", objectNamed(o.ConfigMap.Name), c.enqueue, c.apiErrors)
	c.services = newInformer(core.Services(o.WatchNamespace), &corev1.Service{}, "services", allObjects, c.enqueue, c.apiErrors)
	c.pods = newInformer(core.Pods(o.PodNamespace), &corev1.Pod{}, "pods", allObjects, c.enqueue, c.apiErrors)
	c.nodes = newInformer(core.Nodes(), &corev1.Node{}, "nodes", allObjects, c.enqueue, c.apiErrors)
	c.daemonSets = newInformer(apps.DaemonSets(o.PodNamespace), &appsv1.DaemonSet{}, "daemonsets", allObjects, c.enqueue, c.apiErrors)
	c.namespaces = newInformer(core.Namespaces(), &corev1.Namespace{}, "namespaces", objectNamed(o.PodNamespace), c.enqueue, c.apiErrors)
	return c
}

// enqueue queues a sync.
func (c *Controller) enqueue() {
	select {
	case c.queue <- struct{}{}:
	default:
	}
}

// KubeProxy sets whether kube-proxy runs on this node. The default is true. It may be
// called by any goroutine.
func (c *Controller) KubeProxy(present bool) {
	if c.noKubeProxy.Swap(!present) == present {
		c.enqueue()
	}
}

// host returns the name of this node for Events.
func (c *Controller) host() string { return cmp.Or(c.options.NodeName, c.options.PodName) }

// Run watches the cluster until ctx is done. It returns nil after all goroutines that
// it started have ended, and after it has tried to write the queued Events.
func (c *Controller) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.endpointsRunning.Wait()
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { c.recorder.run(recording) })
	wg.Go(func() {
		defer stopRecording()
		c.recordEvents(ctx)
	})
	required := []*informer{c.configMaps, c.services}
	optional := []*informer{c.pods, c.nodes, c.daemonSets, c.namespaces}
	for _, i := range slices.Concat(required, optional) {
		wg.Go(func() { i.RunWithContext(ctx) })
	}

	if !waitFor(ctx, required, (*informer).HasSynced) {
		return nil
	}
	// With unicast a node without peers receives no advertisements, and would become
	// Master.
	if c.options.VRRP.Unicast && !waitFor(ctx, []*informer{c.pods}, (*informer).ready) {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, optionalWait)
	c.watchEndpoints(ctx, c.build(c.configMap()).watchedServices)
	for _, w := range c.endpointsWatchers {
		optional = append(optional, w.slices)
	}
	waitFor(wait, optional, (*informer).ready)
	cancel()

	for {
		start := time.Now()
		c.sync(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(restFactor*time.Since(start), maxRest)):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.queue:
		}
	}
}

// waitFor waits until condition holds for all informers or ctx is done. It reports
// whether the condition holds.
func waitFor(ctx context.Context, informers []*informer, condition func(*informer) bool) bool {
	var all []cache.InformerSynced
	for _, i := range informers {
		all = append(all, func() bool { return condition(i) })
	}
	return cache.WaitForCacheSync(ctx.Done(), all...)
}

// configMap returns the ConfigMap, or nil if it does not exist.
func (c *Controller) configMap() *corev1.ConfigMap {
	return getObject[corev1.ConfigMap](c.configMaps, c.options.ConfigMap.Namespace, c.options.ConfigMap.Name)
}

// build calls the function build with the contents of the caches.
func (c *Controller) build(configMap *corev1.ConfigMap) built {
	return build(c.options, inputs{
		configMap: configMap,
		service: func(n config.ObjectName) *corev1.Service {
			return getObject[corev1.Service](c.services, n.Namespace, n.Name)
		},
		pods:  listObjects[corev1.Pod](c.pods),
		nodes: listObjects[corev1.Node](c.nodes),
		locality: func(n config.ObjectName, node string, f vrrp.Family) endpointLocality {
			if w := c.endpointsWatchers[n]; w != nil {
				return w.locality(node, f)
			}
			return localityUnknown
		},
		wasEligible: c.wasEligible,

		noKubeProxy: c.noKubeProxy.Load(),
	})
}

// wasEligible reports whether this node was eligible for a virtual router in the
// State that was applied last.
func (c *Controller) wasEligible(f vrrp.Family, vrid uint8) bool {
	return c.applied != nil && slices.ContainsFunc(c.applied.Routers, func(r desired.Router) bool {
		return r.Family == f && r.VRID == vrid && !r.NoLocalEndpoint
	})
}

// sync builds the State from the caches, reports the Problems, and applies the State
// if it differs from the last one.
func (c *Controller) sync(ctx context.Context) {
	start := time.Now()
	logger := klog.LoggerWithValues(klog.FromContext(ctx), "configMap", klog.KRef(c.options.ConfigMap.Namespace, c.options.ConfigMap.Name))
	configMap := c.configMap()
	b := c.build(configMap)
	c.watchEndpoints(ctx, b.watchedServices)

	c.mu.Lock()
	before := c.problems
	c.problems, c.servicesOf = b.problems, b.servicesOf
	c.daemonSet.update(c.pods, c.daemonSets, c.options)
	c.mu.Unlock()

	if configMap != nil && (c.accepted == nil || !maps.Equal(c.accepted.Data, configMap.Data)) {
		logger.Info("Accepted the configuration", "count", countVIPs(b.state))
	}
	c.accepted = configMap
	c.reportProblems(logger, configMap, before, b.problems)
	if c.applied == nil || !reflect.DeepEqual(*c.applied, b.state) {
		c.apply(b.state)
		c.applied = &b.state
		logger.V(2).Info("Applied a new state", "count", len(b.state.Datapath.Forwards), "elapsed", time.Since(start))
	}
}

// reportProblems logs new and resolved Problems, and records new ones as Events on
// the ConfigMap.
func (c *Controller) reportProblems(logger klog.Logger, configMap *corev1.ConfigMap, before, now []config.Problem) {
	known := map[config.Problem]bool{}
	for _, p := range before {
		known[p] = true
	}
	for _, p := range now {
		if known[p] {
			delete(known, p)
			continue
		}
		eventType, reason := corev1.EventTypeWarning, reasonProblem
		if p.Notice {
			eventType, reason = corev1.EventTypeNormal, reasonNotice
		}
		logger.Info("Configuration has a problem", "reason", p.String())
		if configMap != nil {
			c.recorder.record(reference("ConfigMap", configMap), eventType, reason, p.String())
		}
	}
	for _, p := range before {
		if known[p] {
			logger.Info("Configuration problem was resolved", "reason", p.String())
		}
	}
}

// Problems returns the current Problems of the configuration, sorted by key.
func (c *Controller) Problems() []config.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.problems)
}

func countVIPs(s desired.State) int {
	n := 0
	for _, r := range s.Routers {
		n += len(r.VIPs)
	}
	return n
}
