package engine

import (
	"sync/atomic"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// publishPause is the least time between two snapshots: a takeover of many virtual
// routers must not spend its time on them.
const publishPause = 20 * time.Millisecond

// publisher makes the loop's state readable by other goroutines.
type publisher struct {
	status atomic.Pointer[desired.Status]
	// iterated is the time of the last iteration, in nanoseconds after began, and 0
	// before the first: a jump of the wall clock is no sign of a loop that hangs,
	// and does not hide one.
	iterated atomic.Int64
	began    time.Time

	// The rest belongs to the loop. generation is that of the hostState that the
	// snapshot is from; the next one may be published at mayPublish.
	late       latenessWindow
	generation uint64
	mayPublish vrrp.Time
}

func newPublisher() *publisher {
	p := &publisher{began: wallClock()}
	p.status.Store(&desired.Status{})
	return p
}

// read returns the last snapshot, with the time of the last iteration.
func (p *publisher) read() desired.Status {
	s := *p.status.Load()
	if iterated := p.iterated.Load(); iterated != 0 {
		now := wallClock()
		s.Beat = now.Add(time.Duration(iterated) - now.Sub(p.began)).UnixNano()
	}
	return s
}

// deadline returns the time of the next snapshot; never if it would show nothing
// new.
func (p *publisher) deadline(generation uint64) vrrp.Time {
	if p.generation == generation {
		return never
	}
	return p.mayPublish
}

// publish stores the time of every iteration, and a snapshot when a hostState was
// posted, which every change causes and every renewal of the leases too.
func (p *publisher) publish(generation uint64, stopping bool, now vrrp.Time, status func(now vrrp.Time) *desired.Status) {
	p.iterated.Store(int64(max(time.Since(p.began), 1)))
	if p.generation == generation || now < p.mayPublish && !stopping {
		return
	}
	p.mayPublish = now.Add(publishPause)
	p.generation = generation
	p.status.Store(status(now))
}

// latenessWindow remembers the worst lateness of the last one to two minutes.
type latenessWindow struct {
	current, previous time.Duration
	began             vrrp.Time
}

func (w *latenessWindow) note(now vrrp.Time, late time.Duration) {
	if now.Sub(w.began) > time.Minute {
		w.current, w.previous, w.began = 0, w.current, now
	}
	w.current = max(w.current, late)
}

func (w *latenessWindow) worst(now vrrp.Time) time.Duration {
	if now.Sub(w.began) > 2*time.Minute {
		return w.current
	}
	return max(w.current, w.previous)
}
