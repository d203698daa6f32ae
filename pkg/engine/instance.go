package engine

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// sendFailuresAllowed is how many advertisements in a row may fail to go
	// out: the peers take over after missing as many.
	sendFailuresAllowed = 3
	// retryMin and retryMax bound the pause before a router that failed is
	// started again; it doubles each time.
	retryMin = time.Second
	retryMax = 30 * time.Second
	// reasonListening is why a router that is about to start is in Initialize.
	reasonListening = "listening"
)

// instance is a virtual router that runs on an interface.
type instance struct {
	placement
	// router is nil until the placement has been without a fault once.
	router *vrrp.Router
	// applied is the router's configuration. While there is a fault it stays
	// behind the placement's.
	applied vrrp.Config
	// startAt is when it is to be started; never if it runs or cannot.
	startAt  vrrp.Time
	retry    time.Duration
	announce announceSchedule

	reason string
	// since is when the state changed, for showing; changed is the same for
	// deciding.
	since        time.Time
	changed      vrrp.Time
	sendFailures int
	// advertised tells that an advertisement went out since it became Master:
	// until then it holds and announces nothing.
	advertised bool
	// ordered is the first order that its addresses are in.
	ordered uint64
	// held tells that an address was bound since it became Master; unbound is
	// since when none was, zero if one is.
	held    bool
	unbound vrrp.Time
	// failed are the addresses that could not be bound, and why.
	failed map[netip.Addr]error
}

// deadline is when something is to be done for the instance.
func (in *instance) deadline() vrrp.Time {
	next := min(in.startAt, in.announce.next)
	if d, ok := in.timer(); ok {
		next = min(next, d)
	}
	return next
}

// timer is the router's one timer.
func (in *instance) timer() (vrrp.Time, bool) {
	if in.router == nil {
		return 0, false
	}
	return in.router.Deadline()
}

func (in *instance) state() vrrp.State {
	if in.router == nil {
		return vrrp.Initialize
	}
	return in.router.State()
}

// configure makes the instances those that the desired State and the links
// ask for. One that stays is changed in place and keeps its state.
func (l *loop) configure(now vrrp.Time) {
	placements, unplaced := place(*l.desired, l.links.Links)
	l.tellUnplaced(unplaced)
	var instances []*instance
	for _, p := range placements {
		i := slices.IndexFunc(l.instances, func(in *instance) bool {
			return in.key == p.key && in.link.Index == p.link.Index && in.config.Version == p.config.Version
		})
		if p.fault == "" && l.cannotHear(p.link.Index, i >= 0 && l.instances[i].state() != vrrp.Initialize) {
			p.fault = faultNotListening
		}
		if i < 0 {
			in := &instance{
				placement: p, startAt: never, retry: retryMin,
				reason: p.fault, since: wallClock(), failed: map[netip.Addr]error{},
			}
			in.announce.stop()
			if p.fault == "" {
				in.router, in.applied = vrrp.NewRouter(p.config), p.config
				l.schedule(in, now)
			} else {
				l.tellFault(in)
			}
			instances = append(instances, in)
			continue
		}
		in := l.instances[i]
		l.instances = slices.Delete(l.instances, i, i+1)
		instances = append(instances, in)
		l.reconfigure(in, p, now)
	}
	for _, in := range l.instances {
		l.shutdown(in, string(vrrp.ReasonShutdown), now)
	}
	l.instances = instances
	l.orderDue = true
}

// cannotHear tells that the sockets of an interface could not be opened or, for
// a router that runs, are not open: its silence would say nothing. One that does
// not run yet waits for them.
func (l *loop) cannotHear(index int, runs bool) bool {
	_, listening := l.listening[index]
	return l.deaf[index] != nil || runs && !listening
}

// schedule arranges for an instance to be started when its interface has
// been listened on for long enough. Backup waits Master_Down_Interval anyway:
// that is part of the listening.
func (l *loop) schedule(in *instance, now vrrp.Time) {
	in.reason = reasonListening
	since, ok := l.listening[in.link.Index]
	if !ok {
		in.startAt = never // Its sockets are being opened.
		return
	}
	down := in.config.MasterDownInterval(in.config.AdvertisementInterval)
	in.startAt = max(now, since.Add(listenTime-down))
}

// reconfigure changes an instance in place.
func (l *loop) reconfigure(in *instance, p placement, now vrrp.Time) {
	old := in.placement
	if p.fault != "" {
		idle := in.state() == vrrp.Initialize
		if old.fault == "" {
			// Shut down as what it was: the peers know it by its old address.
			l.shutdown(in, p.fault, now)
		}
		in.placement, in.reason = p, p.fault
		if idle && old.fault != p.fault {
			l.tellFault(in)
		}
		return
	}
	in.placement = p
	switch {
	case in.router == nil:
		in.router = vrrp.NewRouter(p.config)
	case !equalConfigs(in.applied, p.config):
		l.apply(in, in.router.SetConfig(now, p.config), now)
	}
	in.applied = p.config
	switch {
	case old.fault != "":
		in.retry = retryMin
		l.schedule(in, now)
	case in.state() == vrrp.Initialize && in.reason == reasonListening:
		l.schedule(in, now) // It may listen since another time.
	}
	added := slices.ContainsFunc(p.config.Addresses, func(a netip.Addr) bool { return !slices.Contains(old.config.Addresses, a) })
	moved := !bytes.Equal(old.link.HardwareAddr, p.link.HardwareAddr)
	if (added || moved) && in.state() == vrrp.Master {
		in.announce.start(now)
	}
}

func equalConfigs(a, b vrrp.Config) bool {
	return a.Priority == b.Priority && a.AdvertisementInterval == b.AdvertisementInterval && a.DownAdverts == b.DownAdverts &&
		a.Preempt == b.Preempt && a.TakeoverDelay == b.TakeoverDelay && a.Source == b.Source && slices.Equal(a.Addresses, b.Addresses)
}

// start takes an instance out of Initialize, unless its sockets have gone since
// that was arranged.
func (l *loop) start(in *instance, now vrrp.Time) {
	if l.cannotHear(in.link.Index, true) {
		l.schedule(in, now)
		return
	}
	in.startAt = never
	l.apply(in, in.router.Startup(now), now)
}

// fail puts an instance that cannot do its work into Initialize, so that a
// peer takes over, and tries again later.
func (l *loop) fail(in *instance, fault string, now vrrp.Time) {
	l.shutdown(in, fault, now)
	in.startAt = now.Add(in.retry)
	in.retry = min(2*in.retry, retryMax)
}

// shutdown puts an instance into Initialize. What it held as Master is let
// go of before priority 0 is advertised.
func (l *loop) shutdown(in *instance, reason string, now vrrp.Time) {
	in.startAt = never
	if in.state() == vrrp.Initialize {
		in.reason = reason
		return
	}
	out := in.router.Shutdown(now)
	if out.Send != nil {
		l.orderDue = true
		l.releases = append(l.releases, release{
			link: in.link.Index, source: in.config.Source,
			payload: out.Send.Append(nil, in.config.Source, vrrp.GroupIPv4),
			// The order that placeOrder posts at the end of this turn.
			seq: l.seq + 1, deadline: now.Add(releaseTime),
		})
	}
	if t := out.Transition; t != nil {
		l.changed(in, t.From, t.To, reason, now)
	}
}

// stop ends every instance. Without Release the Masters go silent, and their
// addresses are left to the lease.
func (l *loop) stop(now vrrp.Time) {
	l.stopping = true
	if !l.engine.config.Release {
		return
	}
	for _, in := range l.instances {
		l.shutdown(in, string(vrrp.ReasonShutdown), now)
	}
	l.instances = nil
}

// reported takes note of what became of an order.
func (l *loop) reported(r report, now vrrp.Time) {
	if err := errors.Join(r.errs...); err != nil {
		l.logOnce(r.source, err.Error(), func() { l.logger.Error(err, "Address or announcement failed") })
	} else {
		delete(l.logged, r.source)
	}
	if r.seq == 0 {
		return
	}
	l.acked, l.waiting = r.seq, now
	for _, in := range l.instances {
		if !in.advertised || r.seq < in.ordered {
			continue
		}
		l.noteFailures(in, r, now)
	}
}

// noteFailures follows which of a Master's addresses are bound. One that is
// not is tried again with every lease refresh, and must not cost the others
// their Master: only a router that can bind none of its addresses gives up,
// and one that could before only when its leases are about to end.
func (l *loop) noteFailures(in *instance, r report, now vrrp.Time) {
	key, previous := in.key, in.failed
	in.failed = map[netip.Addr]error{}
	for v, err := range r.failed {
		if v.Link == in.link.Index && slices.Contains(in.config.Addresses, v.Address) {
			in.failed[v.Address] = err
			if previous[v.Address] == nil {
				l.notifier.tell(func() {
					l.logger.Error(err, "Address not bound", "interface", key.Interface, "vrid", key.VRID, "vip", v.Address)
				})
			}
		}
	}
	for vip := range previous {
		if in.failed[vip] == nil {
			in.announce.start(now)
		}
	}
	switch n := len(in.failed); {
	case n < len(in.config.Addresses):
		in.held, in.unbound = true, 0
		if n == 0 && now.Sub(in.changed) > retryMax {
			in.retry = retryMin
		}
	case in.unbound == 0 && in.held:
		in.unbound = now
	case !in.held || now.Sub(in.unbound) >= 2*leaseRefresh:
		l.fail(in, faultBindFailed, now)
	}
}

// tellFault tells of a fault that no change of state comes with: the router is
// in Initialize already.
func (l *loop) tellFault(in *instance) {
	t := desired.Transition{
		RouterKey: in.key, From: vrrp.Initialize, To: vrrp.Initialize, Reason: in.fault, Time: wallClock(), VIPs: slices.Clone(in.config.Addresses),
	}
	l.notifier.tell(func() {
		l.logger.Info("Virtual router cannot run", "interface", t.Interface, "vrid", t.VRID, "reason", t.Reason)
		l.engine.config.OnTransition(t)
	})
}

func (l *loop) tellUnplaced(unplaced []desired.UnplacedVIP) {
	for _, u := range unplaced {
		if !slices.Contains(l.unplaced, u) {
			l.notifier.tell(func() { l.logger.Info("VIP has no interface on this node", "vip", u.Address, "reason", u.Reason) })
		}
	}
	l.unplaced = unplaced
}
