package engine

import (
	"slices"
	"time"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// flapFaults within flapWindow make a link a flapping one.
	flapFaults = 3
	flapWindow = 30 * time.Second
)

// flap follows the faults of one link. After the first ones its virtual routers
// start as soon as it works again. A flapping link must first work for some
// time without a break, which doubles each time that was not long enough. It
// flaps no more when it has worked for flapWindow after that, or has had a
// fault that lasted for as long.
type flap struct {
	// faults are when the last ones began, not more than flapFaults.
	faults []vrrp.Time
	down   bool
	// hold is how long the link must work, 0 if it does not flap.
	hold time.Duration
	// until is when it has worked for that long.
	until vrrp.Time
}

// fail follows that a fault began.
func (f *flap) fail(now vrrp.Time) {
	if f.over(now) {
		*f = flap{}
	}
	f.down = true
	f.faults = append(slices.DeleteFunc(f.faults, func(t vrrp.Time) bool { return now.Sub(t) >= flapWindow }), now)
	switch {
	case f.hold == 0 && len(f.faults) >= flapFaults:
		f.hold = retryMin
	case f.hold > 0 && now >= f.until:
		f.hold = min(2*f.hold, retryMax)
	}
	f.faults = f.faults[max(0, len(f.faults)-flapFaults):]
}

// heal follows that the fault ended.
func (f *flap) heal(now vrrp.Time) {
	if f.over(now) {
		*f = flap{}
	}
	f.down, f.until = false, now.Add(f.hold)
}

// waits tells whether the link works, but has not for long enough.
func (f *flap) waits(now vrrp.Time) bool { return !f.down && now < f.until }

// over tells whether the past does not count any more.
func (f *flap) over(now vrrp.Time) bool {
	last := f.until
	if f.down {
		last = f.faults[len(f.faults)-1]
	}
	return len(f.faults) > 0 && now.Sub(last) >= flapWindow
}

// flaps are the links of virtual routers that had a fault lately, by name: one
// that is plugged in again has another index.
type flaps map[string]*flap

// note follows how the links have changed. used are the names of those that
// matter.
func (f flaps) note(used map[string]bool, before, after []host.Link, now vrrp.Time) {
	for name := range used {
		was, is := linkNamed(before, name), linkNamed(after, name)
		entry := f[name]
		worked, works := was != nil && linkFault(*was) == "", is != nil && linkFault(*is) == ""
		if worked && (!works || is.Index != was.Index) {
			if entry == nil {
				entry = &flap{}
				f[name] = entry
			}
			entry.fail(now)
		}
		if entry != nil && entry.down && works {
			entry.heal(now)
		}
	}
	for name, entry := range f {
		if entry.over(now) {
			delete(f, name)
		}
	}
}

// waiting tells whether a link works, but has not for long enough.
func (f flaps) waiting(link *host.Link, now vrrp.Time) bool {
	entry := f[link.Name]
	return entry != nil && entry.waits(now)
}

// deadline is when a link has worked for long enough.
func (f flaps) deadline(now vrrp.Time) vrrp.Time {
	next := never
	for _, entry := range f {
		if entry.waits(now) {
			next = min(next, entry.until)
		}
	}
	return next
}

func linkNamed(links []host.Link, name string) *host.Link {
	if i := slices.IndexFunc(links, func(l host.Link) bool { return l.Name == name }); i >= 0 {
		return &links[i]
	}
	return nil
}

// hold reports whether a virtual router must wait for a link that flaps: its own,
// or the one of each VIP.
func (f flaps) hold(p *placement, now vrrp.Time) bool {
	if len(f) == 0 {
		return false
	}
	return f.waiting(&p.link, now) || !slices.ContainsFunc(p.vips, func(v placedVIP) bool {
		return linkFault(v.link) == "" && !f.waiting(&v.link, now)
	})
}
