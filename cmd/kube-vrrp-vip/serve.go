package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/controller"
	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/engine"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/inspect"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/neighbor"
	"kube-vrrp-vip/pkg/proxy"
	"kube-vrrp-vip/pkg/server"
)

// lifetime is how long the kernel keeps a virtual address that nobody renews.
const lifetime = 2 * time.Second

// serve runs the daemon until ctx ends or a part of it fails.
func serve(ctx context.Context, o config.Options) (err error) {
	logger := klog.FromContext(ctx)
	logger.Info("Starting", "version", version, "node", o.NodeName, "configMap", klog.KRef(o.ConfigMap.Namespace, o.ConfigMap.Name))
	for _, w := range o.Warnings() {
		logger.Info("Option has no effect", "reason", w)
	}
	if err := errors.Join(datapath.Supported(), neighbor.Supported()); err != nil {
		return fmt.Errorf("this node cannot run kube-vrrp-vip: %w", err)
	}
	client, err := controller.NewClient(o)
	if err != nil {
		return err
	}
	d := &daemon{}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.wire(logger, client, o); err != nil {
		return err
	}
	err = d.run(ctx, o.ReleaseVIPs)
	if ctx.Err() != nil && d.controller.Uninstalled(context.WithoutCancel(ctx)) {
		logger.Info("Removing nftables tables", "reason", "the DaemonSet is being deleted")
		err = errors.Join(err, removeTables())
	}
	return err
}

// daemon has the parts of the program, which know each other by values alone.
type daemon struct {
	engine     *engine.Engine
	controller *controller.Controller
	datapath   *datapath.Worker
	inspector  *inspect.Inspector
	server     *server.Server
	closers    []func() error
}

// wire makes the parts and connects them.
func (d *daemon) wire(logger klog.Logger, client kubernetes.Interface, o config.Options) error {
	gateErr := neighbor.SupportedGate()
	if gateErr != nil {
		logger.Info("No gate for ARP and neighbor discovery", "reason", gateErr.Error())
	}
	rules, neighbors := datapath.NewRules(), neighbor.New(gateErr == nil)
	c := engine.Config{
		Conns:        lan.Conns{},
		Neighbors:    neighbors,
		Senders:      neighbors,
		Elevate:      lan.Elevate,
		OnTransition: func(t desired.Transition) { d.controller.Transition(t) },
		OnAlarm:      func(a desired.AlarmChange) { d.controller.Alarm(a) },
		Release:      o.ReleaseVIPs,
	}
	if err := d.open(&c, gateErr == nil); err != nil {
		return err
	}
	d.engine = engine.New(c)
	d.datapath = datapath.NewWorker(proxy.New(), rules)
	d.inspector = inspect.New(inspect.Config{
		KubeProxy: func(present bool) { d.controller.KubeProxy(present) },
		Repairs: map[string]func() uint64{
			"inet kube_vrrp_vip":   rules.Repairs,
			"arp kube_vrrp_vip":    neighbors.Repairs,
			"netdev kube_vrrp_vip": neighbors.GateRepairs,
		},
	})
	d.controller = controller.New(client, o, d.apply)
	d.server = server.New(server.Config{Port: o.HTTPPort, Version: version, Node: o.NodeName, Snapshot: d.snapshot})
	return nil
}

// open opens the sockets that the engine works with.
func (d *daemon) open(c *engine.Config, gated bool) error {
	poller, err := lan.NewPoller()
	if err != nil {
		return fmt.Errorf("open sockets: %w", err)
	}
	d.closers = append(d.closers, poller.Close)
	addresses, err := host.NewAddresses(lifetime)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	virtualLinks, announcer := &host.VirtualLinks{}, &lan.Announcer{}
	detector := lan.NewConflictDetector(func(c lan.NeighborEvent) { d.engine.Heard(c) })
	d.closers = append(d.closers, addresses.Close, virtualLinks.Close, announcer.Close, detector.Close)
	heartbeats, err := lan.NewHeartbeatSocket()
	if err != nil {
		return fmt.Errorf("open sockets: %w", err)
	}
	d.closers = append(d.closers, heartbeats.Close)
	c.Poller, c.Addresses, c.VirtualLinks, c.Announcer, c.ConflictDetector = poller, addresses, virtualLinks, announcer, detector
	if gated {
		c.Heartbeats = heartbeats
	}
	return nil
}

// run starts all parts and waits until they have ended. The engine ends first, so
// that a peer takes over at once; the parts that it needs follow.
func (d *daemon) run(ctx context.Context, releases bool) error {
	others, stopOthers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopOthers()
	group, failed := errgroup.WithContext(others)
	for _, task := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"watch links", func(ctx context.Context) error { return host.Watch(ctx, d.engine.Links) }},
		{"keep the datapath", func(ctx context.Context) error { d.datapath.Run(ctx); return nil }},
		{"inspect the node", func(ctx context.Context) error { d.inspector.Run(ctx); return nil }},
		{"follow the configuration", d.controller.Run},
		{"serve HTTP", d.server.Run},
	} {
		group.Go(func() (err error) {
			if err = task.run(failed); err != nil {
				err = fmt.Errorf("%s: %w", task.name, err)
			}
			return err
		})
	}
	running, stopEngine := context.WithCancel(ctx)
	defer stopEngine()
	defer context.AfterFunc(failed, stopEngine)()
	err := d.engine.Run(running)
	if err == nil && releases {
		klog.FromContext(ctx).Info("Released", "reason", "stopping")
	}
	stopOthers()
	return errors.Join(err, group.Wait())
}

// close closes the sockets, the last one first.
func (d *daemon) close() (err error) {
	for _, closer := range slices.Backward(d.closers) {
		err = errors.Join(err, closer())
	}
	return err
}

// apply hands the newest state to those that carry it out.
func (d *daemon) apply(s desired.State) {
	d.datapath.Set(s)
	d.inspector.Set(s.Datapath)
	d.engine.Apply(s)
}

// snapshot returns what the server shows.
func (d *daemon) snapshot() server.Snapshot {
	status := d.datapath.Status()
	status.Repairs, status.Conflicts = d.inspector.Repairs(), d.inspector.Conflicts()
	return server.Snapshot{Engine: d.engine.Status(), Datapath: status, Problems: d.controller.Problems()}
}
