package engine

import (
	"reflect"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

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

// configure makes the instances those that are assigned. One that stays is
// changed in place and keeps its state.
func (l *loop) configure(now vrrp.Time) {
	running := map[desired.RouterKey]*instance{}
	for _, in := range l.instances {
		running[in.key] = in
	}
	instances := make([]*instance, 0, len(l.assigned.routers))
	l.routers = map[routerKey]*instance{}
	for _, p := range l.assigned.routers {
		in := running[p.key]
		if in != nil && (in.link.Index != p.link.Index || in.config.Version != p.config.Version) {
			in = nil
		}
		if l.links.flaps.mustWait(&p, now) {
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
	if l.assigned.lacksInterface(&in.assignedRouter) {
		cause.Reason = desired.FaultNoInterface
	}
	l.shutdown(in, phaseStopped, cause, now)
	for _, a := range in.alarms {
		l.events.alarm(in, a, false)
	}
}

// reconfigure changes an instance in place.
func (l *loop) reconfigure(in *instance, p assignedRouter, now vrrp.Time) {
	old := in.assignedRouter
	if p.faulty() {
		idle := in.state() == vrrp.Initialize
		if !old.faulty() {
			// Before the assignedRouter changes: the peers know the router by its old address.
			l.shutdown(in, phaseFault, p.fault, now)
		}
		in.assignedRouter, in.cause = p, p.fault
		if idle && old.fault != p.fault {
			l.events.fault(in)
		}
		return
	}
	in.assignedRouter = p
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
