package vrrp

import "net/netip"

// Receive takes in an advertisement that Parse accepted. The kernel took the
// packet at arrived, not after now: the timers count from then, however long
// it waited for us to read it. The addresses of a are not kept.
func (r *Router) Receive(now, arrived Time, h Header, a *Advertisement) Output {
	source := h.Source
	if d := r.checkAdvertisement(h, a); d != DiscardNone {
		r.Discard(now, h, d)
		return Output{}
	}
	list := r.lists.compare(a.Addresses)
	r.countReceived(a, list)
	r.observeAdvertisement(now, source, a, list)
	// Time stamps of packets come from another clock. What they say is held
	// between the start of the running timer and now, so that a jump of that
	// clock cannot make a timer fire.
	arrived = min(max(arrived, r.timerBase), now)

	if r.state == Master {
		return r.receiveAsMaster(now, arrived, source, a, list)
	}
	r.receiveAsBackup(arrived, source, a, list)
	return Output{}
}

// receiveAsBackup is RFC 9568 section 6.4.2. An equal priority counts as higher
// here whatever the addresses are.
func (r *Router) receiveAsBackup(arrived Time, source netip.Addr, a *Advertisement, list listMatch) {
	r.recordMaster(arrived, source, a)
	r.follow(arrived, source, a.Addresses, list, true)
	switch {
	case a.Priority == PriorityResign:
		// Only ever sooner: every copy of a resignation would else put the
		// promotion off.
		if end := arrived.Add(r.skewTime()); end < r.deadline {
			r.armMasterDown(arrived, ReasonMasterResigned)
		}
	case !r.preempts(arrived, a.Priority):
		r.learnInterval(a)
		r.armMasterDown(arrived, ReasonMasterDown)
	case r.promoteReason == ReasonMasterDown:
		// It goes on until the timer that is running fires.
		r.promoteReason = ReasonPreempted
	}
}

// receiveAsMaster is RFC 9568 section 6.4.3. Whoever else was Master may have
// announced the addresses as its own, so they are always announced again.
func (r *Router) receiveAsMaster(now, arrived Time, source netip.Addr, a *Advertisement, list listMatch) Output {
	better := a.Priority > r.config.Priority ||
		a.Priority == r.config.Priority && source.Compare(r.config.Source) > 0
	r.recordMaster(arrived, source, a)
	r.follow(arrived, source, a.Addresses, list, better || list == listFull && r.insists(now, source, a))
	switch {
	case a.Priority == PriorityResign:
		return Output{Send: r.answerResigned(now), Announce: true}
	case better:
		return r.yield(now, arrived, a)
	case r.toleratesLowerMaster() && r.missedByPeers(now):
		// It took over while we stood still, as it had to.
		r.learnInterval(a)
		return r.becomeBackup(now, arrived, ReasonStalled)
	default:
		r.statistics.warnings[warningOtherMaster]++
		r.observeOtherMaster(now, source, a)
		return Output{Send: r.answerLower(now), Announce: true}
	}
}

// yield gives way to a better Master. One that has not heard of us would not
// know that we were Master beside it, as after a partition, and had hosts send
// to us: a last advertisement, which RFC 9568 does not have, makes it announce
// its addresses again. It carries the winner's interval, since other Backups
// may go by it until they hear the winner. Who stood still for so long that it
// had to be replaced has announced nothing since, and says nothing.
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

// answerResigned tells the Backups that heard another Master resign that there
// is still one. They wait for Skew_Time, so an answer within half of the
// shortest one is in time; this bounds what a flood of resignations makes us
// send.
func (r *Router) answerResigned(now Time) *Advertisement {
	if next := r.lastSent.Add(r.config.shortestSkewTime() / 2); now < next {
		r.deadline = min(r.deadline, next)
		return nil
	}
	r.deadline = now.Add(r.config.adverTimer())
	return r.advertise(now, r.config.Priority)
}

// answerLower tells a Master of lower priority to yield, at most once per
// interval, however often we advertise in one: one that cannot hear us would
// make us answer for ever. Version 2 does not answer (RFC 3768 section 6.4.3).
func (r *Router) answerLower(now Time) *Advertisement {
	if r.config.Version == V2 || now < r.answerAfter {
		return nil
	}
	r.answerAfter = now.Add(r.config.AdvertisementInterval)
	return r.advertise(now, r.config.Priority)
}

// hear notes who was heard as Master, and when.
func (r *Router) recordMaster(arrived Time, source netip.Addr, a *Advertisement) {
	r.master, r.masterPriority = source, a.Priority
	if a.Priority != PriorityResign {
		r.rankPriority = a.Priority
	}
	r.heard, r.lastHeard = true, arrived
}

// learn takes over the Master's interval (RFC 9568 section 6.4.2). With
// version 2 it is our own anyway.
func (r *Router) learnInterval(a *Advertisement) {
	r.masterAdverInterval, r.intervalLearned = r.config.boundInterval(a.Interval), true
}
