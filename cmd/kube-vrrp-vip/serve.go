package main

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/controller"
	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/neighbor"
)

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
	err = d.run(ctx)
	if ctx.Err() != nil && d.controller.Uninstalled(context.WithoutCancel(ctx)) {
		logger.Info("Removing nftables tables", "reason", "the DaemonSet is being deleted")
		err = errors.Join(err, removeTables())
	}
	return err
}

// run starts all parts and waits until they have ended. The engine ends first, so
// that a peer takes over at once; the parts that it needs follow.
func (d *daemon) run(ctx context.Context) error {
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
		group.Go(func() error {
			if err := task.run(failed); err != nil {
				return fmt.Errorf("%s: %w", task.name, err)
			}
			return nil
		})
	}
	running, stopEngine := context.WithCancel(ctx)
	defer stopEngine()
	defer context.AfterFunc(failed, stopEngine)()
	err := d.engine.Run(running)
	if err == nil && d.releases {
		klog.FromContext(ctx).Info("Released", "reason", "stopping")
	}
	stopOthers()
	return errors.Join(err, group.Wait())
}
