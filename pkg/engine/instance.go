package engine

import (
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/conflict"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// sendFailuresAllowed is how many advertisements in a row may fail to go out:
	// the peers take over after missing as many.
	sendFailuresAllowed = 3
	// retryMin and retryMax bound the pause after which a router that failed is
	// started again; it doubles each time.
	retryMin = time.Second
	retryMax = 30 * time.Second
)

// phase is what an instance is doing.
type phase uint8

// In all phases but running the router is in Initialize.
const (
	// phaseFault: the assignedRouter has a fault. It ends with the assignedRouter's.
	phaseFault phase = iota
	// phaseListening: the port is opened and listened on, and the VIPs are probed
	// at the end, until startAt.
	phaseListening
	// phaseVRIDConflict: others use the VRID. It is looked at again at startAt.
	phaseVRIDConflict
	// phaseVIPInUse: others have all VIPs. They are probed again until startAt.
	phaseVIPInUse
	// phaseFailed: the node could not do a Master's work. The router starts again
	// at startAt.
	phaseFailed
	// phaseRunning: the router is Backup or Master.
	phaseRunning
	// phaseStopped: the instance is not wanted any more.
	phaseStopped
)

// instance is a virtual router on an interface.
type instance struct {
	// The loop looks at these fields in every iteration, so they are next to each
	// other. router is nil until the assignedRouter has been without a fault once;
	// startAt is the time to start it, never if it runs or cannot.
	router   *vrrp.Router
	startAt  vrrp.Time
	announce announceSchedule
	detector conflict.Detector

	assignedRouter
	// applied is the router's configuration, which stays behind the assignedRouter's
	// during a fault.
	applied vrrp.Config
	phase   phase
	// cause says why the router is in its state, since when it has been; changed
	// is since on the clock for decisions.
	cause   desired.Cause
	since   time.Time
	changed vrrp.Time
	// started reports whether the router has run: another use of its VRID or its
	// VIPs does not keep it from starting again, after retry if it failed.
	started bool
	retry   time.Duration

	// advertised reports whether an advertisement went out since the router became
	// Master: until then it holds and announces nothing. sendFailures counts those
	// that failed since the last one that went out.
	advertised   bool
	sendFailures int
	// generation is that of the first hostState with the addresses.
	generation uint64
	binding    binding
	removals   removals

	// alarms are those that are on, each reason once. vridConflict is the time
	// since which the VRID has another use; never if it has none.
	alarms       []desired.Alarm
	vridConflict vrrp.Time
}

func newInstance(p assignedRouter) *instance {
	in := &instance{
		assignedRouter: p, cause: p.fault, since: wallClock(), startAt: never, retry: retryMin,
		detector: conflict.NewDetector(), vridConflict: never,
	}
	in.announce.stop()
	return in
}

// deadline returns the time at which there is something to do for the instance.
func (in *instance) deadline() vrrp.Time {
	next := min(in.startAt, in.announce.next, in.detector.Deadline())
	if d, ok := in.timer(); ok {
		next = min(next, d)
	}
	return next
}

// timer returns the deadline of the router's one timer.
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

// startAfter sets the time to start the router; its VIPs are probed just before.
func (in *instance) startAfter(at vrrp.Time) {
	in.startAt = at
	if at == never {
		in.detector.Begin(never)
		return
	}
	in.detector.Begin(at.Add(-conflict.ProbeTime))
}

// retryLater puts off the start of a router whose node cannot do a Master's work.
func (in *instance) retryLater(now vrrp.Time) { in.startAfter(now.Add(in.retry)) }

// isMaster reports whether the router is Master and was heard: it holds its VIPs.
func (in *instance) isMaster() bool { return in.state() == vrrp.Master && in.advertised }

// healthy reports whether the router is a Master that its peers hear, as far as is
// known.
func (in *instance) healthy() bool { return in.isMaster() && in.sendFailures == 0 }

// available reports whether no other host has the VIP with the index i. It may be
// called from the end of loop.configure until the assignedRouter changes again: the
// detector knows the VIPs by their index.
func (in *instance) available(i int) bool { return in.detector.State(i) == conflict.Available }

// appendHeld appends the addresses that the instance is to have on the host.
func (in *instance) appendHeld(all []host.VirtualAddress) []host.VirtualAddress {
	if !in.isMaster() {
		return all
	}
	for i, v := range in.vips {
		if in.available(i) && v.on.Index != 0 {
			all = append(all, v.bound())
		}
	}
	return all
}

// yield forgets what belongs to a Master.
func (in *instance) yield() {
	in.announce.stop()
	in.detector.Yield()
	in.sendFailures, in.advertised = 0, false
}

// destinations are the addresses that advertisements go to.
func (in *instance) destinations() []netip.Addr {
	if in.config.Unicast {
		return in.config.Peers
	}
	return groups[in.key.Family]
}

// groups are made once: sending ten times a second must not allocate.
var groups = map[vrrp.Family][]netip.Addr{vrrp.IPv4: {vrrp.GroupIPv4}, vrrp.IPv6: {vrrp.GroupIPv6}}
