package engine

import (
	"slices"
	"time"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// A link flaps if it has flapFaults faults within flapWindow.
	flapFaults = 3
	flapWindow = 30 * time.Second
)

// flap is the history of the faults of one link. After the first faults its virtual
// routers start as soon as it works again. A flapping link must first work for some
// time without a break, which doubles after each further fault. It flaps no more
// when it has worked for flapWindow after that, or had a fault that lasted as long.
type flap struct {
	// faults are the times at which the last faults began, at most flapFaults.
	faults []vrrp.Time
	down   bool
	// hold is the time for which the link must work, 0 if it does not flap.
	hold time.Duration
	// until is the time at which it has worked for that long.
	until vrrp.Time
}

// fail records that a fault began.
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

// heal records that the fault ended.
func (f *flap) heal(now vrrp.Time) {
	if f.over(now) {
		*f = flap{}
	}
	f.down, f.until = false, now.Add(f.hold)
}

// waits reports whether the link works, but not for long enough yet.
func (f *flap) waits(now vrrp.Time) bool { return !f.down && now < f.until }

// over reports whether the history does not count any more.
func (f *flap) over(now vrrp.Time) bool {
	last := f.until
	if f.down {
		last = f.faults[len(f.faults)-1]
	}
	return len(f.faults) > 0 && now.Sub(last) >= flapWindow
}

// flaps are the links of virtual routers that had a fault lately, by name: a link
// that is plugged in again has another index.
type flaps map[string]*flap

// note records how the links have changed. used are the names of the links that
// virtual routers use.
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

// waiting reports whether a link works, but not for long enough yet.
func (f flaps) waiting(link *host.Link, now vrrp.Time) bool {
	entry := f[link.Name]
	return entry != nil && entry.waits(now)
}

// deadline returns the time at which a link has worked for long enough.
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

// mustWait reports whether a virtual router must wait for a link that flaps: its
// own, or the one of each VIP.
func (f flaps) mustWait(p *assignedRouter, now vrrp.Time) bool {
	if len(f) == 0 {
		return false
	}
	return f.waiting(&p.link, now) || !slices.ContainsFunc(p.vips, func(v assignedVIP) bool {
		return linkFault(v.link) == "" && !f.waiting(&v.link, now)
	})
}
