package vrrp

import "net/netip"

// Receive processes an advertisement that Parse accepted. arrived is the time at
// which the kernel received the packet, at most now: the timers count from
// arrived, however long the packet waited in the socket. Receive does not keep
// the addresses of a.
func (r *Router) Receive(now, arrived Time, h Header, a *Advertisement) Output {
	source := h.Source
	if d := r.checkAdvertisement(h, a); d != DiscardNone {
		r.Discard(now, h, d)
		return Output{}
	}
	list := r.lists.compare(a.Addresses)
	r.countReceived(a, list)
	r.observeAdvertisement(now, source, a, list)
	// Packet timestamps come from another clock. They are clamped between the
	// start of the running timer and now, so that a jump of that clock cannot
	// make a timer fire.
	arrived = min(max(arrived, r.timerBase), now)

	if r.state == Master {
		return r.receiveAsMaster(now, arrived, source, a, list)
	}
	r.receiveAsBackup(arrived, source, a, list)
	return Output{}
}

// receiveAsBackup implements RFC 9568 section 6.4.2. An equal priority counts as
// higher, whatever the source addresses.
func (r *Router) receiveAsBackup(arrived Time, source netip.Addr, a *Advertisement, list listMatch) {
	r.recordMaster(arrived, source, a)
	r.adoptList(arrived, source, a.Addresses, list, true)
	switch {
	case a.Priority == PriorityResign:
		// The timer is only ever shortened: otherwise each copy of a resignation
		// would delay the takeover.
		if end := arrived.Add(r.skewTime()); end < r.deadline {
			r.armMasterDown(arrived, ReasonMasterResigned)
		}
	case !r.preempts(arrived, a.Priority):
		r.learnInterval(a)
		r.armMasterDown(arrived, ReasonMasterDown)
	case r.promoteReason == ReasonMasterDown:
		// The sender stays Master until the running timer fires.
		r.promoteReason = ReasonPreempted
	}
}

// receiveAsMaster implements RFC 9568 section 6.4.3. Another Master may have
// announced the addresses as its own, so they are always announced again.
func (r *Router) receiveAsMaster(now, arrived Time, source netip.Addr, a *Advertisement, list listMatch) Output {
	better := a.Priority > r.config.Priority ||
		a.Priority == r.config.Priority && source.Compare(r.config.Source) > 0
	r.recordMaster(arrived, source, a)
	if list == listFull && !better {
		r.countFullList(now, source, a)
	}
	staysMaster := better || list == listFull && r.keepsFullList(source)
	r.adoptList(arrived, source, a.Addresses, list, staysMaster)
	switch {
	case a.Priority == PriorityResign:
		return Output{Send: r.answerResigned(now), Announce: true}
	case better:
		return r.yield(now, arrived, a)
	case r.toleratesLowerMaster() && r.missedByPeers(now):
		// The sender took over while this node stalled, and stays Master.
		r.learnInterval(a)
		return r.becomeBackup(now, arrived, ReasonStalled)
	default:
		r.statistics.warnings[warningOtherMaster]++
		r.observeOtherMaster(now, source, a)
		return Output{Send: r.answerLower(now), Announce: true}
	}
}

// yield becomes Backup because a is from a better Master. Before that it sends
// one last advertisement, which RFC 9568 does not have: after a partition the
// winner may not know that we were Master too and that hosts send to us, and this
// advertisement makes it announce its addresses again. It carries the winner's
// interval, because other Backups may use it until they hear the winner. A Master
// that stalled past Master_Down_Interval sends nothing, since it has announced
// nothing since it was replaced.
func (r *Router) yield(now, arrived Time, a *Advertisement) Output {
	var last *Advertisement
	if !r.missedByPeers(now) {
		last = r.advertise(now, r.config.Priority)
		last.Interval = a.Interval
	}
	r.learnInterval(a)
	out := r.becomeBackup(now, arrived, ReasonHigherPriority)
	out.Send = last
	return out
}

// answerResigned answers the resignation of another Master, so that the Backups
// that heard it learn that a Master is left. They wait for Skew_Time, so an answer
// within half of the shortest Skew_Time is in time. This limits the rate of
// answers to a flood of resignations.
func (r *Router) answerResigned(now Time) *Advertisement {
	if next := r.lastSent.Add(r.config.shortestSkewTime() / 2); now < next {
		r.deadline = min(r.deadline, next)
		return nil
	}
	r.deadline = now.Add(r.config.adverTimer())
	return r.advertise(now, r.config.Priority)
}

// answerLower answers a Master of lower priority, which then yields. It answers at
// most once per interval, whatever AdvertsPerInterval is, because a Master that
// does not hear us never yields. Version 2 does not answer (RFC 3768 section
// 6.4.3).
func (r *Router) answerLower(now Time) *Advertisement {
	if r.config.Version == V2 || now < r.answerAfter {
		return nil
	}
	r.answerAfter = now.Add(r.config.AdvertisementInterval)
	return r.advertise(now, r.config.Priority)
}

// recordMaster records the sender of an advertisement as the Master last heard.
func (r *Router) recordMaster(arrived Time, source netip.Addr, a *Advertisement) {
	r.master, r.masterPriority = source, a.Priority
	if a.Priority != PriorityResign {
		r.rankPriority = a.Priority
	}
	r.heard, r.lastHeard = true, arrived
}

// learnInterval sets Master_Adver_Interval from an advertisement (RFC 9568 section
// 6.4.2). With version 2 it equals our own interval.
func (r *Router) learnInterval(a *Advertisement) {
	r.masterAdverInterval, r.intervalLearned = r.config.boundInterval(a.Interval), true
}
