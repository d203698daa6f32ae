package engine

import (
	"reflect"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// listenTime is how long a port is listened on before the first virtual router
// starts there: routers of VRRPv2 advertise once a second, and three
// advertisements may be lost.
const listenTime = 3200 * time.Millisecond

// assign assigns the virtual routers to interfaces again.
func (l *loop) assign() {
	var s desired.State
	if l.desired != nil {
		s = *l.desired
	}
	before := l.assigned.unplaced
	l.assigned = assign(s, l.links.snapshot.Links, l.macvlans.result)
	l.events.unplaced(before, l.assigned.unplaced)
	l.macvlans.want(l.assigned.macvlans, l.assigned.lacksMacvlan)
	l.sockets.want(l.assigned.interfaces)
}

// configurable reports whether there is a State to run and a node to run it on.
func (l *loop) configurable() bool {
	return l.desired != nil && l.links.snapshot != nil && !l.stopping
}

// configure makes the instances those of the placements. One that stays is
// changed in place and keeps its state.
func (l *loop) configure(now vrrp.Time) {
	running := map[desired.RouterKey]*instance{}
	for _, in := range l.instances {
		running[in.key] = in
	}
	instances := make([]*instance, 0, len(l.assigned.placements))
	l.routers = map[routerKey]*instance{}
	for _, p := range l.assigned.placements {
		in := running[p.key]
		if in != nil && (in.link.Index != p.link.Index || in.config.Version != p.config.Version) {
			in = nil
		}
		if l.links.flaps.hold(&p, now) {
			p.addFault(desired.FaultLinkFlapping, "")
		}
		if l.sockets.deaf(p.port(), in != nil && in.state() != vrrp.Initialize) {
			p.addFault(desired.FaultNotListening, "")
		}
		if in == nil {
			in = newInstance(p)
			l.begin(in, now)
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
			l.remove(in, now)
		}
	}
	l.instances = instances
	l.host.setPolicies(l.heartbeats.policies(instances))
	l.conflicts.configure(instances, now)
	for _, in := range instances {
		if in.phase == phaseVIPInUse {
			in.startAfter(now) // Other addresses may be among its VIPs now.
		}
	}
}

// begin begins the life of a new instance.
func (l *loop) begin(in *instance, now vrrp.Time) {
	if in.faulty() {
		l.events.fault(in)
		return
	}
	in.router, in.applied = vrrp.NewRouter(in.config), in.config
	l.listen(in, now)
}

// remove ends an instance that is not wanted any more.
func (l *loop) remove(in *instance, now vrrp.Time) {
	cause := desired.Cause{Reason: desired.Reason(vrrp.ReasonShutdown)}
	if l.assigned.lacksInterface(&in.placement) {
		cause.Reason = desired.FaultNoInterface
	}
	l.shutdown(in, phaseStopped, cause, now)
	for _, a := range in.alarms {
		l.events.alarm(in, a, false)
	}
}

// reconfigure changes an instance in place.
func (l *loop) reconfigure(in *instance, p placement, now vrrp.Time) {
	old := in.placement
	if p.faulty() {
		idle := in.state() == vrrp.Initialize
		if !old.faulty() {
			// Before the placement changes: the peers know the router by its old address.
			l.shutdown(in, phaseFault, p.fault, now)
		}
		in.placement, in.cause = p, p.fault
		if idle && old.fault != p.fault {
			l.events.fault(in)
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
	case old.faulty():
		in.retry = retryMin
		l.listen(in, now)
	case in.phase == phaseListening:
		l.listen(in, now) // The port may have been listened on since another time.
	}
	if in.state() == vrrp.Master && !old.hasAll(p.vips) {
		in.announce.start(now)
	}
}

// listen arranges for an instance to be started when its port has been listened
// on for long enough. A Backup waits for Master_Down_Interval anyway: that is part
// of the listening.
func (l *loop) listen(in *instance, now vrrp.Time) {
	in.phase, in.cause = phaseListening, desired.Cause{Reason: desired.Listening}
	since, ok := l.sockets.since(in.port())
	if !ok || in.lacksEveryLink() {
		in.startAfter(never) // Its sockets are being opened, or its links made.
		return
	}
	down := in.config.MasterDownInterval(in.config.AdvertisementInterval)
	in.startAfter(max(now, since.Add(listenTime-down)))
}

// start takes an instance out of Initialize, unless its sockets have gone since
// that was arranged, or it would disturb other hosts.
func (l *loop) start(in *instance, now vrrp.Time) {
	if l.sockets.deaf(in.port(), true) {
		l.listen(in, now)
		return
	}
	if !in.started && !l.mayClaim(in, now) {
		return
	}
	in.phase, in.started, in.startAt = phaseRunning, true, never
	in.detector.Begin(now)
	l.apply(in, in.router.Startup(now, l.sockets.heardFor(in.port(), in.key.VRID, now)...), now)
}

// mayClaim reports whether an instance that never ran may use its VRID and any of
// its VIPs. One VIP in use must not cost the others. If not, it is asked again at
// startAt, and the fault is passed on once.
func (l *loop) mayClaim(in *instance, now vrrp.Time) bool {
	if !in.force {
		if cause, found := l.sockets.conflict(in, l.desired.Routers, now); found {
			in.startAfter(now.Add(leaseRefresh))
			if in.phase != phaseVRIDConflict {
				in.phase, in.cause = phaseVRIDConflict, cause
				l.events.fault(in)
			}
			return false
		}
	}
	ready, next := in.detector.Ready()
	if ready {
		return true
	}
	in.startAfter(max(next, now+1))
	if message, all := in.othersHave(); all {
		in.cause = desired.Cause{Reason: desired.FaultVIPInUse, Message: message}
		if in.phase != phaseVIPInUse {
			in.phase = phaseVIPInUse
			l.events.fault(in)
		}
	}
	return false
}

// resignForVRIDConflict puts a Backup whose timer is due back into Initialize if,
// since it was started, another use of its VRID was heard, and reports whether it
// did. Its Master_Down_Interval is a part of the listening. Later that is an alarm
// only: else a few packets could keep a Backup from taking over.
func (l *loop) resignForVRIDConflict(in *instance, now vrrp.Time) bool {
	since, ok := l.sockets.since(in.port())
	listen := max(listenTime, in.config.MasterDownInterval(in.config.AdvertisementInterval))
	if in.state() != vrrp.Backup || in.force || !ok || now.Sub(since) > 2*listen {
		return false
	}
	cause, found := l.sockets.conflict(in, l.desired.Routers, now)
	if found {
		l.shutdown(in, phaseVRIDConflict, cause, now)
		in.startAfter(now.Add(leaseRefresh))
		in.started = false
	}
	return found
}

// fail puts an instance whose node cannot do a Master's work into Initialize, so
// that a peer takes over, and tries again later.
func (l *loop) fail(in *instance, fault desired.Reason, now vrrp.Time) {
	l.shutdown(in, phaseFailed, desired.Cause{Reason: fault}, now)
	in.retryLater(now)
	in.retry = min(2*in.retry, retryMax)
}

// shutdown puts an instance into Initialize. The addresses of a Master are removed
// before priority 0 is advertised.
func (l *loop) shutdown(in *instance, p phase, cause desired.Cause, now vrrp.Time) {
	in.phase = p
	in.startAfter(never)
	if in.state() == vrrp.Initialize {
		in.cause = cause
		return
	}
	out := in.router.Shutdown(now)
	if out.Send != nil {
		l.releases.add(in, out.Send, l.host.next(), now)
		l.host.request()
	}
	if t := out.Transition; t != nil {
		l.changed(in, t.From, t.To, cause, now)
	}
}

// stop ends every instance. Without release the Masters become silent, and their
// addresses are left to the lease.
func (l *loop) stop(now vrrp.Time) {
	l.stopping = true
	if !l.release {
		return
	}
	for _, in := range l.instances {
		l.shutdown(in, phaseStopped, desired.Cause{Reason: desired.Reason(vrrp.ReasonShutdown)}, now)
	}
	l.instances = nil
}
