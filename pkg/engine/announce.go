package engine

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"os"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// never is a deadline that does not come.
const never = vrrp.Time(math.MaxInt64)

// announceOffsets are the instants, after a takeover, at which a router's
// addresses are announced. The first copy moves the hosts' ARP entries, the
// next ones make up for its loss, and the late ones for a switch whose port
// was not forwarding yet.
var announceOffsets = [...]time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second}

const (
	// announceRefresh is the slow repetition that follows: it heals a
	// forwarding table whose entry was lost or aged out.
	announceRefresh = time.Minute
	// announcePause keeps a peer that goes on sending advertisements of a
	// lower priority, because it does not hear us, from making us announce at
	// its rate. A burst that is shorter ago has announcements to come.
	announcePause = time.Second
)

// announceSchedule says when a Master's addresses are announced.
type announceSchedule struct {
	started vrrp.Time
	step    int
	// next is never while the router is not Master.
	next vrrp.Time
}

// start begins the schedule anew.
func (s *announceSchedule) start(now vrrp.Time) { s.started, s.step, s.next = now, 0, now }

// again is start for a cause that may come again and again.
func (s *announceSchedule) again(now vrrp.Time) {
	if s.next == never || now.Sub(s.started) >= announcePause {
		s.start(now)
	}
}

// stop ends the schedule.
func (s *announceSchedule) stop() { *s = announceSchedule{next: never} }

// due tells whether an announcement is due, and arms the next one.
func (s *announceSchedule) due(now vrrp.Time) bool {
	if s.next == never || now < s.next {
		return false
	}
	for s.step++; s.step < len(announceOffsets); s.step++ {
		if next := s.started.Add(announceOffsets[s.step]); next > now {
			s.next = next
			return true
		}
	}
	s.next = now.Add(announceRefresh)
	return true
}

// runAnnouncements sends what is to be announced until ctx ends.
func (a *actuator) runAnnouncements(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.announcements.signal:
		case <-timer.C:
		}
		if next := a.announce(); next != never {
			timer.Reset(next.Sub(a.now()))
		}
	}
}

// announce sends what may go out by now, and returns when it is to be called
// again; never if nothing waits. What comes in meanwhile is not kept waiting by
// repetitions.
func (a *actuator) announce() vrrp.Time {
	for {
		if all, ok := a.announcements.take(); ok {
			a.pacer.add(all)
		}
		now := a.now()
		batch := a.pacer.next(now)
		if len(batch) == 0 {
			return a.pacer.deadline(now)
		}
		a.send(batch)
	}
}

// send sends frames of one link and one form, those of the addresses that are
// bound at that moment, so that a host that believes them is answered. A link
// that transmits nothing is done with until its next announcement: it must not
// hold up the others.
func (a *actuator) send(batch []frame) {
	link, bound := batch[0].Link, *a.bound.Load()
	vips := make([]netip.Addr, 0, len(batch))
	for _, f := range batch {
		if bound[f.VirtualAddress] {
			vips = append(vips, f.Address)
		}
	}
	if len(vips) == 0 {
		return
	}
	form := a.announcer.Announce
	if batch[0].reply {
		form = a.announcer.Reply
	}
	err := form(link, a.pacer.hardwareAddrs[link], vips)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			a.pacer.drop(link)
		}
		a.announceFailed[link] = true
		a.reported(report{source: "announcements", errs: []error{err}})
		return
	}
	if a.announceFailed[link] {
		delete(a.announceFailed, link)
		a.reported(report{source: "announcements"})
	}
}
