package engine

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"kube-vrrp-vip/pkg/host"
)

// order is everything the loop wants of the kernel and the LAN at one moment.
type order struct {
	// seq numbers the orders; a report names the last one carried out.
	seq uint64
	// want are the addresses to hold, all others are let go. Carrying out an
	// order renews their leases.
	want []host.VirtualAddress
	// answer names for each configured VIP, held or not, the one interface
	// that answers ARP for it.
	answer map[netip.Addr]string
	// announce are the held addresses to announce.
	announce []announcement
}

// announcement is a set of addresses to announce on one interface.
type announcement struct {
	link         int
	hardwareAddr net.HardwareAddr
	vips         []netip.Addr
}

// report is what became of the orders up to seq.
type report struct {
	seq uint64
	// failed are the wanted addresses that could not be bound.
	failed map[host.VirtualAddress]error
	// errs are the failures that concern no single address.
	errs []error
}

// tellAgain is after how many orders neighbors is told what it knows already,
// so that it repairs what others have removed: orders come with every lease
// refresh, so that is within 5 s.
const tellAgain = 10

// actuator carries out the loop's orders, one at a time, the newest first.
// It is the only writer of addresses and the only sender of announcements.
type actuator struct {
	addresses addresses
	announcer announcer
	neighbors neighbors
	// answering is what neighbors was last told; told is how many orders ago,
	// zero if it failed.
	answering map[netip.Addr]string
	told      int

	mu      sync.Mutex
	pending *order
	signal  chan struct{}
}

func newActuator(a addresses, n announcer, nb neighbors) *actuator {
	return &actuator{addresses: a, announcer: n, neighbors: nb, signal: make(chan struct{}, 1)}
}

// post replaces the order that waits; announcements not yet sent are kept.
// It never blocks.
func (a *actuator) post(o order) {
	a.mu.Lock()
	if a.pending != nil {
		o.announce = append(a.pending.announce, o.announce...)
	}
	a.pending = &o
	a.mu.Unlock()
	select {
	case a.signal <- struct{}{}:
	default:
	}
}

func (a *actuator) take() *order {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.pending
	a.pending = nil
	return o
}

// run carries out orders until ctx ends; an order posted before that is still
// carried out.
func (a *actuator) run(ctx context.Context, reported func(report)) {
	for {
		select {
		case <-ctx.Done():
			if o := a.take(); o != nil {
				reported(a.carryOut(*o))
			}
			return
		case <-a.signal:
			if o := a.take(); o != nil {
				reported(a.carryOut(*o))
			}
		}
	}
}

// carryOut does one order. Addresses come first: who waits for one to be let
// go of waits for nothing else. Announcing comes last, so that a host that
// believes the announcement is answered.
func (a *actuator) carryOut(o order) report {
	r := report{seq: o.seq}
	if err := a.addresses.Set(o.want); err != nil {
		r.failed, r.errs = addressErrors(err, r.errs)
	}
	if a.told == 0 || a.told >= tellAgain || !maps.Equal(a.answering, o.answer) {
		a.answering, a.told = o.answer, 0
		if err := a.neighbors.Set(o.answer); err != nil {
			r.errs = append(r.errs, err)
		} else {
			a.told = 1
		}
	} else {
		a.told++
	}
	for _, n := range o.announce {
		vips := slices.DeleteFunc(slices.Clone(n.vips), func(vip netip.Addr) bool {
			v := host.VirtualAddress{Link: n.link, Address: vip}
			_, failed := r.failed[v]
			return failed || !slices.Contains(o.want, v)
		})
		if len(vips) == 0 {
			continue
		}
		if err := a.announcer.Announce(n.link, n.hardwareAddr, vips); err != nil {
			r.errs = append(r.errs, err)
		}
	}
	return r
}

// addressErrors sorts an error of addresses.Set by the address it concerns;
// what concerns none is appended to others.
func addressErrors(err error, others []error) (map[host.VirtualAddress]error, []error) {
	failed := map[host.VirtualAddress]error{}
	for _, e := range leaves(err) {
		if ae, ok := errors.AsType[*host.AddressError](e); ok {
			failed[ae.VirtualAddress] = e
		} else {
			others = append(others, e)
		}
	}
	return failed, others
}

// leaves returns the errors that were joined into err.
func leaves(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, leaves(e)...)
	}
	return all
}
