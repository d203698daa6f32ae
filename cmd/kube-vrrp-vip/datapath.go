package main

import (
	"context"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/nft"
	"kube-vrrp-vip/pkg/server"
)

// datapath hands the newest Forwards to the nftables table and keeps how that
// went, for the server.
type datapath struct {
	table    *nft.Datapath
	forwards chan []desired.Forward

	mu   sync.Mutex
	last server.Datapath
}

func newDatapath(t *nft.Datapath) *datapath {
	return &datapath{table: t, forwards: make(chan []desired.Forward, 1)}
}

// apply replaces the Forwards that wait. It never blocks, and is called by one
// goroutine.
func (d *datapath) apply(f []desired.Forward) {
	select {
	case <-d.forwards:
	default:
	}
	d.forwards <- f
}

func (d *datapath) run(ctx context.Context) {
	logger := klog.FromContext(ctx)
	d.table.Run(ctx, d.forwards, func(err error) {
		if previous := d.note(err); err != nil && err.Error() != previous {
			logger.Error(err, "Forwarding rules not written")
		} else if err == nil && previous != "" {
			logger.Info("Forwarding rules written again")
		}
	})
}

// note keeps the outcome of an attempt and returns the error before it.
func (d *datapath) note(err error) (previous string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	previous = d.last.Err
	if err != nil {
		d.last.Err = err.Error()
		d.last.Errors++
		return previous
	}
	d.last.Err, d.last.LastSync = "", time.Now()
	return previous
}

func (d *datapath) status() server.Datapath {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}
