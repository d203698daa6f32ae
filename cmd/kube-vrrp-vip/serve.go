package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/controller"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/engine"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/nft"
	"kube-vrrp-vip/pkg/proxy"
	"kube-vrrp-vip/pkg/server"
)

// lifetime is how long the kernel keeps a virtual address that nobody renews.
const lifetime = 2 * time.Second

// serve wires the daemon together and runs it until ctx ends or a part of it
// fails. The engine goes first at the end, so that a peer takes over at once;
// what it was made of follows.
func serve(ctx context.Context, o config.Options) (err error) {
	logger := klog.FromContext(ctx)
	logger.Info("Starting", "version", version, "node", o.NodeName, "configMap", klog.KRef(o.ConfigMap.Namespace, o.ConfigMap.Name))
	for _, w := range o.Warnings() {
		logger.Info("Option has no effect", "reason", w)
	}
	if err := nft.Supported(); err != nil {
		return fmt.Errorf("this node cannot run kube-vrrp-vip: %w", err)
	}
	client, err := controller.NewClient(o)
	if err != nil {
		return err
	}
	network, err := lan.NewNetwork()
	if err != nil {
		return fmt.Errorf("open sockets: %w", err)
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	addresses, err := host.NewAddresses(lifetime)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer func() { err = errors.Join(err, addresses.Close()) }()
	virtualLinks := &host.VirtualLinks{}
	defer func() { err = errors.Join(err, virtualLinks.Close()) }()
	announcer := &lan.Announcer{}
	defer func() { err = errors.Join(err, announcer.Close()) }()

	var eng *engine.Engine
	watcher := lan.NewWatcher(func(c lan.Claim) { eng.Heard(c) })
	defer func() { err = errors.Join(err, watcher.Close()) }()

	var kube *controller.Controller
	pulser, err := lan.NewPulser()
	if err != nil {
		return fmt.Errorf("open sockets: %w", err)
	}
	defer func() { err = errors.Join(err, pulser.Close()) }()
	gates := nft.SupportedGate()
	if gates != nil {
		logger.Info("No gate for ARP and neighbor discovery", "reason", gates.Error())
	}
	table, neighbors := nft.NewDatapath(), nft.NewNeighbors(gates == nil)
	datapath := newDatapath(proxy.New(), table)
	engineConfig := engine.Config{
		Network:      network,
		Ports:        lan.Ports{},
		Addresses:    addresses,
		Announcer:    announcer,
		Neighbors:    neighbors,
		VirtualLinks: virtualLinks,
		Senders:      neighbors,
		Watcher:      watcher,
		Elevate:      lan.Elevate,
		OnTransition: func(t desired.Transition) { kube.Transition(t) },
		OnAlarm:      func(a desired.AlarmChange) { kube.Alarm(a) },
		Release:      o.ReleaseVIPs,
	}
	if gates == nil {
		engineConfig.Pulser = pulser
	}
	eng = engine.New(engineConfig)
	around := &surroundings{
		present:   nft.KubeProxyPresent,
		look:      nft.Conflicts,
		kubeProxy: func(present bool) { kube.KubeProxy(present) },
		repairs: map[string]func() uint64{
			"inet kube_vrrp_vip":   table.Repairs,
			"arp kube_vrrp_vip":    neighbors.Repairs,
			"netdev kube_vrrp_vip": neighbors.GateRepairs,
		},
	}
	kube = controller.New(client, o, func(s desired.State) {
		datapath.apply(s)
		around.apply(s.Datapath)
		eng.Apply(s)
	})
	web := server.New(server.Config{Port: o.HTTPPort, Version: version, Node: o.NodeName, Snapshot: func() server.Snapshot {
		return server.Snapshot{Engine: eng.Status(), Datapath: around.addTo(datapath.status()), Problems: kube.Problems()}
	}})

	// The parts outlive ctx: they end when the engine has.
	others, stopOthers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopOthers()
	group, failed := errgroup.WithContext(others)
	group.Go(func() error { return host.Watch(failed, eng.Links) })
	group.Go(func() error { datapath.run(failed); return nil })
	group.Go(func() error { around.run(failed); return nil })
	group.Go(func() error { return kube.Run(failed) })
	group.Go(func() error { return web.Run(failed) })

	running, stopEngine := context.WithCancel(ctx)
	defer stopEngine()
	defer context.AfterFunc(failed, stopEngine)()
	err = eng.Run(running)
	if err == nil && o.ReleaseVIPs {
		logger.Info("Released", "reason", "stopping")
	}
	stopOthers()
	err = errors.Join(err, group.Wait())

	if ctx.Err() != nil && kube.Uninstalled(context.WithoutCancel(ctx)) {
		logger.Info("Removing nftables tables", "reason", "the DaemonSet is being deleted")
		err = errors.Join(err, nft.Cleanup())
	}
	return err
}

// cleanup removes what a daemon leaves on a node on purpose: its tables, which
// outlive it so that a restart interrupts nobody, addresses whose lease has not
// ended yet, and the links with virtual MAC addresses of one that was killed.
func cleanup() (err error) {
	addresses, err := host.NewAddresses(lifetime)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer func() { err = errors.Join(err, addresses.Close()) }()
	virtualLinks := &host.VirtualLinks{}
	defer func() { err = errors.Join(err, virtualLinks.Close()) }()
	_, err = addresses.RemoveLeftovers()
	_, linkErr := virtualLinks.Set(nil)
	return errors.Join(err, linkErr, nft.Cleanup())
}
