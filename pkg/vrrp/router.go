package vrrp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Router is the state machine of one virtual router (RFC 9568 section 6.4).
// It is a value of its calls alone and not safe for concurrent use.
type Router struct {
	config Config
	state  State
	reason Reason
	since  Time

	// deadline is Master_Down_Timer in Backup and Adver_Timer in Master; they
	// never run together. armed is the instant that it counts from.
	deadline  Time
	timerBase Time
	// awake is when a Backup is to be awake next, whether or not anything
	// happens: how late it is then tells how long it could not listen.
	nextWake Time
	// promotion is why the router becomes Master when Master_Down_Timer fires.
	promoteReason Reason
	// mayRearm is when a stall may arm Master_Down_Timer anew.
	stallRearmAfter Time
	// sent is when our last advertisement went out, mayAnswer when the next
	// one may be sent to a Master of lower priority.
	lastSent    Time
	answerAfter Time

	// masterAdverInterval is Master_Adver_Interval; learned tells that it is
	// from an advertisement. The rest is about the Master last heard.
	masterAdverInterval time.Duration
	intervalLearned     bool
	master              netip.Addr
	masterPriority      uint8
	// rankPriority is that Master's too, from before it resigned.
	rankPriority uint8
	heard        bool
	lastHeard    Time
	// preemptible tells that a Master of lower priority was heard, and
	// preemptibleSince when that was first: PreemptDelay counts from then.
	preemptible      bool
	preemptibleSince Time

	lists      addressLists
	peers      []netip.Addr // config.Peers, sorted
	detectors  detectors
	fullList   detector // of obeying a peer of lower priority: see insists
	statistics statistics
	advert     Advertisement // Output.Send
}

// NewRouter returns a Router in Initialize. It panics if c is not valid.
func NewRouter(c Config) *Router {
	r := &Router{}
	r.configure(c)
	return r
}

// configure takes in a copy of c.
func (r *Router) configure(c Config) {
	if err := c.Validate(); err != nil {
		panic(fmt.Sprintf("vrrp: invalid config: %v", err))
	}
	c.Addresses, c.Peers = slices.Clone(c.Addresses), slices.Clone(c.Peers)
	r.config = c
	r.lists.configure(c)
	r.peers = slices.Clone(c.Peers)
	slices.SortFunc(r.peers, netip.Addr.Compare)
	// With version 2 the Master has our interval, or is about to: one that has
	// changed to a longer one before us was not heard with it yet.
	if !r.intervalLearned || c.Version == V2 && c.AdvertisementInterval > r.masterAdverInterval {
		r.masterAdverInterval = c.AdvertisementInterval
	}
}

// Startup is the event Startup (RFC 9568 section 6.4.1): Initialize to Backup.
// In another state it does nothing.
//
// heard are those who were heard on the interface before. The RFC knows nobody
// then, and takes over from a Master that advertises less often than we do
// before it is heard again. One that cannot be down yet is therefore a Master
// like any that a Backup hears.
func (r *Router) Startup(now Time, heard ...ObservedRouter) Output {
	if r.state != Initialize {
		return Output{}
	}
	r.master, r.masterPriority = netip.Addr{}, 0
	r.heard, r.lastHeard = false, 0
	r.stallRearmAfter = now
	r.forgetInterval()
	out := r.becomeBackup(now, now, ReasonStartup)
	r.applyObserved(now, heard)
	return out
}

// recall takes in what was heard before Startup. It makes Master_Down_Timer run
// for longer, never shorter.
func (r *Router) applyObserved(now Time, heard []ObservedRouter) {
	c := &r.config
	earliest := r.deadline
	slices.SortStableFunc(heard, func(a, b ObservedRouter) int { return cmp.Compare(a.Last, b.Last) })
	for _, s := range heard {
		if s.Family != c.Family || s.VRID != c.VRID || s.Version != c.Version || s.Source == c.Source ||
			c.Unicast && !r.isPeer(s.Source) || s.Interval == 0 || s.Priority == PriorityResign {
			continue
		}
		if now.Sub(s.Last) < c.MasterDownInterval(c.boundInterval(s.Interval)) {
			a := Advertisement{Priority: s.Priority, Interval: s.Interval, Addresses: s.Addresses}
			r.receiveAsBackup(s.Last, s.Source, &a, r.lists.compare(a.Addresses))
		}
	}
	if r.deadline < earliest {
		r.forgetInterval()
		r.armMasterDown(now, r.promoteReason)
	}
	r.nextWake = max(r.nextWake, now.Add(grace(r.masterAdverInterval)))
}

// Shutdown is the event Shutdown (RFC 9568 sections 6.4.2 and 6.4.3): to
// Initialize. A Master resigns; this is the one Output whose addresses should
// be gone from the interface before Send goes out, for the next Master may be
// up less than a millisecond later.
func (r *Router) Shutdown(now Time) Output {
	if r.state == Initialize {
		return Output{}
	}
	var send *Advertisement
	if r.state == Master {
		send = r.advertise(now, PriorityResign)
		r.statistics.priorityZeroSent++
	}
	return Output{Send: send, Transition: r.become(Initialize, now, ReasonShutdown)}
}

// Expire fires the timer if its time has come, and does nothing before. Call it
// after Receive for all that the sockets hold, and after Stalled.
func (r *Router) Expire(now Time) Output {
	switch {
	case r.state == Backup && now >= r.deadline:
		return r.becomeMaster(now)
	case r.state == Backup && now >= r.nextWake:
		r.nextWake = now.Add(r.masterAdverInterval)
	case r.state == Master && now >= r.deadline:
		// The schedule is absolute: being late once does not delay what
		// follows, and what was missed is not made up for.
		period := r.config.adverTimer()
		missed := now.Sub(r.deadline) / period
		r.deadline = r.deadline.Add((missed + 1) * period)
		return Output{Send: r.advertise(now, r.config.Priority)}
	}
	return Output{}
}

// Coalesce sends the advertisement that is due within a sixteenth of its interval.
// The interval on the wire is a maximum, so it may go out sooner: those of many
// routers that are due at about the same time then go out together, and once
// they do they stay together. Call it when the loop is awake for another
// advertisement anyway. The answer to a resignation is not sent early, or else a
// flood of those would be answered at any rate.
func (r *Router) Coalesce(now Time) Output {
	period := r.config.adverTimer()
	if r.state != Master || now < max(r.deadline.Add(-period/16), r.lastSent.Add(period/2)) {
		return Output{}
	}
	r.deadline = now.Add(period)
	return Output{Send: r.advertise(now, r.config.Priority)}
}

// Deadline is when Expire must be called next, and what to measure lateness by
// for Stalled. It is false in Initialize, where no timer runs.
//
// A Backup is to be awake after each advertisement that is due, even if none
// came. If Master_Down_Timer alone woke it up, a host that was suspended for
// four advertisements would find itself only a little late for it, and take
// over from a Master that never went away.
func (r *Router) Deadline() (Time, bool) {
	switch r.state {
	case Backup:
		return min(r.deadline, r.nextWake), true
	case Master:
		return r.deadline, true
	case Initialize:
	}
	return 0, false
}

// Stalled says that the caller's loop stood still until late after the instant
// it should have woken up at, and that what the sockets held has been received
// since. Silence counts only for time in which we could listen, so it is not
// evidence of anything. A stall is to wake up about two intervals after the
// advertisement that was to be sent or heard, too late for three in a row; less
// does no harm. A Master that sends more often than once per interval has so
// much more time.
//
// A Backup starts its Master_Down_Timer anew, at most once per second and not
// twice in a row, or else a host that stalls all the time would never take
// over. A Master announces its addresses again, for another may have had them
// in the meantime; without Preempt_Mode, or with a PreemptDelay, it makes way
// for that one.
func (r *Router) Stalled(now Time, late time.Duration) Output {
	switch {
	case r.state == Backup && late > backupStall(r.masterAdverInterval):
		if now >= r.stallRearmAfter {
			r.armMasterDown(now, ReasonMasterDown)
			r.stallRearmAfter = now.Add(max(time.Second, 2*r.deadline.Sub(now)))
		}
	case r.state == Master && late > r.config.masterStall():
		if r.toleratesLowerMaster() && r.missedByPeers(now) {
			// The Master last heard was ourselves.
			if !r.heard || r.lastHeard < r.lastSent {
				r.heard, r.lastHeard = true, r.lastSent
			}
			r.forgetInterval()
			return r.becomeBackup(now, now, ReasonStalled)
		}
		r.deadline = now.Add(r.config.adverTimer())
		return Output{Send: r.advertise(now, r.config.Priority), Announce: true}
	}
	return Output{}
}

// SetConfig changes the configuration, which must be valid and of the same
// Version, Family and VRID; else it panics. It never changes the state by
// itself: a Backup's timer goes on from where it is, and a Master advertises
// at once what others do not know yet.
func (r *Router) SetConfig(now Time, c Config) Output {
	old := r.config
	if c.Version != old.Version || c.Family != old.Family || c.VRID != old.VRID {
		panic(fmt.Sprintf("vrrp: version %d, family %d, VRID %d of a running router changed to %d, %d, %d",
			old.Version, old.Family, old.VRID, c.Version, c.Family, c.VRID))
	}
	r.lists.expire(now)
	advertised := r.lists.advertised()
	r.configure(c)
	switch {
	case r.state == Backup:
		// A shorter Master_Down_Interval may already be over, or nearly. Then
		// Skew_Time is left, unless the timer was to fire sooner anyway, so
		// that Backups changed together do not take over together.
		floor, wake := min(r.deadline, now.Add(r.skewTime())), r.nextWake
		if r.promoteReason == ReasonPreempted && !r.preempts(r.lastHeard, r.masterPriority) {
			// One heard before Startup does not shorten what is waited since.
			r.armMasterDown(max(r.lastHeard, r.timerBase), ReasonMasterDown)
		} else {
			r.armMasterDown(r.timerBase, r.promoteReason)
		}
		r.deadline = max(r.deadline, floor)
		// Who was awake in time has not stood still because of this.
		r.nextWake = max(r.nextWake, min(wake, now.Add(r.masterAdverInterval)))
	case r.state == Master && (!sameOnWire(old, c) || !slices.Equal(advertised, r.lists.advertised())):
		r.deadline, r.answerAfter = now.Add(c.adverTimer()), now
		return Output{Send: r.advertise(now, c.Priority)}
	case r.state == Master:
		r.deadline = min(r.deadline, now.Add(c.adverTimer()))
	}
	return Output{}
}

// becomeMaster is row "Master_Down_Timer fires" of RFC 9568 section 6.4.2.
func (r *Router) becomeMaster(now Time) Output {
	r.deadline = now.Add(r.config.adverTimer())
	r.answerAfter = now
	r.statistics.masterTransitions++
	return Output{
		Send:       r.advertise(now, r.config.Priority),
		Transition: r.become(Master, now, r.promoteReason),
	}
}

// becomeBackup starts Master_Down_Timer, counted from an instant that may be
// some time ago.
func (r *Router) becomeBackup(now, from Time, reason Reason) Output {
	r.armMasterDown(from, ReasonMasterDown)
	r.preemptible = false
	return Output{Transition: r.become(Backup, now, reason)}
}

func (r *Router) become(s State, now Time, reason Reason) *Transition {
	t := &Transition{From: r.state, To: s, Reason: reason}
	r.detectors.reset(detectSplitBrain)
	r.detectors.reset(detectPeerDeaf)
	r.state, r.reason, r.since = s, reason, now
	return t
}

// armMasterDown runs Master_Down_Timer from an instant on, to end in a
// promotion for the reason given: after Skew_Time if a Master resigned, else
// after Master_Down_Interval.
func (r *Router) armMasterDown(from Time, reason Reason) {
	wait := r.config.MasterDownInterval(r.masterAdverInterval) + r.takeoverDelay()
	if reason == ReasonMasterResigned {
		wait = r.skewTime()
	}
	r.timerBase, r.deadline, r.promoteReason = from, from.Add(wait), reason
	r.nextWake = from.Add(r.masterAdverInterval + grace(r.masterAdverInterval))
}

// skewTime is how long to wait after a Master resigned.
func (r *Router) skewTime() time.Duration {
	return r.config.SkewTime(r.masterAdverInterval) + r.takeoverDelay()
}

// takeoverDelay is TakeoverDelay without what the Master that has gone had its
// part in.
func (r *Router) takeoverDelay() time.Duration {
	preferred := r.heard && (r.rankPriority > r.config.Priority ||
		r.rankPriority == r.config.Priority && r.master.Compare(r.config.Source) > 0)
	if !preferred || !r.isPeer(r.master) {
		return r.config.TakeoverDelay
	}
	return max(r.config.TakeoverDelay-r.config.TakeoverStep, 0)
}

func (r *Router) forgetInterval() {
	r.masterAdverInterval, r.intervalLearned = r.config.AdvertisementInterval, false
}

// outranks tells whether a Backup is to take over from a Master of priority p.
func (r *Router) outranks(p uint8) bool {
	return r.config.Preempt && p < r.config.Priority
}

// preempts tells whether a Backup that hears a Master of priority p is to take
// over: not before PreemptDelay has run since the first of lower priority was
// heard. Until then it is as if without Preempt_Mode.
func (r *Router) preempts(heard Time, p uint8) bool {
	if !r.outranks(p) {
		r.preemptible = false
		return false
	}
	if !r.preemptible {
		r.preemptible, r.preemptibleSince = true, heard
	}
	return heard.Sub(r.preemptibleSince) >= r.config.PreemptDelay
}

// leavesAlone tells whether a Master of lower priority that took over while we
// stood still is to stay, for some time at least.
func (r *Router) toleratesLowerMaster() bool {
	return !r.config.Preempt || r.config.PreemptDelay > 0
}

// isPeer tells whether a is the address of a known member.
func (r *Router) isPeer(a netip.Addr) bool {
	_, found := slices.BinarySearchFunc(r.peers, a, netip.Addr.Compare)
	return found
}

// mayBePeer is isPeer for where a member need not be a known one: if no peers
// are known, anybody may be one.
func (r *Router) mayBePeer(a netip.Addr) bool { return len(r.peers) == 0 || r.isPeer(a) }

// silent tells whether the peers have not heard us for so long that one of
// them must be expected to be Master.
func (r *Router) missedByPeers(now Time) bool {
	return now.Sub(r.lastSent) > r.config.shortestMasterDownInterval()
}

// advertise returns an advertisement of priority p to send now.
func (r *Router) advertise(now Time, p uint8) *Advertisement {
	r.timerBase, r.lastSent = now, now
	r.statistics.sent++
	r.lists.expire(now)
	r.advert = Advertisement{
		Version:   r.config.Version,
		VRID:      r.config.VRID,
		Priority:  p,
		Interval:  r.config.AdvertisementInterval,
		Addresses: r.lists.advertised(),

		Checksum:       r.config.Checksum,
		Authentication: r.config.authentication(),
		Password:       r.config.Password,
	}
	return &r.advert
}

// sameOnWire tells whether others see no difference between a and b, but for
// the addresses.
func sameOnWire(a, b Config) bool {
	return a.Priority == b.Priority && a.AdvertisementInterval == b.AdvertisementInterval &&
		a.Source == b.Source && a.Checksum == b.Checksum && a.Password == b.Password &&
		a.Unicast == b.Unicast && (!a.Unicast || slices.Equal(a.Peers, b.Peers))
}
