package engine

import (
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/conflict"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// apply carries out the Output of a virtual router, in the order of its fields.
func (l *loop) apply(in *instance, out vrrp.Output, now vrrp.Time) {
	sent := notSent
	if out.Send != nil {
		sent = l.send(in, out.Send)
	}
	if t := out.Transition; t != nil {
		l.changed(in, t.From, t.To, desired.Cause{Reason: desired.Reason(t.Reason)}, now)
	}
	switch sent {
	case sentToAny:
		if in.sendFailures > 0 {
			in.sendFailures = 0
			l.heartbeats.start(now)
		}
		if !in.advertised && in.state() == vrrp.Master {
			l.takeOver(in, now)
		}
	case sentToNone:
		// The last advertisement of a Master that yields counts no more.
		if in.state() != vrrp.Master {
			break
		}
		if in.sendFailures++; in.sendFailures >= sendFailuresAllowed {
			l.fail(in, desired.FaultSendFailed, now)
		}
	case notSent:
	}
	if out.Announce && in.state() == vrrp.Master {
		in.announce.again(now)
	}
}

// takeOver makes a Master hold its addresses, now that its first advertisement
// went out.
func (l *loop) takeOver(in *instance, now vrrp.Time) {
	in.advertised, in.generation = true, l.host.next()
	l.host.request()
	// Before the address is bound: the first host that asks for it gets an answer.
	if l.heartbeats.send(in, now) {
		l.host.setPolicies(l.heartbeats.policies(l.instances))
	}
	in.announce.start(now)
	in.detector.Take(now)
}

// changed records a change of state.
func (l *loop) changed(in *instance, from, to vrrp.State, cause desired.Cause, now vrrp.Time) {
	in.cause, in.since, in.changed = cause, wallClock(), now
	in.binding = binding{}
	if from == vrrp.Master {
		in.yield()
		l.host.request()
	}
	t := desired.Transition{
		RouterKey: in.key, From: from, To: to, Cause: cause, Time: in.since, VIPs: slices.Clone(in.config.Addresses),
	}
	if r := in.router.Status(); to == vrrp.Master && r.Heard {
		t.Silence = now.Sub(r.LastHeard)
	}
	l.events.transition(t)
}

// sendOutcome is what became of an advertisement.
type sendOutcome uint8

const (
	notSent sendOutcome = iota
	sentToAny
	sentToNone
)

// send sends an advertisement. A Master whose advertisements do not go out is
// none: its peers take over, so it must let go. With unicast one that reaches any
// peer has gone out, and so has one that has no peer to reach.
func (l *loop) send(in *instance, a *vrrp.Advertisement) sendOutcome {
	destinations, failed := in.destinations(), 0
	for _, to := range destinations {
		l.scratch.buffer = a.Append(l.scratch.buffer[:0], in.config.Source, to)
		err := l.transmit(in, to)
		about := logKey{what: "send", link: in.key.Interface, destination: to}
		if err == nil {
			l.events.ended(about)
			continue
		}
		failed++
		key := in.key
		l.events.logOnce(about, err.Error(), func() {
			l.events.logger.Info("Advertisement not sent", append(keyFields(key), "err", err)...)
		})
	}
	if failed == 0 || failed < len(destinations) {
		return sentToAny
	}
	return sentToNone
}

// transmit sends the advertisement in l.scratch.buffer from the interface and, if the
// Master has a virtual MAC, once more from that link: switches learn by it where
// the MAC is (RFC 9568 section 7.2), but not every peer hears it. The kernel
// gives frames from the MAC of a private macvlan to that macvlan alone, and
// keepalived with vmac_xmit_base listens beside it. The link comes up with the
// first address; the first advertisement of a Master does not wait for it.
func (l *loop) transmit(in *instance, to netip.Addr) error {
	err := l.poller.Send(in.link.Index, in.config.Source, to, l.scratch.buffer)
	if in.via != 0 && in.state() == vrrp.Master && l.poller.SendVia(in.link.Index, in.via, in.config.Source, to, l.scratch.buffer) == nil {
		return nil
	}
	return err
}

// checkConflicts does the work of a conflict detector that is due.
func (l *loop) checkConflicts(in *instance, now vrrp.Time) {
	out := in.detector.Expire(now)
	l.conflicts.probe(in, out.Probes)
	if out.Bind {
		l.host.request()
		in.announce.start(now)
	}
}

// heardClaim reacts to a host that claims a VIP.
func (l *loop) heardClaim(c lan.NeighborEvent, now vrrp.Time) {
	if l.links.macs[c.MAC] {
		return // Two interfaces of this node may be on one LAN.
	}
	switch in, reaction := l.conflicts.heard(c, now); reaction {
	case conflict.AnnounceAgain:
		in.announce.again(now)
	case conflict.Defend:
		in.announce.start(now)
	case conflict.None:
	}
}
