package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

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

// daemon has the parts of the program, which know each other by values alone.
type daemon struct {
	engine     *engine.Engine
	controller *controller.Controller
	datapath   *datapath.Worker
	inspector  *inspect.Inspector
	server     *server.Server
	releases   bool
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
		Ports:        lan.Ports{},
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
	d.releases = o.ReleaseVIPs
	return nil
}

// open opens the sockets that the engine works with.
func (d *daemon) open(c *engine.Config, gated bool) error {
	network, err := lan.NewNetwork()
	if err != nil {
		return fmt.Errorf("open sockets: %w", err)
	}
	d.closers = append(d.closers, network.Close)
	addresses, err := host.NewAddresses(lifetime)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	virtualLinks, announcer := &host.VirtualLinks{}, &lan.Announcer{}
	watcher := lan.NewWatcher(func(c lan.Claim) { d.engine.Heard(c) })
	d.closers = append(d.closers, addresses.Close, virtualLinks.Close, announcer.Close, watcher.Close)
	pulser, err := lan.NewPulser()
	if err != nil {
		return fmt.Errorf("open sockets: %w", err)
	}
	d.closers = append(d.closers, pulser.Close)
	c.Network, c.Addresses, c.VirtualLinks, c.Announcer, c.Watcher = network, addresses, virtualLinks, announcer, watcher
	if gated {
		c.Pulser = pulser
	}
	return nil
}

// close closes the sockets, the last one first.
func (d *daemon) close() error {
	var errs []error
	for _, closer := range slices.Backward(d.closers) {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
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
