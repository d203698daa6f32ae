package engine

import (
	"context"
	"sync"
	"time"
)

// resyncInterval is the time after which a worker repeats its last work, which
// repairs what other programs have changed.
const resyncInterval = 5 * time.Second

// worker does work that may block, on a goroutine of its own, for the loop, which
// must not block. It works on the newest value that was posted.
type worker[T any] struct {
	// apply does the work.
	apply func(T)
	// merge returns the value that takes the place of a waiting one when another
	// is posted. If nil, that is the posted one.
	merge func(waiting, posted T) T
	// resync, which may be nil, is called every resyncInterval.
	resync func()

	mu      sync.Mutex
	value   T
	waiting bool
	signal  chan struct{}
}

func newWorker[T any](apply func(T), merge func(waiting, posted T) T, resync func()) *worker[T] {
	return &worker[T]{apply: apply, merge: merge, resync: resync, signal: make(chan struct{}, 1)}
}

// post hands over a value. It never blocks.
func (w *worker[T]) post(v T) {
	w.mu.Lock()
	if w.waiting && w.merge != nil {
		v = w.merge(w.value, v)
	}
	w.value, w.waiting = v, true
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// take returns the value that waits, if there is one, and forgets it.
func (w *worker[T]) take() (v T, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var none T
	v, ok, w.value, w.waiting = w.value, w.waiting, none, false
	return v, ok
}

// run works until ctx ends, and then on the value that waits.
func (w *worker[T]) run(ctx context.Context) {
	var tick <-chan time.Time
	if w.resync != nil {
		ticker := time.NewTicker(resyncInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			w.applyWaiting()
			return
		case <-tick:
			w.resync()
		case <-w.signal:
			w.applyWaiting()
		}
	}
}

func (w *worker[T]) applyWaiting() {
	if v, ok := w.take(); ok {
		w.apply(v)
	}
}

// outcome is the outcome of a worker's work: a failure, or the end of one.
type outcome struct {
	source source
	err    error // nil: no failure any more
}

// source names the work that an outcome is of.
type source string

// The sources of outcomes.
const (
	sourceLeases        source = "leases"
	sourceNeighbors     source = "neighbors"
	sourceAnnouncements source = "announcements"
	sourceProbes        source = "probes"
)

// outcomes passes on the outcomes of one work: each failure, and the first
// success after one.
type outcomes struct {
	source   source
	reported func(outcome)
	failed   bool
}

func (o *outcomes) note(err error) {
	if err != nil || o.failed {
		o.failed = err != nil
		o.reported(outcome{source: o.source, err: err})
	}
}
