package engine

import (
	"fmt"

	"kube-vrrp-vip/pkg/conflict"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// drainLimit is how many packets are read before the timers run all the same, so
// that a flood cannot keep the loop from them. It is more than the buffers of a
// few interfaces hold.
const drainLimit = 8192

func (l *loop) now() vrrp.Time { return vrrp.Time(l.poller.Now()) }

// run iterates until the loop is told to stop and has released what it held.
func (l *loop) run() error {
	for {
		if err := l.poller.Wait(int64(l.deadline())); err != nil {
			return fmt.Errorf("wait for packets: %w", err)
		}
		if l.iterate() {
			return nil
		}
	}
}

// deadline returns the time of the next iteration at the latest.
func (l *loop) deadline() vrrp.Time {
	next := min(l.host.nextRefresh, l.links.flapsEnd, l.heartbeats.next, l.releases.deadline(), l.publisher.deadline(l.host.generation))
	for _, in := range l.instances {
		next = min(next, in.deadline())
	}
	return next
}

// iterate is one iteration. It reports whether the loop is done.
func (l *loop) iterate() (done bool) {
	due := l.deadline()
	l.drain()
	l.handleMessages()
	now := l.now()
	late := now.Sub(due)
	l.publisher.late.note(now, late)
	if late > 0 {
		l.host.stalled(now, late)
	}
	l.runTimers(now)
	if l.heartbeats.sendDue(l.instances, now) {
		l.host.setPolicies(l.heartbeats.policies(l.instances))
	}
	l.releases.sendDue(l.host.observed, now)
	if l.host.refreshDue(now) {
		l.retrySockets(now)
		l.updateAlarms(now)
	}
	l.conflicts.sync()
	l.host.sync(l.instances, now)
	l.publisher.publish(l.host.generation, l.stopping, now, l.status)
	return l.stopping && l.releases.empty()
}

// drain reads the packets that have arrived.
func (l *loop) drain() {
	for range drainLimit {
		if !l.poller.Receive(&l.scratch.packet) {
			return
		}
		l.receive()
	}
}

// receive hands one packet to its virtual router.
func (l *loop) receive() {
	header, payload, discard := vrrp.ParseIP(l.scratch.packet.Data)
	if discard != vrrp.DiscardNone {
		l.sockets.countUnmatched(discard)
		return
	}
	now := l.now()
	arrived := min(vrrp.Time(l.scratch.packet.Arrived), now)
	port := portKey{l.scratch.packet.Index, vrrp.FamilyOf(header.Source)}
	own := l.links.isOwn(port.index, header.Source)
	if !own {
		l.sockets.observe(port, arrived, header, payload)
	}
	vrid, ok := vrrp.PeekVRID(payload)
	if !ok {
		l.sockets.countUnmatched(vrrp.DiscardPacketLength)
		return
	}
	in := l.routers[routerKey{port, vrid}]
	if in == nil {
		l.sockets.countUnmatched(vrrp.DiscardVRID)
		return
	}
	if own {
		in.router.Discard(now, header, vrrp.DiscardOwnSource)
		return
	}
	form, discard := vrrp.Parse(header, payload, &l.scratch.advert)
	if discard != vrrp.DiscardNone {
		in.router.Discard(now, header, discard)
		return
	}
	in.router.CountChecksum(form)
	if in.router.FromMember(header) {
		in.detector.HeardMember(now, conflict.MAC(l.scratch.packet.MAC))
	}
	l.apply(in, in.router.Receive(now, arrived, header, &l.scratch.advert), now)
}

// handleMessages carries out what other goroutines have sent.
func (l *loop) handleMessages() {
	m := l.inbox.take()
	now := l.now()
	for _, r := range m.leases {
		l.leasesRenewed(r, now)
	}
	for _, o := range m.outcomes {
		l.noteOutcome(o)
	}
	for _, r := range m.sockets {
		l.releases.flush(r.conns)
		l.sockets.opened(r, now)
	}
	for _, c := range m.claims {
		l.heardClaim(c, now)
	}
	if m.links != nil {
		l.links.update(m.links, l.assigned.linkNames(), now)
	}
	flapsDue := l.links.flapsDue(now)
	if m.state != nil {
		l.desired = m.state
	}
	if m.macvlans != nil {
		l.macvlans.made(*m.macvlans)
	}
	changed := m.links != nil || m.state != nil || m.macvlans != nil
	if changed && l.links.snapshot != nil {
		l.assign()
	}
	if (changed || len(m.sockets) > 0 || flapsDue) && l.configurable() {
		l.configure(now)
	}
	if m.stop && !l.stopping {
		l.stop(now)
	}
}

// runTimers does everything of the instances that is due.
func (l *loop) runTimers(now vrrp.Time) {
	stuck, expired := l.host.stuck(now), false
	for _, in := range l.instances {
		if in.detector.Deadline() <= now {
			l.checkConflicts(in, now)
		}
		switch {
		case stuck && in.state() != vrrp.Initialize:
			l.fail(in, desired.FaultLeaseNotRenewed, now)
		case stuck && in.startAt <= now:
			in.retryLater(now)
		case in.startAt <= now:
			l.start(in, now)
		}
		if due, ok := in.timer(); ok && due <= now && !l.resignForVRIDConflict(in, now) {
			// All packets that arrived while the loop stalled have been read, but in a
			// flood. The router knows how late is too late.
			l.apply(in, in.router.Stalled(now, now.Sub(due)), now)
			l.apply(in, in.router.Expire(now), now)
			expired = true
		}
		first := in.announce.step == 0
		if in.announce.due(now) {
			l.host.announceVIPs(in, first)
		}
	}
	if !expired {
		return
	}
	// To wake up costs more than to send.
	for _, in := range l.instances {
		if in.router != nil {
			l.apply(in, in.router.Coalesce(now), now)
		}
	}
}

// retrySockets asks for sockets in place of those that failed.
func (l *loop) retrySockets(now vrrp.Time) {
	if l.links.snapshot != nil && l.sockets.retry() && l.configurable() {
		l.configure(now)
	}
}

// updateAlarms passes on the alarms that began or ended since the last call.
func (l *loop) updateAlarms(now vrrp.Time) {
	for _, in := range l.instances {
		alarms := in.alarmsAt(now, l.sockets.seen(in.port()))
		if len(alarms) == 0 && len(in.alarms) == 0 {
			continue
		}
		old := in.alarms
		in.alarms = alarms
		for i := range alarms {
			if j := indexAlarm(old, alarms[i].Reason); j >= 0 {
				alarms[i].Since = old[j].Since
			} else {
				l.events.alarm(in, alarms[i], true)
			}
		}
		for _, a := range old {
			if indexAlarm(alarms, a.Reason) < 0 {
				l.events.alarm(in, a, false)
			}
		}
	}
}
