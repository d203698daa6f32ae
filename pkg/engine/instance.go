package engine

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
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
	startAt vrrp.Time
	retry   time.Duration
	// started tells that it was out of Initialize once.
	started  bool
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
	failed   map[netip.Addr]error
	removals removals
	// alarms are those that are on, each reason once.
	alarms []desired.Alarm
	// conflict is since when others use the VRID for something else; never if
	// nobody does.
	conflict vrrp.Time
	// claimAt is when something is to be done about VIPs that are not known to be
	// free, checkAt when those that are held are asked for; never if not.
	claimAt, checkAt vrrp.Time
	// checked is how many of its VIPs were asked for this time.
	checked int
	// inUse tells that all VIPs were found to be others' and that was told.
	inUse bool
	// members are the last senders of advertisements, of whom the last was heard
	// at memberHeard.
	members     [membersKept]member
	memberHeard vrrp.Time
	// duplicate is what others claim of what is held, which may be defended from
	// defendAt on; claims counts them.
	duplicate duplicate
	defendAt  vrrp.Time
	claims    uint64
}

// deadline is when something is to be done for the instance.
func (in *instance) deadline() vrrp.Time {
	next := min(in.startAt, in.announce.next, in.claimAt, in.checkAt)
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

// destinations are where advertisements go to.
func (in *instance) destinations() []netip.Addr {
	if in.config.Unicast {
		return in.config.Peers
	}
	return groups[in.key.Family]
}

// groups are made once: what goes out ten times a second must not allocate.
var groups = map[vrrp.Family][]netip.Addr{vrrp.IPv4: {vrrp.GroupIPv4}, vrrp.IPv6: {vrrp.GroupIPv6}}

// configure makes the instances those that the placements ask for. One that
// stays is changed in place and keeps its state.
func (l *loop) configure(now vrrp.Time) {
	running := map[desired.RouterKey]*instance{}
	for _, in := range l.instances {
		running[in.key] = in
	}
	instances := make([]*instance, 0, len(l.placements))
	l.routers = map[routerKey]*instance{}
	for _, p := range l.placements {
		in := running[p.key]
		if in != nil && (in.link.Index != p.link.Index || in.config.Version != p.config.Version) {
			in = nil
		}
		if p.fault == "" && l.flapping(&p, now) {
			p.fault = faultLinkFlapping
		}
		if p.fault == "" && l.cannotHear(p.port(), in != nil && in.state() != vrrp.Initialize) {
			p.fault = faultNotListening
		}
		if in == nil {
			in = l.newInstance(p, now)
		} else {
			delete(running, p.key)
			l.reconfigure(in, p, now)
		}
		instances = append(instances, in)
		if in.router != nil {
			l.routers[routerKey{p.port(), p.key.VRID}] = in
		}
	}
	for _, in := range l.instances {
		if running[in.key] == in {
			reason := string(vrrp.ReasonShutdown)
			if l.lacksInterface(in) {
				reason = faultNoInterface
			}
			l.shutdown(in, reason, now)
			for _, a := range in.alarms {
				l.tellAlarm(in, a, false)
			}
		}
	}
	l.instances = instances
	l.answering = l.answers()
	l.keepClaims(now)
	l.orderDue = true
}

// lacksInterface tells whether an instance that is not wanted any more still would
// be, if an interface of this node took its VIPs.
func (l *loop) lacksInterface(in *instance) bool {
	return slices.ContainsFunc(l.unplaced, func(u desired.UnplacedVIP) bool {
		return slices.ContainsFunc(in.vips, func(v placedVIP) bool { return v.address == u.Address })
	})
}

func (l *loop) newInstance(p placement, now vrrp.Time) *instance {
	in := &instance{placement: p, startAt: never, retry: retryMin, reason: p.fault, since: wallClock(), conflict: never, claimAt: never, checkAt: never}
	in.announce.stop()
	if p.fault == "" {
		in.router, in.applied = vrrp.NewRouter(p.config), p.config
		l.schedule(in, now)
	} else {
		l.tellFault(in, p.fault)
	}
	return in
}

// schedule arranges for an instance to be started when its interface has
// been listened on for long enough. Backup waits Master_Down_Interval anyway:
// that is part of the listening.
func (l *loop) schedule(in *instance, now vrrp.Time) {
	in.reason = reasonListening
	since, ok := l.listening[in.port()]
	if !ok || in.waitsForAll() {
		in.startAt = never // Its sockets are being opened, or its links made.
		return
	}
	down := in.config.MasterDownInterval(in.config.AdvertisementInterval)
	in.startAt = max(now, since.Add(listenTime-down))
	in.claimAt, in.inUse = now, false
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
			l.tellFault(in, p.fault)
		}
		return
	}
	in.placement = p
	switch {
	case in.router == nil:
		in.router = vrrp.NewRouter(p.config)
	case !reflect.DeepEqual(in.applied, p.config):
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
	if in.state() == vrrp.Master && !old.hasAll(p.vips) {
		in.announce.start(now)
	}
}

// hasAll tells whether VIPs are where they were, as their neighbors know them,
// and could be announced there.
func (p *placement) hasAll(vips []placedVIP) bool {
	placed := make(map[netip.Addr]*placedVIP, len(p.vips))
	for i := range p.vips {
		placed[p.vips[i].address] = &p.vips[i]
	}
	for i := range vips {
		was, now := placed[vips[i].address], &vips[i]
		if was == nil || was.on.Index != now.on.Index || !bytes.Equal(was.on.HardwareAddr, now.on.HardwareAddr) ||
			linkFault(was.link) != "" && linkFault(now.link) == "" {
			return false
		}
	}
	return true
}

// start takes an instance out of Initialize, unless its sockets have gone since
// that was arranged, or it would disturb others who use its VRID already.
func (l *loop) start(in *instance, now vrrp.Time) {
	if l.cannotHear(in.port(), true) {
		l.schedule(in, now)
		return
	}
	if !in.started && !in.force {
		if reason, found := l.conflict(in, now); found {
			in.startAt = now.Add(leaseRefresh)
			if !strings.HasPrefix(in.reason, faultVRIDConflict) {
				in.reason = reason
				l.tellFault(in, reason)
			}
			return
		}
	}
	if !in.started && !l.mayStart(in, now) {
		return
	}
	in.startAt, in.started, in.inUse, in.claimAt = never, true, false, now
	l.apply(in, in.router.Startup(now, l.sightings[in.port()].HeardFor(now, in.key.VRID)...), now)
}

// stayAway puts a Backup whose timer is due back into Initialize if, since it was
// started, somebody turned out to use its VRID for something else. Its
// Master_Down_Interval is a part of the listening. Later that is an alarm only:
// else a few packets could keep a Backup from taking over.
func (l *loop) stayAway(in *instance, now vrrp.Time) bool {
	since, ok := l.listening[in.port()]
	listen := max(listenTime, in.config.MasterDownInterval(in.config.AdvertisementInterval))
	if in.state() != vrrp.Backup || in.force || !ok || now.Sub(since) > 2*listen {
		return false
	}
	reason, found := l.conflict(in, now)
	if found {
		l.shutdown(in, reason, now)
		in.startAt, in.started = now.Add(leaseRefresh), false
	}
	return found
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
		l.releaseLater(in, out.Send, now)
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
		l.logOnce(topic{what: r.source}, err.Error(), func() { l.logger.Error(err, "Address or announcement failed") })
	} else {
		delete(l.logged, topic{what: r.source})
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
		if in.state() == vrrp.Master {
			l.noteRemovals(in, r.removed, now)
		}
	}
}

// noteFailures follows which of a Master's addresses are bound. One that is
// not is tried again with every lease refresh, and must not cost the others
// their Master: only a router that can bind none of its addresses gives up,
// and one that could before only when its leases are about to end.
func (l *loop) noteFailures(in *instance, r report, now vrrp.Time) {
	if len(r.failed) == 0 && len(in.failed) == 0 && !in.waits() {
		in.noteHeld(now)
		return
	}
	key, previous, claimed := in.key, in.failed, 0
	in.failed = map[netip.Addr]error{}
	for _, v := range in.vips {
		if !v.claimed() {
			continue
		}
		claimed++
		err := r.failed[v.bound()]
		if v.on.Index == 0 {
			err = l.virtualFailure(v.virtual)
		}
		if err == nil {
			continue
		}
		in.failed[v.address] = err
		if previous[v.address] == nil {
			l.notifier.tell(func() {
				l.logger.Error(err, "Address not bound", "interface", v.link.Name, "family", key.Family, "vrid", key.VRID, "vip", v.address)
			})
		}
	}
	for vip := range previous {
		if in.failed[vip] == nil {
			in.announce.start(now)
		}
	}
	switch n := len(in.failed); {
	case n < claimed || n == 0:
		in.noteHeld(now)
	case in.unbound == 0 && in.held:
		in.unbound = now
	case !in.held || now.Sub(in.unbound) >= 2*leaseRefresh:
		l.fail(in, faultBindFailed, now)
	}
}

// noteHeld follows that an address is bound.
func (in *instance) noteHeld(now vrrp.Time) {
	in.held, in.unbound = true, 0
	if len(in.failed) == 0 && now.Sub(in.changed) > retryMax {
		in.retry = retryMin
	}
}

// tellFault tells of a fault that no change of state comes with: the router is
// in Initialize already.
func (l *loop) tellFault(in *instance, fault string) {
	t := desired.Transition{
		RouterKey: in.key, From: vrrp.Initialize, To: vrrp.Initialize, Reason: fault, Time: wallClock(), VIPs: slices.Clone(in.config.Addresses),
	}
	l.notifier.tell(func() {
		l.logger.Info("Virtual router cannot run", "interface", t.Interface, "family", t.Family, "vrid", t.VRID, "reason", t.Reason)
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
