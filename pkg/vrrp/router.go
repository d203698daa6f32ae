package vrrp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Router is the state machine of one virtual router (RFC 9568 section 6.4). Its
// state depends only on the calls made to it. It is not safe for concurrent use.
type Router struct {
	// config is a copy of the configuration last set.
	config Config
	// state is the current state, reason and since are those of the last
	// transition.
	state  State
	reason Reason
	since  Time

	// deadline is when the running timer fires: Master_Down_Timer in Backup,
	// Adver_Timer in Master. The two never run together.
	deadline Time
	// timerBase is the instant that deadline is counted from.
	timerBase Time
	// nextWake is when a Backup wakes up next even if no timer fires. How late
	// it wakes up shows how long it could not listen.
	nextWake Time
	// promoteReason is the reason of the transition to Master that
	// Master_Down_Timer leads to.
	promoteReason Reason
	// stallRearmAfter is the earliest time at which a stall may restart
	// Master_Down_Timer.
	stallRearmAfter Time
	// lastSent is the time of our last advertisement.
	lastSent Time
	// answerAfter is the earliest time of the next answer to a Master of lower
	// priority.
	answerAfter Time

	// masterAdverInterval is Master_Adver_Interval.
	masterAdverInterval time.Duration
	// intervalLearned reports whether masterAdverInterval comes from an
	// advertisement.
	intervalLearned bool
	// master and masterPriority are the source and the priority of the last
	// advertisement of another Master.
	master         netip.Addr
	masterPriority uint8
	// rankPriority is the last priority of that Master that is not 0: the one
	// from before it resigned.
	rankPriority uint8
	// heard reports whether another Master was heard since Startup, and
	// lastHeard when last.
	heard     bool
	lastHeard Time
	// preemptible reports whether a Backup hears a Master of lower priority,
	// and preemptibleSince since when: PreemptDelay counts from then.
	preemptible      bool
	preemptibleSince Time

	// lists are our address list and the adopted one.
	lists addressLists
	// peers is config.Peers, sorted.
	peers []netip.Addr
	// detectors has what was seen of each reason for an Alarm.
	detectors detectors
	// fullList detects a Master of lower priority that keeps advertising our
	// full list: see keepsFullList.
	fullList detector
	// statistics are the counters.
	statistics statistics
	// advert is the advertisement that Output.Send points to.
	advert Advertisement
}

// NewRouter returns a Router in Initialize. It panics if c is not valid.
func NewRouter(c Config) *Router {
	r := &Router{}
	r.configure(c)
	return r
}

// configure sets the configuration to a copy of c.
func (r *Router) configure(c Config) {
	if err := c.Validate(); err != nil {
		panic(fmt.Sprintf("vrrp: invalid config: %v", err))
	}
	c.Addresses, c.Peers = slices.Clone(c.Addresses), slices.Clone(c.Peers)
	r.config = c
	r.lists.configure(c)
	r.peers = slices.Clone(c.Peers)
	slices.SortFunc(r.peers, netip.Addr.Compare)
	// With version 2 the Master has our interval, or will have it soon: a Master
	// that changed to a longer interval before us was discarded until now.
	if !r.intervalLearned || c.Version == V2 && c.AdvertisementInterval > r.masterAdverInterval {
		r.masterAdverInterval = c.AdvertisementInterval
	}
}

// Startup is the event Startup (RFC 9568 section 6.4.1): Initialize to Backup.
// In another state it does nothing.
//
// observed are the routers observed on the interface before. The RFC starts
// without them, and takes over from a Master that advertises less often than we do
// before its next advertisement. A Master that cannot be down yet therefore counts
// as if a Backup had heard it.
func (r *Router) Startup(now Time, observed ...ObservedRouter) Output {
	if r.state != Initialize {
		return Output{}
	}
	r.master, r.masterPriority = netip.Addr{}, 0
	r.heard, r.lastHeard = false, 0
	r.stallRearmAfter = now
	r.forgetInterval()
	out := r.becomeBackup(now, now, ReasonStartup)
	r.applyObserved(now, observed)
	return out
}

// applyObserved processes the advertisements observed before Startup. It can only
// lengthen Master_Down_Timer.
func (r *Router) applyObserved(now Time, observed []ObservedRouter) {
	c := &r.config
	earliest := r.deadline
	slices.SortStableFunc(observed, func(a, b ObservedRouter) int { return cmp.Compare(a.Last, b.Last) })
	for _, s := range observed {
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
// Initialize. A Master resigns. This is the one Output whose addresses must be
// removed from the interface BEFORE Send goes out: the next Master may add them
// less than a millisecond later.
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

// Expire fires the timer if it is due, and does nothing before. Call it AFTER
// Receive for every packet that the sockets hold, and AFTER Stalled.
func (r *Router) Expire(now Time) Output {
	switch {
	case r.state == Backup && now >= r.deadline:
		return r.becomeMaster(now)
	case r.state == Backup && now >= r.nextWake:
		r.nextWake = now.Add(r.masterAdverInterval)
	case r.state == Master && now >= r.deadline:
		// The schedule is absolute: a late advertisement does not delay the
		// next ones, and missed ones are skipped.
		period := r.config.adverTimer()
		missed := now.Sub(r.deadline) / period
		r.deadline = r.deadline.Add((missed + 1) * period)
		return Output{Send: r.advertise(now, r.config.Priority)}
	}
	return Output{}
}

// Coalesce sends the next advertisement early if it is due within a sixteenth of
// its interval. The interval on the wire is a maximum, so an early advertisement
// is valid. The advertisements of many routers that are due at about the same time
// then go out together, and stay together. Call it when the loop is awake for
// another advertisement anyway. An answer to a resignation is never sent early:
// otherwise a flood of resignations would set the rate of the answers.
func (r *Router) Coalesce(now Time) Output {
	period := r.config.adverTimer()
	if r.state != Master || now < max(r.deadline.Add(-period/16), r.lastSent.Add(period/2)) {
		return Output{}
	}
	r.deadline = now.Add(period)
	return Output{Send: r.advertise(now, r.config.Priority)}
}

// Deadline returns when Expire must be called next; the lateness given to Stalled
// is measured from it. It returns false in Initialize, where no timer runs.
//
// A Backup wakes up after each advertisement that is due, even if it did not come.
// If only Master_Down_Timer woke it up, a host that was suspended for four
// advertisements would be only a little late for that timer, and take over from a
// Master that is up.
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

// Stalled tells the router that the event loop woke up late after Deadline, and
// that the packets in the sockets have been received since. Silence counts as
// evidence only for a time in which the router could listen. Call Stalled however
// late the loop is: lateness up to backupStall or masterStall, about two intervals,
// does nothing.
//
// A Backup restarts Master_Down_Timer, at most once per second and not twice in a
// row: otherwise a host that stalls all the time would never take over. A Master
// announces its addresses again, because another Master may have announced them
// during the stall. Without Preempt_Mode, or with a PreemptDelay, it becomes Backup
// if the stall was so long that another Master must be expected.
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

// SetConfig changes the configuration. It panics if c is not valid or has another
// Version, Family or VRID. It never changes the state: a Backup's timer goes on
// from where it is, and a Master advertises a change at once.
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
		// A shorter Master_Down_Interval may be over already, or nearly. Then
		// Skew_Time is left, or less if the timer was due earlier anyway, so
		// that Backups changed together do not take over together.
		floor, wake := min(r.deadline, now.Add(r.skewTime())), r.nextWake
		if r.promoteReason == ReasonPreempted && !r.preempts(r.lastHeard, r.masterPriority) {
			// A Master observed before Startup does not shorten the timer.
			r.armMasterDown(max(r.lastHeard, r.timerBase), ReasonMasterDown)
		} else {
			r.armMasterDown(r.timerBase, r.promoteReason)
		}
		r.deadline = max(r.deadline, floor)
		// The change alone must not make a Backup look stalled.
		r.nextWake = max(r.nextWake, min(wake, now.Add(r.masterAdverInterval)))
	case r.state == Master && (!sameOnWire(old, c) || !slices.Equal(advertised, r.lists.advertised())):
		r.deadline, r.answerAfter = now.Add(c.adverTimer()), now
		return Output{Send: r.advertise(now, c.Priority)}
	case r.state == Master:
		r.deadline = min(r.deadline, now.Add(c.adverTimer()))
	}
	return Output{}
}

// becomeMaster is the transition of RFC 9568 section 6.4.2 when Master_Down_Timer
// fires.
func (r *Router) becomeMaster(now Time) Output {
	r.deadline = now.Add(r.config.adverTimer())
	r.answerAfter = now
	r.statistics.masterTransitions++
	return Output{
		Send:       r.advertise(now, r.config.Priority),
		Transition: r.become(Master, now, r.promoteReason),
	}
}

// becomeBackup is the transition to Backup. It starts Master_Down_Timer, counted
// from an instant that may be in the past.
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

// armMasterDown starts Master_Down_Timer, counted from an instant that may be in
// the past: for Skew_Time if the Master resigned, else for Master_Down_Interval.
// reason is that of the transition to Master when it fires.
func (r *Router) armMasterDown(from Time, reason Reason) {
	wait := r.config.MasterDownInterval(r.masterAdverInterval) + r.takeoverDelay()
	if reason == ReasonMasterResigned {
		wait = r.skewTime()
	}
	r.timerBase, r.deadline, r.promoteReason = from, from.Add(wait), reason
	r.nextWake = from.Add(r.masterAdverInterval + grace(r.masterAdverInterval))
}

// skewTime returns how long a Backup waits after the Master resigned.
func (r *Router) skewTime() time.Duration {
	return r.config.SkewTime(r.masterAdverInterval) + r.takeoverDelay()
}

// takeoverDelay returns TakeoverDelay, without the TakeoverStep of the Master last
// heard if that is a peer preferred to us: it has gone.
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

// outranks reports whether Preempt_Mode lets a Backup take over from a Master of
// priority p.
func (r *Router) outranks(p uint8) bool {
	return r.config.Preempt && p < r.config.Priority
}

// preempts reports whether a Backup that hears a Master of priority p takes over
// from it. It does once PreemptDelay has passed since the first advertisement of
// lower priority; until then it behaves as without Preempt_Mode.
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

// toleratesLowerMaster reports whether a Master of lower priority that took over
// during a stall stays Master, at least for PreemptDelay.
func (r *Router) toleratesLowerMaster() bool {
	return !r.config.Preempt || r.config.PreemptDelay > 0
}

// isPeer reports whether a is the address of a known member.
func (r *Router) isPeer(a netip.Addr) bool {
	_, found := slices.BinarySearchFunc(r.peers, a, netip.Addr.Compare)
	return found
}

// mayBePeer reports whether a may be the address of a member: any address may if no
// peers are known.
func (r *Router) mayBePeer(a netip.Addr) bool { return len(r.peers) == 0 || r.isPeer(a) }

// missedByPeers reports whether our last advertisement is so old that a peer must
// be expected to have become Master.
func (r *Router) missedByPeers(now Time) bool {
	return now.Sub(r.lastSent) > r.config.shortestMasterDownInterval()
}

// advertise returns an advertisement of priority p to be sent at now.
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

// sameOnWire reports whether the advertisements of a and b are the same and have
// the same receivers, apart from the addresses in them.
func sameOnWire(a, b Config) bool {
	return a.Priority == b.Priority && a.AdvertisementInterval == b.AdvertisementInterval &&
		a.Source == b.Source && a.Checksum == b.Checksum && a.Password == b.Password &&
		a.Unicast == b.Unicast && (!a.Unicast || slices.Equal(a.Peers, b.Peers))
}
