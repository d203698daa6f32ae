package engine

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

// announcer sends gratuitous ARP and unsolicited Neighbor Advertisements. Reply
// sends the reply form of gratuitous ARP.
type announcer interface {
	Announce(index int, mac net.HardwareAddr, vips []netip.Addr) error
	AnnounceReply(index int, mac net.HardwareAddr, vips []netip.Addr) error
}

// announceWorker is the only sender of announcements.
type announceWorker struct {
	*worker[map[int]announcement]
	announcer announcer
	// pacer has the frames that wait to be sent, by the clock now.
	pacer *pacer
	now   func() vrrp.Time
	// bound reports which addresses are bound now. The lease worker stores it.
	bound    atomic.Pointer[map[host.VirtualAddress]bool]
	reported func(outcome)
	failed   map[int]bool // by link
}

func newAnnounceWorker(n announcer, reported func(outcome)) *announceWorker {
	began := time.Now()
	w := &announceWorker{
		announcer: n, pacer: newPacer(), now: func() vrrp.Time { return vrrp.Time(time.Since(began)) },
		reported: reported, failed: map[int]bool{},
	}
	w.worker = newWorker(w.pacer.add, mergeAnnouncements, nil)
	w.bound.Store(&map[host.VirtualAddress]bool{})
	return w
}

// run sends announcements until ctx ends.
func (w *announceWorker) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.signal:
		case <-timer.C:
		}
		if next := w.announce(); next != never {
			timer.Reset(next.Sub(w.now()))
		}
	}
}

// announce sends the frames that may be sent now, and returns the time to call it
// again; never if no frame waits. An announcement that is posted meanwhile does
// not wait for repetitions.
func (w *announceWorker) announce() vrrp.Time {
	for {
		w.applyWaiting()
		now := w.now()
		batch := w.pacer.next(now)
		if len(batch) == 0 {
			return w.pacer.deadline(now)
		}
		w.send(batch)
		w.pacer.done(w.now())
	}
}

// send sends frames of one link and one form, those of the addresses that are
// bound at that moment, so that a host that believes them gets an answer. The
// frames of a link that transmits nothing are dropped: it must not hold up the
// others.
func (w *announceWorker) send(batch []frame) {
	link, bound := batch[0].Link, *w.bound.Load()
	vips := make([]netip.Addr, 0, len(batch))
	for _, f := range batch {
		if bound[f.VirtualAddress] {
			vips = append(vips, f.Address)
		}
	}
	if len(vips) == 0 {
		return
	}
	form := w.announcer.Announce
	if batch[0].reply {
		form = w.announcer.AnnounceReply
	}
	err := form(link, w.pacer.hardwareAddrs[link], vips)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.pacer.drop(link)
	}
	switch {
	case err != nil:
		w.failed[link] = true
		w.reported(outcome{source: sourceAnnouncements, err: err})
	case w.failed[link]:
		delete(w.failed, link)
		w.reported(outcome{source: sourceAnnouncements})
	}
}
