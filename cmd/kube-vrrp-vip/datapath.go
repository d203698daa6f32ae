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

// datapath hands the newest state to the nftables table and keeps how that
// went, for the server.
type datapath struct {
	table  *nft.Datapath
	states chan desired.Datapath

	mu   sync.Mutex
	last server.Datapath
}

func newDatapath(t *nft.Datapath) *datapath {
	return &datapath{table: t, states: make(chan desired.Datapath, 1)}
}

// apply replaces the state that waits. It never blocks, and is called by one
// goroutine.
func (d *datapath) apply(s desired.Datapath) {
	select {
	case <-d.states:
	default:
	}
	d.states <- s
}

func (d *datapath) run(ctx context.Context) {
	logger := klog.FromContext(ctx)
	d.table.Run(ctx, d.states, func(err error) {
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
