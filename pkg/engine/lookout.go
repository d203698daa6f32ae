package engine

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// lookOrder is what the loop wants to know of who has its VIPs.
type lookOrder struct {
	// watch are the VIPs to hear of, by link; nil if they are the same as before.
	watch  map[int][]netip.Addr
	probes []probe
}

// probe is a question for VIPs on a link.
type probe struct {
	link int
	mac  net.HardwareAddr
	// source is an IPv6 address of the link, to be answered alone; else the probe
	// claims nothing and has none.
	source netip.Addr
	vips   []netip.Addr
}

// lookout watches and asks for the loop, which must not wait for a socket.
type lookout struct {
	watcher  watcher
	reported func(report)
	orders   *mailbox[lookOrder]
	watching map[int][]netip.Addr
	// failed keeps the end of a failure from going unreported.
	failed bool
}

func newLookout(w watcher, reported func(report)) *lookout {
	return &lookout{watcher: w, reported: reported, orders: newMailbox[lookOrder]()}
}

// post hands over an order. It never blocks.
func (l *lookout) post(o lookOrder) {
	l.orders.put(o, func(old, o lookOrder) lookOrder {
		if o.watch == nil {
			o.watch = old.watch
		}
		o.probes = append(old.probes, o.probes...)
		return o
	})
}

// run carries out orders until ctx ends, and has what does not hear any more
// mended.
func (l *lookout) run(ctx context.Context) {
	tick := time.NewTicker(tellAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.carryOut(lookOrder{watch: l.watching})
		case <-l.orders.signal:
			if o, ok := l.orders.take(); ok {
				l.carryOut(o)
			}
		}
	}
}

func (l *lookout) carryOut(o lookOrder) {
	var errs []error
	if o.watch != nil {
		l.watching = o.watch
		errs = append(errs, l.watcher.Watch(o.watch))
	}
	for _, p := range o.probes {
		errs = append(errs, l.watcher.Probe(p.link, p.mac, p.source, p.vips))
	}
	r := report{source: "claims"}
	if err := errors.Join(errs...); err != nil {
		r.errs = []error{err}
	}
	if failed := len(r.errs) > 0; failed || l.failed {
		l.failed = failed
		l.reported(r)
	}
}
