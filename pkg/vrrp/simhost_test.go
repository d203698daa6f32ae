package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// host is a simulated host of the segment, no part of package host: its loop, which does what the engine's does,
// its kernel with the addresses, and a client beside it that believes
// announcements.
type host struct {
	s      *segment
	index  int
	config Config
	up     bool
	router *Router // nil while down, and with a peer
	// peer is the model that runs instead of a Router, and newPeer its
	// constructor; both are nil for ours.
	peer    peer
	newPeer func(c Config) peer
	from    []link // by index: the way from that host to this one
	inbox   []packet
	// suspended is the end of a suspension: until then the process does nothing.
	// If the host is frozen, as a migrating virtual machine, it receives nothing
	// either.
	suspended Time
	frozen    bool
	// wake is when the loop runs next, and due when it should.
	wake, due Time
	advert    Advertisement
	watch     watch
	// monitor has the routers observed since listening began, and startsAt is the
	// time of Startup.
	monitor  Monitor
	startsAt Time
	// process changes when the process ends, which cancels its pending events.
	process int
	kernel
	announcements
	cache *host // who the client believes to have the addresses
}

// link is the way of packets from one host to another.
type link struct {
	deaf      bool
	last      Time // when the last packet arrives
	lost      int  // in a row
	lostUntil Time
}

type packet struct {
	arrived Time
	octets  []byte
}

// watch is the simulation's own record of what a Backup heard, from which it checks
// promotions.
type watch struct {
	// master is when the last advertisement of a Master that is not preempted
	// arrived, and interval is its interval. resigned is when the first
	// resignation since then was heard, lower when the last Master of lower
	// priority was, and lowerSince when the first of those was.
	master, resigned, lower, lowerSince Time
	interval                            time.Duration
}

// kernel simulates the host's kernel: it carries out one request for the addresses
// after the other, and of those that wait only the last.
type kernel struct {
	bound bool
	// lease is when the kernel removes the addresses by itself.
	lease         Time
	busy, waiting bool
	// tell is how many announcements follow the request.
	tell int
	// reign changes whenever we become or stop being Master.
	reign int
}

const (
	// listenTime is how long a host listens before a promotion.
	listenTime = 3200 * time.Millisecond

	// leaseTime is the lifetime of the addresses, leaseRounding how much later the
	// kernel may remove them, and leaseRefresh the time between two renewals.
	leaseTime     = 2 * time.Second
	leaseRounding = time.Second
	leaseRefresh  = 500 * time.Millisecond
	// releaseTime is how long a resignation waits for the addresses to go.
	releaseTime = 5 * time.Millisecond
	// foreignRemoval is how long keepalived and FRR hold the addresses after
	// they resigned.
	foreignRemoval = 10 * time.Millisecond
)

// announcements are the schedule of the engine.
type announcements struct {
	term    int // changes when a schedule ends or restarts
	started Time
	// announced counts the announcements that went out.
	announced int
}

var announceOffsets = []time.Duration{0, 50 * ms, 200 * ms, time.Second, 5 * time.Second}

const (
	announceRefresh = time.Minute
	announcePause   = time.Second
)

func hostSource(index int) netip.Addr { return hostAddr(byte(index + 1)) }

// linkLocal is the same for IPv6.
func linkLocal(index int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: byte(index + 1)})
}

func (h *host) ours() bool { return h.newPeer == nil }

func (h *host) state() State {
	switch {
	case !h.up:
		return Initialize
	case h.ours():
		return h.router.State()
	default:
		return h.peer.state()
	}
}

// masterDown returns how long the host waits for a Master that advertised every
// interval.
func (h *host) masterDown(interval time.Duration) time.Duration {
	if h.ours() {
		return h.config.MasterDownInterval(interval) + h.config.TakeoverDelay
	}
	return h.newPeer(h.config).masterDown(interval)
}

// skew returns how long it waits after a resignation.
func (h *host) skew(interval time.Duration) time.Duration {
	if h.ours() {
		return h.config.SkewTime(interval) + h.config.TakeoverDelay
	}
	return h.newPeer(h.config).skew(interval)
}

// start starts the host's virtual router, without listening before.
func (h *host) start() {
	h.s.logf("%d starts: priority %d, interval %v", h.index, h.config.Priority, h.config.AdvertisementInterval)
	h.boot()
	if h.ours() {
		h.startup()
	} else {
		h.peer = h.newPeer(h.config)
		h.act(h.peer.startup(h.s.now))
		h.schedule()
	}
}

// listen is like start, but listens before, as the daemon does.
func (h *host) listen() {
	h.s.logf("%d listens: priority %d, interval %v", h.index, h.config.Priority, h.config.AdvertisementInterval)
	h.boot()
	wait := max(0, listenTime-h.config.MasterDownInterval(h.config.AdvertisementInterval))
	h.startsAt = h.s.now.Add(wait)
	h.schedule()
	h.s.later(wait, h.inProcess(func() { h.startup() }))
}

func (h *host) boot() {
	h.up, h.inbox, h.suspended, h.frozen = true, nil, h.s.now, false
	h.process++
	h.startsAt = h.s.now
	if h.ours() {
		h.router, h.monitor = NewRouter(h.config), Monitor{}
	}
}

func (h *host) startup() {
	h.startsAt = h.s.now
	h.resetWatch()
	h.call("Startup", func() Output { return h.router.Startup(h.s.now, h.monitor.Routers(h.s.now)...) })
	if h.router.heard {
		h.watch.master = h.router.lastHeard // Silence counts from then.
	}
	if h.router.preemptible {
		// PreemptDelay counts from before.
		h.watch.lower, h.watch.lowerSince = h.s.now, h.router.preemptibleSince
	}
	h.schedule()
}

// crash takes the host down as a power cut does.
func (h *host) crash() {
	h.s.logf("%d crashes", h.index)
	h.down()
	h.bind(false)
}

// kill takes the process down and leaves the kernel as it is.
func (h *host) kill() {
	h.s.logf("%d is killed", h.index)
	h.down()
}

func (h *host) down() {
	h.up, h.router, h.peer, h.inbox = false, nil, nil, nil
	h.busy, h.waiting, h.tell = false, false, 0
	h.process++
	h.term++
	h.reign++
}

// stop ends the process gracefully. Ours removes the addresses before it resigns,
// the models afterwards.
func (h *host) stop() {
	h.suspended = h.s.now
	if !h.ours() {
		h.s.logf("%d stops", h.index)
		h.act(h.peer.shutdown(h.s.now))
		h.down()
		h.s.later(h.s.upTo(foreignRemoval), func() {
			if h.state() != Master {
				h.bind(false)
			}
		})
		return
	}
	out := h.output("Shutdown", func() Output { return h.router.Shutdown(h.s.now) })
	h.down()
	if out.Send == nil {
		h.bind(false)
		return
	}
	send, resigned := h.packets(out.Send), false
	resign := func() {
		if !resigned {
			resigned = true
			for range 3 {
				send()
			}
		}
	}
	h.s.later(h.s.netlink(), h.inProcess(func() { h.bind(false); resign() }))
	h.s.later(releaseTime, h.inProcess(resign))
}

// suspend suspends the host's loop.
func (h *host) suspend(d time.Duration, frozen bool) {
	h.s.logf("%d suspended for %v, frozen %v", h.index, d, frozen)
	h.suspended, h.frozen = h.s.now.Add(d), frozen
	h.wake = max(h.wake, h.suspended)
}

// change changes the configuration of the running Router.
func (h *host) change(change func(c *Config)) {
	change(&h.config)
	h.watch.interval = min(h.watch.interval, h.config.AdvertisementInterval)
	h.s.logf("%d changes to priority %d, interval %v", h.index, h.config.Priority, h.config.AdvertisementInterval)
	h.call("SetConfig", func() Output { return h.router.SetConfig(h.s.now, h.config) })
	h.schedule()
}

// receive is the kernel's part: it queues the packet and wakes the loop.
func (h *host) receive(octets []byte) {
	if !h.up || h.frozen && h.s.now < h.suspended {
		return
	}
	h.inbox = append(h.inbox, packet{h.s.now, octets})
	if h.due > h.s.now {
		h.due = h.s.now
		h.wake = max(h.suspended, h.s.now.Add(h.s.upTo(h.s.maxLate)))
	}
}

// loop is one iteration of the caller's loop.
func (h *host) loop() {
	if h.ours() {
		h.loopRouter()
	} else {
		h.loopPeer()
	}
	h.schedule()
	if h.due <= h.s.now {
		h.s.failf("%d does not go to sleep", h.index)
	}
}

func (h *host) loopRouter() {
	now, late := h.s.now, h.s.now.Sub(h.due)
	for _, p := range h.inbox {
		header, payload, d := ParseIP(p.octets)
		if d == DiscardNone {
			h.monitor.Observe(p.arrived, header, payload)
			_, d = Parse(header, payload, &h.advert)
		}
		if d != DiscardNone {
			h.s.failf("%d discarded a packet: %v", h.index, d)
		}
		h.note(max(p.arrived, h.startsAt)) // It may have come before Startup.
		h.call("Receive", func() Output { return h.router.Receive(now, p.arrived, header, &h.advert) })
	}
	h.inbox = h.inbox[:0]
	h.call("Stalled", func() Output { return h.router.Stalled(now, late) })
	h.call("Expire", func() Output { return h.router.Expire(now) })
	if h.s.rng.IntN(4) == 0 {
		// Another virtual router's advertisement is due.
		h.call("Coalesce", func() Output { return h.router.Coalesce(now) })
	}
}

// loopPeer runs the timers before or after the packets, at random.
func (h *host) loopPeer() {
	now := h.s.now
	timersFirst := h.s.rng.IntN(2) == 0
	if timersFirst {
		h.act(h.peer.expire(now))
	}
	for _, p := range h.inbox {
		h.act(h.peer.receive(now, p.octets))
	}
	h.inbox = h.inbox[:0]
	for h.peer.deadline() <= now {
		h.act(h.peer.expire(now))
	}
}

// act carries out the actions of a peer.
func (h *host) act(a actions) {
	if a.dropped != "" {
		h.s.drops++
		h.s.logf("%d dropped a packet: %s", h.index, a.dropped)
	}
	for _, priority := range a.send {
		for _, destination := range h.destinations() {
			h.s.send(h, destination, writeMessage(h.config, priority, destination))
		}
	}
	if a.event != "" {
		h.s.logf("%d, a %T: %s", h.index, h.peer, a.event)
		h.changed()
	}
	if a.announce > 0 {
		h.announceAfter(0, h.term, a.announce)
	}
}

// destinations returns the destinations of advertisements.
func (h *host) destinations() []netip.Addr {
	if h.config.Unicast {
		return h.config.Peers
	}
	return []netip.Addr{Group(h.config.Family)}
}

// note records the effect of the advertisement on a Backup according to the RFC.
func (h *host) note(arrived Time) {
	w := &h.watch
	a := &h.advert
	if a.Priority == PriorityResign {
		if w.resigned < 0 {
			w.resigned = arrived
		}
		return
	}
	follow := a.Priority >= h.config.Priority || !h.config.Preempt
	if follow {
		w.lowerSince = -1
	} else {
		if w.lowerSince < 0 {
			w.lowerSince = arrived
		}
		w.lower = arrived
		follow = arrived.Sub(w.lowerSince) < h.config.PreemptDelay
	}
	if follow {
		w.master, w.resigned, w.interval = arrived, -1, a.Interval
	}
}

// call calls the Router, checks the Output and carries it out.
func (h *host) call(what string, call func() Output) {
	if out := h.output(what, call); out.Send != nil {
		h.packets(out.Send)()
	}
}

func (h *host) output(what string, call func() Output) Output {
	before := h.router.State()
	out := call()
	if err := checkInvariants(h.router, h.config, before, h.s.now, out); err != nil {
		h.s.failf("%d: %s: %v", h.index, what, err)
	}
	if out.Announce || h.router.State() == Master && out.Transition != nil {
		h.s.announcer = h
	}
	if tr := out.Transition; tr != nil {
		h.s.logf("%d %v: %v to %v, %s", h.index, what, tr.From, tr.To, tr.Reason)
		switch {
		case tr.To == Master:
			h.checkPromotion(tr.Reason)
		case what == "Stalled":
			h.resetWatch()
		case what == "Receive":
			// PreemptDelay starts again, whichever Master we yielded to.
			h.watch.interval, h.watch.lowerSince = h.advert.Interval, -1
		}
		h.changed()
	}
	if out.Announce && h.s.now.Sub(h.started) >= announcePause {
		h.restartAnnouncements()
	}
	return out
}

// packets returns a function that sends the advertisement.
func (h *host) packets(a *Advertisement) func() {
	type packet struct {
		destination netip.Addr
		octets      []byte
	}
	var packets []packet
	for _, d := range h.destinations() {
		packets = append(packets, packet{d, ipPacket(h.config.Source, d, a.Append(nil, h.config.Source, d))})
	}
	return func() {
		for _, p := range packets {
			h.s.send(h, p.destination, p.octets)
		}
	}
}

// resetWatch resets the watch to that of a Backup that has heard no Master.
func (h *host) resetWatch() {
	h.watch = watch{master: h.s.now, resigned: -1, lower: -1, lowerSince: -1, interval: h.config.AdvertisementInterval}
}

// checkPromotion checks that there was a reason for a promotion: no Master was heard
// for long enough, or it resigned.
func (h *host) checkPromotion(why Reason) {
	h.s.t.Helper()
	w := &h.watch
	interval := min(w.interval, h.config.boundInterval(w.interval))
	silence := h.s.now.Sub(w.master)
	// A step of the delay is subtracted for a preferred Master that has gone.
	delay := max(0, h.config.TakeoverDelay-h.config.TakeoverStep)
	needed := h.config.MasterDownInterval(interval) + delay
	switch why {
	case ReasonMasterDown:
	case ReasonPreempted:
		if w.lower < 0 || w.lower < w.master {
			h.s.failf("%d preempted no Master", h.index)
		}
	case ReasonMasterResigned:
		if w.resigned < 0 {
			h.s.failf("%d took over, and no Master resigned", h.index)
		}
		silence = h.s.now.Sub(w.resigned)
		needed = h.config.SkewTime(interval) + delay
	default:
		h.s.failf("%d became Master because of %s", h.index, why)
	}
	if silence < needed {
		h.s.failf("%d took over after %v of silence, want at least %v", h.index, silence, needed)
	}
}

// schedule sleeps until the Router's or the peer's deadline.
func (h *host) schedule() {
	h.due = never
	if h.ours() {
		if deadline, running := h.router.Deadline(); running {
			h.due = deadline
		}
	} else {
		h.due = h.peer.deadline()
	}
	if len(h.inbox) > 0 {
		h.due = min(h.due, h.s.now)
	}
	h.wake = never
	if h.due != never {
		h.wake = max(h.suspended, max(h.due, h.s.now).Add(h.s.upTo(h.s.maxLate)))
	}
}

// changed adds or removes the addresses after a change of state.
func (h *host) changed() {
	h.reign++
	h.term++
	h.order(0)
	if h.state() != Master {
		return
	}
	if slices.ContainsFunc(h.s.hosts, func(other *host) bool { return other != h && other.state() == Master }) {
		h.s.doubles++
	}
	if h.ours() {
		h.restartAnnouncements()
		h.refresh(h.reign)
	}
}

// inProcess returns a function that calls f if the process still runs. A suspended
// process calls it after its next iteration.
func (h *host) inProcess(f func()) func() {
	process := h.process
	var do func()
	do = func() {
		switch {
		case h.process != process:
		case h.s.now < h.suspended:
			h.s.later(h.suspended.Sub(h.s.now)+h.s.maxLate+1, do)
		default:
			f()
		}
	}
	return do
}

// restartAnnouncements begins the schedule of announcements.
func (h *host) restartAnnouncements() {
	h.term++
	h.started = h.s.now
	for _, offset := range announceOffsets {
		h.announceAfter(offset, h.term, 1)
	}
	last := announceOffsets[len(announceOffsets)-1]
	term := h.term
	h.s.later(last, h.inProcess(func() { h.refreshAnnouncement(term) }))
}

// refreshAnnouncement repeats the announcement slowly until the term ends.
func (h *host) refreshAnnouncement(term int) {
	h.s.later(announceRefresh, h.inProcess(func() {
		if h.term == term && h.state() == Master {
			h.order(1)
			h.refreshAnnouncement(term)
		}
	}))
}

func (h *host) announceAfter(d time.Duration, term, copies int) {
	do := h.inProcess(func() {
		if h.term == term && h.state() == Master {
			h.order(copies)
		}
	})
	if d == 0 {
		do()
	} else {
		h.s.later(d, do)
	}
}

// refresh renews the lease of the addresses until the reign ends.
func (h *host) refresh(reign int) {
	h.s.later(leaseRefresh, h.inProcess(func() {
		if h.reign == reign {
			h.order(0)
			h.refresh(reign)
		}
	}))
}

func (s *segment) netlink() time.Duration { return s.upTo(s.maxNetlink) }

// order makes the kernel bind or remove the addresses, depending on the state when it
// begins, and then announce the bound ones tell times.
func (h *host) order(tell int) {
	h.tell += tell
	if h.busy {
		h.waiting = true
		return
	}
	wanted, tell := h.state() == Master, h.tell
	h.busy, h.waiting, h.tell = true, false, 0
	h.s.later(h.s.netlink(), h.inProcess(func() {
		h.busy = false
		h.bind(wanted)
		for range tell {
			if h.bound {
				h.s.announce(h)
			}
		}
		if h.waiting {
			h.order(0)
		}
	}))
}

// bind binds or removes the addresses, or renews their lease.
func (h *host) bind(bound bool) {
	h.bound = bound
	h.lease = never
	h.s.tenure.note(h.s.now, len(h.s.holders()))
	if !bound || !h.ours() {
		return
	}
	lease := leaseTime + h.s.upTo(leaseRounding)
	h.lease = h.s.now.Add(lease)
	h.s.later(lease, func() { h.expireLease() })
}

func (h *host) expireLease() {
	switch {
	case !h.bound || h.s.now < h.lease:
	case h.frozen && h.s.now < h.suspended:
		h.s.later(h.suspended.Sub(h.s.now), func() { h.expireLease() })
	default:
		h.s.logf("the kernel of %d removes the addresses", h.index)
		h.bind(false)
	}
}
