package engine

import (
	"context"
	"errors"
	"slices"

	"kube-vrrp-vip/pkg/lan"
)

// listenOrder is what the loop wants to listen on.
type listenOrder struct {
	interfaces []lan.Interface
	// broken are ports whose sockets no longer work.
	broken []*lan.Port
	// unused are ports that the loop has let go of.
	unused []*lan.Port
}

// listenReport is what the loop can listen on now.
type listenReport struct {
	ports []*lan.Port
	// failed says why an interface cannot be listened on.
	failed map[portKey]error
}

// listener opens and closes ports for the loop, which must not wait for the
// kernel: both take locks that a container's start or end holds for long.
type listener struct {
	ports    ports
	reported func(listenReport)
	orders   *mailbox[listenOrder]
	// open are the ports that the loop was last told of. dropped are those
	// that it was told of before: they are its own until it lets go of them.
	open, dropped []*lan.Port
	// said tells that the last report was of no failure.
	said bool
}

func newListener(p ports, reported func(listenReport)) *listener {
	return &listener{ports: p, reported: reported, orders: newMailbox[listenOrder]()}
}

// post hands over an order. It never blocks.
func (l *listener) post(o listenOrder) {
	l.orders.put(o, func(old, o listenOrder) listenOrder {
		o.broken = append(old.broken, o.broken...)
		o.unused = append(old.unused, o.unused...)
		return o
	})
}

// run carries out orders until ctx ends, and then closes every port: the loop
// must have ended by then.
func (l *listener) run(ctx context.Context) error {
	l.orders.serve(ctx, l.carryOut)
	var errs []error
	for _, p := range slices.Concat(l.open, l.dropped) {
		errs = append(errs, l.ports.Close(p))
	}
	l.open, l.dropped = nil, nil
	return errors.Join(errs...)
}

// carryOut does one order: it closes what nobody uses, opens what is missing,
// and reports the whole set.
func (l *listener) carryOut(o listenOrder) {
	for _, p := range o.unused {
		// The kernel frees a socket whatever close returns.
		_ = l.ports.Close(p)
	}
	before := slices.Clone(l.open)
	l.dropped = slices.DeleteFunc(l.dropped, func(p *lan.Port) bool { return slices.Contains(o.unused, p) })
	l.open = slices.DeleteFunc(l.open, func(p *lan.Port) bool {
		drop := !slices.Contains(o.interfaces, p.Interface) || slices.Contains(o.broken, p)
		if drop {
			l.dropped = append(l.dropped, p)
		}
		return drop
	})
	r := listenReport{failed: map[portKey]error{}}
	for _, i := range o.interfaces {
		if slices.ContainsFunc(l.open, func(p *lan.Port) bool { return p.Interface == i }) {
			continue
		}
		if slices.ContainsFunc(l.dropped, func(p *lan.Port) bool { return portOf(p.Interface) == portOf(i) }) {
			continue // It is opened when the loop has let go of that one.
		}
		p, err := l.ports.Open(i)
		if err != nil {
			r.failed[portOf(i)] = err
			continue
		}
		l.open = append(l.open, p)
	}
	if len(r.failed) == 0 && l.said && slices.Equal(l.open, before) {
		return
	}
	l.said = len(r.failed) == 0
	r.ports = slices.Clone(l.open)
	l.reported(r)
}
