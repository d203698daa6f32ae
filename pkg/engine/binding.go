package engine

import (
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// leaseRefresh is the interval at which the leases are renewed: a quarter of the
// lifetime.
const leaseRefresh = 500 * time.Millisecond

// binding is the state of a Master's addresses on the host.
type binding struct {
	// held reports whether one was bound since the router became Master. unboundSince
	// is the time since which none has been; zero if one is.
	held         bool
	unboundSince vrrp.Time
	// failed has the error of each address that could not be bound.
	failed map[netip.Addr]error
}

// lost reports whether the router must give up since none of its addresses can be
// bound: one that held some gives up only when their leases are about to end.
func (b *binding) lost(claimed int, now vrrp.Time) bool {
	switch n := len(b.failed); {
	case n < claimed || n == 0:
		b.held, b.unboundSince = true, 0
		return false
	case b.unboundSince == 0 && b.held:
		b.unboundSince = now
		return false
	default:
		return !b.held || now.Sub(b.unboundSince) >= 2*leaseRefresh
	}
}

const (
	// removalsAllowed is how often other programs may remove addresses of a Master
	// within removalWindow before it gives up: such a program goes on, and another
	// node may not have it.
	removalsAllowed = 5
	removalWindow   = 10 * time.Second
	// removalLogPause keeps a program that removes an address again and again
	// from filling the log.
	removalLogPause = 10 * time.Second
)

// removals are the removals of a virtual router's addresses by other programs.
type removals struct {
	// total counts addresses.
	total uint64
	// times are those of the removals within removalWindow.
	times []vrrp.Time
	// mayLog is the time at which the next removal may be logged.
	mayLog vrrp.Time
}

// note records that n addresses were removed. It reports whether to log that, and
// whether it happened once too often.
func (r *removals) note(n int, now vrrp.Time) (log, tooOften bool) {
	r.total += uint64(n)
	r.times = slices.DeleteFunc(r.times, func(t vrrp.Time) bool { return now.Sub(t) >= removalWindow })
	r.times = append(r.times, now)
	tooOften = len(r.times) >= removalsAllowed
	if tooOften {
		r.times = nil
	}
	if log = now >= r.mayLog; log {
		r.mayLog = now.Add(removalLogPause)
	}
	return log, tooOften
}
