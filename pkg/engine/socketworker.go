package engine

import (
	"context"
	"errors"
	"slices"

	"kube-vrrp-vip/pkg/lan"
)

// conns opens and closes the sockets of an interface, which may block.
type conns interface {
	Open(lan.Interface) (*lan.Conn, error)
	Close(*lan.Conn) error
}

// socketOrder says which sockets the loop wants.
type socketOrder struct {
	// interfaces are the ones to listen on.
	interfaces []lan.Interface
	// broken are open connections that work no more, and unused are those that the loop
	// has stopped using.
	broken, unused []*lan.Conn
}

// socketResult says which sockets the loop can use.
type socketResult struct {
	conns []*lan.Conn
	// failed has the error of each connection that could not be opened.
	failed map[portKey]error
}

// socketWorker opens and closes sockets: both take locks of the kernel that a
// container's start or end holds for long.
type socketWorker struct {
	*worker[socketOrder]
	conns    conns
	reported func(socketResult)
	// open are the connections of the last result. dropped are those of earlier ones:
	// the loop may use them until it says that it does not.
	open, dropped []*lan.Conn
	// complete reports that the last result had no failure.
	complete bool
}

func newSocketWorker(p conns, reported func(socketResult)) *socketWorker {
	w := &socketWorker{conns: p, reported: reported}
	w.worker = newWorker(w.sync, func(waiting, o socketOrder) socketOrder {
		o.broken = append(waiting.broken, o.broken...)
		o.unused = append(waiting.unused, o.unused...)
		return o
	}, nil)
	return w
}

// run works until ctx ends, and then closes every connection: the loop must have ended
// by then.
func (w *socketWorker) run(ctx context.Context) error {
	w.worker.run(ctx)
	var errs []error
	for _, p := range slices.Concat(w.open, w.dropped) {
		errs = append(errs, w.conns.Close(p))
	}
	w.open, w.dropped = nil, nil
	return errors.Join(errs...)
}

// sync closes the connections that nobody uses, opens those that are missing, and
// reports the whole set if it is another one.
func (w *socketWorker) sync(o socketOrder) {
	for _, p := range o.unused {
		// The kernel frees a socket whatever close returns.
		_ = w.conns.Close(p)
	}
	before := slices.Clone(w.open)
	w.dropped = slices.DeleteFunc(w.dropped, func(p *lan.Conn) bool { return slices.Contains(o.unused, p) })
	w.open = slices.DeleteFunc(w.open, func(p *lan.Conn) bool {
		drop := !slices.Contains(o.interfaces, p.Interface) || slices.Contains(o.broken, p)
		if drop {
			w.dropped = append(w.dropped, p)
		}
		return drop
	})
	r := socketResult{failed: map[portKey]error{}}
	for _, i := range o.interfaces {
		if slices.ContainsFunc(w.open, func(p *lan.Conn) bool { return p.Interface == i }) {
			continue
		}
		if slices.ContainsFunc(w.dropped, func(p *lan.Conn) bool { return keyOf(p.Interface) == keyOf(i) }) {
			continue // It is opened when the loop has stopped using that one.
		}
		p, err := w.conns.Open(i)
		if err != nil {
			r.failed[keyOf(i)] = err
			continue
		}
		w.open = append(w.open, p)
	}
	if len(r.failed) == 0 && w.complete && slices.Equal(w.open, before) {
		return
	}
	w.complete = len(r.failed) == 0
	r.conns = slices.Clone(w.open)
	w.reported(r)
}
