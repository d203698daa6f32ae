package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
)

// step is how long answers to one question are collected.
const step = 20 * time.Millisecond

// holderWatch asks again and again who has an address, and remembers when a host
// last said that it does.
type holderWatch struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex
	last time.Time
	err  error
}

// watchHolder watches for answers that give a MAC.
func (s *Site) watchHolder(vip netip.Addr, mac string) *holderWatch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &holderWatch{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		for ctx.Err() == nil {
			asked := time.Now()
			answers, err := probe.ARP(ctx, s.NetNS("client"), "eth0", vip, step)
			if ctx.Err() != nil {
				return
			}
			w.mu.Lock()
			if slices.Contains(probe.Holders(answers), mac) {
				w.last = asked
			}
			w.err = err
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return w
}

// silent returns an error until the host has not answered for that long.
func (w *holderWatch) silent(d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if since := time.Since(w.last); since < d {
		return fmt.Errorf("it did %s ago", since)
	}
	return nil
}

func (w *holderWatch) lastAnswer() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// stop ends the watching; its error is that of an attempt to ask.
func (w *holderWatch) stop() error {
	w.cancel()
	<-w.ended
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Holders returns the MACs of the hosts that answer for a VIP by ARP.
func (s *Site) Holders(ctx context.Context, vip netip.Addr) ([]string, error) {
	answers, err := probe.ARP(ctx, s.NetNS("client"), "eth0", vip, 300*time.Millisecond)
	return probe.Holders(answers), err
}
