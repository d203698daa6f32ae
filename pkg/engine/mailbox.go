package engine

import (
	"context"
	"sync"
)

// mailbox is how the loop hands work to a goroutine that may block: what waits
// is replaced by the newest, or merged with it, and putting it in never blocks.
type mailbox[T any] struct {
	mu     sync.Mutex
	value  T
	full   bool
	signal chan struct{}
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{signal: make(chan struct{}, 1)} }

// put replaces what waits. merge, which may be nil, makes the new value of the
// one that waits and the one that comes.
func (m *mailbox[T]) put(v T, merge func(old, v T) T) {
	m.mu.Lock()
	if m.full && merge != nil {
		v = merge(m.value, v)
	}
	m.value, m.full = v, true
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// take empties the mailbox.
func (m *mailbox[T]) take() (v T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var none T
	v, ok, m.value, m.full = m.value, m.full, none, false
	return v, ok
}

// serve calls do with what is put in until ctx ends, and with what waits then.
func (m *mailbox[T]) serve(ctx context.Context, do func(T)) {
	for {
		select {
		case <-ctx.Done():
			if v, ok := m.take(); ok {
				do(v)
			}
			return
		case <-m.signal:
			if v, ok := m.take(); ok {
				do(v)
			}
		}
	}
}
