package engine

import (
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// removalsAllowed is how often others may remove addresses of a Master
	// within removalWindow before it gives up: whoever does that will go on,
	// and another node may be spared it.
	removalsAllowed = 5
	removalWindow   = 10 * time.Second
	// removalLogPause keeps a program that removes an address again and again
	// from filling the log.
	removalLogPause = 10 * time.Second
)

// removals follows how often others remove the addresses of a virtual router.
type removals struct {
	// total counts addresses.
	total uint64
	// times are when some were removed, in the last window.
	times []vrrp.Time
	// mayLog is when it may be logged again.
	mayLog vrrp.Time
}

// note follows that n addresses were removed, and tells whether to log that,
// and whether it was once too often.
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

// noteRemovals follows which of a Master's addresses others have removed. They
// have been bound again, and are announced again: a client that asked for one
// meanwhile got no answer.
func (l *loop) noteRemovals(in *instance, removed map[host.VirtualAddress]bool, now vrrp.Time) {
	if len(removed) == 0 {
		return
	}
	var vips []netip.Addr
	for _, v := range in.vips {
		if removed[v.bound()] {
			vips = append(vips, v.address)
		}
	}
	if len(vips) == 0 {
		return
	}
	log, tooOften := in.removals.note(len(vips), now)
	if log {
		key, count := in.key, in.removals.total
		l.notifier.tell(func() {
			l.logger.Info("Address was removed by another program, bound it again",
				"interface", key.Interface, "family", key.Family, "vrid", key.VRID, "vip", vips, "count", count)
		})
	}
	if tooOften {
		l.fail(in, faultAddressRemoved, now)
		return
	}
	in.announce.start(now)
}
