package engine

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"sync"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
)

// addresses binds the virtual addresses.
type addresses interface {
	Set(want []host.VirtualAddress) error
	Removed() []host.VirtualAddress
	RemoveLeftovers() ([]host.VirtualAddress, error)
}

// neighbors keeps the interfaces that a VIP does not belong to from answering
// ARP and Neighbor Discovery for it, and its own from answering without a
// heartbeat of the Master.
type neighbors interface {
	Set(answers map[netip.Addr]desired.Answer) error
}

// leaseResult is what became of the leases of a hostState.
type leaseResult struct {
	// generation is that of the newest hostState whose leases are renewed.
	generation uint64
	// failed has the error of each address that could not be bound, err the
	// failures that are of no single address.
	failed map[host.VirtualAddress]error
	err    error
	// removed are the addresses that another program had removed.
	removed map[host.VirtualAddress]bool
}

// leaseWorker renews the leases. It is the only writer of addresses.
type leaseWorker struct {
	*worker[hostState]
	addresses     addresses
	announcements *announceWorker
	reported      func(leaseResult)
}

func newLeaseWorker(a addresses, announcements *announceWorker, reported func(leaseResult)) *leaseWorker {
	w := &leaseWorker{addresses: a, announcements: announcements, reported: reported}
	w.worker = newWorker(w.sync, func(waiting, s hostState) hostState {
		s.announce = mergeAnnouncements(waiting.announce, s.announce)
		return s
	}, nil)
	return w
}

// sync binds the addresses of s, which renews their leases, removes all others,
// and passes on the announcements. An address that is to be removed is announced
// no more from before it is gone.
func (w *leaseWorker) sync(s hostState) {
	r := leaseResult{generation: s.generation}
	was, bound := w.announcements.bound.Load(), make(map[host.VirtualAddress]bool, len(s.addresses))
	for _, v := range s.addresses {
		bound[v] = (*was)[v]
	}
	w.announcements.bound.Store(&bound)
	if err := w.addresses.Set(s.addresses); err != nil {
		r.failed, r.err = addressErrors(err)
	}
	for _, v := range w.addresses.Removed() {
		if r.removed == nil {
			r.removed = map[host.VirtualAddress]bool{}
		}
		r.removed[v] = true
	}
	now := make(map[host.VirtualAddress]bool, len(s.addresses))
	for _, v := range s.addresses {
		now[v] = r.failed[v] == nil
	}
	w.announcements.bound.Store(&now)
	if len(s.announce) > 0 {
		w.announcements.post(s.announce)
	}
	w.reported(r)
}

// addressErrors divides an error of addresses.Set by the address it is of.
func addressErrors(err error) (failed map[host.VirtualAddress]error, others error) {
	failed = map[host.VirtualAddress]error{}
	var errs []error
	for _, e := range leaves(err) {
		if ae, ok := errors.AsType[*host.AddressError](e); ok {
			failed[ae.VirtualAddress] = e
		} else {
			errs = append(errs, e)
		}
	}
	return failed, errors.Join(errs...)
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

// neighborWorker writes the neighbor policies.
type neighborWorker struct {
	*worker[map[netip.Addr]desired.Answer]
	neighbors neighbors
	outcomes  outcomes
	// written are the policies of the last Set, nil if it failed.
	written map[netip.Addr]desired.Answer
}

func newNeighborWorker(n neighbors, reported func(outcome)) *neighborWorker {
	w := &neighborWorker{neighbors: n, outcomes: outcomes{source: sourceNeighbors, reported: reported}}
	w.worker = newWorker(w.sync, nil, func() { w.write(w.written) })
	return w
}

// sync writes policies if they differ from those that are written.
func (w *neighborWorker) sync(policies map[netip.Addr]desired.Answer) {
	if w.written == nil || !maps.Equal(w.written, policies) {
		w.write(policies)
	}
}

func (w *neighborWorker) write(policies map[netip.Addr]desired.Answer) {
	if policies == nil {
		return
	}
	w.written = policies
	err := w.neighbors.Set(policies)
	if err != nil {
		w.written = nil
	}
	w.outcomes.note(err)
}

// hostWorkers bring about a hostState, each part on a goroutine of its own:
// neither a long nftables transaction of another program nor a send that blocks
// may keep the leases from being renewed.
type hostWorkers struct {
	leases        *leaseWorker
	neighbors     *neighborWorker
	announcements *announceWorker
}

func newHostWorkers(a addresses, n announcer, nb neighbors, leases func(leaseResult), reported func(outcome)) *hostWorkers {
	announcements := newAnnounceWorker(n, reported)
	return &hostWorkers{
		leases:        newLeaseWorker(a, announcements, leases),
		neighbors:     newNeighborWorker(nb, reported),
		announcements: announcements,
	}
}

// post hands over a state. Of one that it replaces only the announcements are
// carried out. It never blocks.
func (w *hostWorkers) post(s hostState) {
	w.neighbors.post(s.policies)
	w.leases.post(s)
}

// run works until ctx ends; the announcements end after the last leases.
func (w *hostWorkers) run(ctx context.Context) {
	var wg sync.WaitGroup
	announcing, stopAnnouncing := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { w.announcements.run(announcing) })
	wg.Go(func() { w.neighbors.run(ctx) })
	w.leases.run(ctx)
	stopAnnouncing()
	wg.Wait()
}
