package engine

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

// order is everything the loop wants of the kernel and the LAN at one moment.
type order struct {
	// seq numbers the orders; a report names the last one carried out.
	seq uint64
	// want are the addresses to hold, all others are let go. Carrying out an
	// order renews their leases.
	want []host.VirtualAddress
	// answer tells for each configured VIP, held or not, how it is answered
	// for.
	answer map[netip.Addr]desired.Answer
	// announce are the held addresses to announce, by link.
	announce map[int]announcement
}

// announcement is a set of addresses to announce on one interface.
type announcement struct {
	hardwareAddr net.HardwareAddr
	// first are those that somebody else may have had until now, again the
	// others.
	first, again []netip.Addr
}

// report is what became of an order.
type report struct {
	// source names what of the actuator reports.
	source string
	// seq is the order whose leases are renewed; zero if the report is not
	// about leases.
	seq uint64
	// failed are the wanted addresses that could not be bound.
	failed map[host.VirtualAddress]error
	// errs are the failures that concern no single address.
	errs []error
	// removed are the addresses that somebody else had removed.
	removed map[host.VirtualAddress]bool
}

// actuator carries out the loop's orders. It is the only writer of addresses
// and the only sender of announcements. Leases have a goroutine of their own:
// neither a long nftables transaction of somebody else nor a send that blocks
// may keep them from being renewed.
type actuator struct {
	addresses addresses
	announcer announcer
	neighbors neighbors
	reported  func(report)

	orders        *mailbox[order]
	announcements *mailbox[map[int]announcement]
	answers       *mailbox[map[netip.Addr]desired.Answer]

	// pacer has what waits to be announced. Only announce uses it.
	pacer *pacer
	// now is the time for pacer.
	now func() vrrp.Time

	// bound is what is on the links now, for announce.
	bound atomic.Pointer[map[host.VirtualAddress]bool]
	// answering is what neighbors was last told, nil if that failed. Only
	// tell uses it.
	answering map[netip.Addr]desired.Answer
	// announceFailed, by link, and tellFailed keep the end of a failure from
	// going unreported. Each is used by one goroutine.
	announceFailed map[int]bool
	tellFailed     bool
}

func newActuator(a addresses, n announcer, nb neighbors, reported func(report)) *actuator {
	began := time.Now()
	act := &actuator{
		addresses: a, announcer: n, neighbors: nb, reported: reported,
		orders:        newMailbox[order](),
		announcements: newMailbox[map[int]announcement](),
		answers:       newMailbox[map[netip.Addr]desired.Answer](),

		pacer: newPacer(), now: func() vrrp.Time { return vrrp.Time(time.Since(began)) },
		announceFailed: map[int]bool{},
	}
	act.bound.Store(&map[host.VirtualAddress]bool{})
	return act
}

// post hands over an order. What it replaces is not carried out but for its
// announcements. It never blocks.
func (a *actuator) post(o order) {
	a.answers.put(o.answer, nil)
	a.orders.put(o, func(old, o order) order {
		o.announce = mergeAnnouncements(old.announce, o.announce)
		return o
	})
}

// tellAgain is how often neighbors is told what it knows already, so that it
// repairs what others have removed.
const tellAgain = 5 * time.Second

// run carries out orders until ctx ends; the leases of the last one included.
func (a *actuator) run(ctx context.Context) {
	var wg sync.WaitGroup
	announcing, stopAnnouncing := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { a.runAnnouncements(announcing) })
	wg.Go(func() {
		tick := time.NewTicker(tellAgain)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				a.tell(a.answering, true)
			case <-a.answers.signal:
				if answer, ok := a.answers.take(); ok {
					a.tell(answer, false)
				}
			}
		}
	})
	a.orders.serve(ctx, a.bind)
	stopAnnouncing()
	wg.Wait()
}

// bind renews the leases and passes on what is to be announced. What is let go
// of is not announced from before it is gone.
func (a *actuator) bind(o order) {
	r := report{source: "leases", seq: o.seq}
	was, bound := *a.bound.Load(), make(map[host.VirtualAddress]bool, len(o.want))
	for _, v := range o.want {
		bound[v] = was[v]
	}
	a.bound.Store(&bound)
	if err := a.addresses.Set(o.want); err != nil {
		r.failed, r.errs = addressErrors(err)
	}
	for _, v := range a.addresses.Removed() {
		if r.removed == nil {
			r.removed = map[host.VirtualAddress]bool{}
		}
		r.removed[v] = true
	}
	now := make(map[host.VirtualAddress]bool, len(o.want))
	for _, v := range o.want {
		now[v] = r.failed[v] == nil
	}
	a.bound.Store(&now)
	if len(o.announce) > 0 {
		a.announcements.put(o.announce, mergeAnnouncements)
	}
	a.reported(r)
}

// tell tells neighbors who answers, if that is new or to be repeated.
func (a *actuator) tell(answer map[netip.Addr]desired.Answer, again bool) {
	if answer == nil || !again && a.answering != nil && maps.Equal(a.answering, answer) {
		return
	}
	a.answering = answer
	r := report{source: "neighbors"}
	if err := a.neighbors.Set(answer); err != nil {
		a.answering = nil
		r.errs = []error{err}
	}
	if failed := len(r.errs) > 0; failed || a.tellFailed {
		a.tellFailed = failed
		a.reported(r)
	}
}

// mergeAnnouncements keeps of each link the newest hardware address and every
// VIP once.
func mergeAnnouncements(old, v map[int]announcement) map[int]announcement {
	merged := maps.Clone(old)
	if merged == nil {
		merged = map[int]announcement{}
	}
	for link, n := range v {
		merged[link] = announcement{
			hardwareAddr: n.hardwareAddr,
			first:        mergeAddresses(merged[link].first, n.first),
			again:        mergeAddresses(merged[link].again, n.again),
		}
	}
	return merged
}

func mergeAddresses(a, b []netip.Addr) []netip.Addr {
	all := slices.Concat(a, b)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// addressErrors sorts an error of addresses.Set by the address it concerns.
func addressErrors(err error) (failed map[host.VirtualAddress]error, others []error) {
	failed = map[host.VirtualAddress]error{}
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
