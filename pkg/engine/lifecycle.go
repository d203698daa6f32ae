package engine

import (
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// listenTime is how long a port is listened on before the first virtual router
// starts there: routers of VRRPv2 advertise once a second, and three
// advertisements may be lost.
const listenTime = 3200 * time.Millisecond

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
		if cause, found := l.sockets.vridConflict(in, l.desired.Routers, now); found {
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
	cause, found := l.sockets.vridConflict(in, l.desired.Routers, now)
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
