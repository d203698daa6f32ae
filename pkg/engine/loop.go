package engine

import (
	"net/netip"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// leaseRefresh is how often the orders that renew the leases are posted:
	// a quarter of the lifetime.
	leaseRefresh = 500 * time.Millisecond
	// listenTime is how long an interface is listened on before the first
	// virtual router starts there: routers of VRRPv2 advertise once a second,
	// and three of them may be lost.
	listenTime = 3200 * time.Millisecond
	// releaseTime is how long a release waits for the address to be gone
	// before it advertises priority 0 all the same.
	releaseTime = 5 * time.Millisecond
	// releaseCopies is how often priority 0 is sent: a lost one would cost
	// the successor a whole Master_Down_Interval.
	releaseCopies = 3
	// drainLimit is how many packets are read before the timers are looked
	// at all the same, so that a flood cannot keep the loop from them. It is
	// more than the buffers of a few interfaces hold.
	drainLimit = 8192
	// renewalLimit is how long an order may wait to be carried out: by then
	// the leases are about to end, and with them what the Master stands for.
	renewalLimit = 1500 * time.Millisecond
)

// loop owns every virtual router. All of its methods run on one thread.
type loop struct {
	network   network
	engine    *Engine
	logger    klog.Logger
	post      func(order)
	listen    func(listenOrder)
	look      func(lookOrder)
	makeLinks func(linkOrder)
	notifier  *notifier

	desired *desired.State
	links   *host.Snapshot
	// own are the node's addresses, bound those of ours that are on a link.
	own   map[ownAddress]bool
	bound map[host.VirtualAddress]bool
	// placements are what desired and links ask for.
	placements []placement
	instances  []*instance // sorted by key
	unplaced   []desired.UnplacedVIP
	// routers are the instances that were ever fit to run.
	routers map[routerKey]*instance
	// interfaces are to be listened on. ports are what is listened on,
	// listening is since when and deaf why not.
	interfaces []lan.Interface
	ports      []*lan.Port
	listening  map[portKey]vrrp.Time
	deaf       map[portKey]error
	// flaps are the links that had a fault lately; flapsEnd is when one of them
	// may be used again.
	flaps    flaps
	flapsEnd vrrp.Time
	// sightings are what was heard on a port since it is listened on.
	sightings map[portKey]*vrrp.Sightings

	// claims are what is known of each VIP on its link, watching the VIPs that
	// are watched, and looking what is to be posted next.
	claims   map[host.VirtualAddress]*claim
	watching map[int][]netip.Addr
	looking  lookOrder
	ownMACs  map[lan.MAC]bool

	seq   uint64
	acked uint64
	// waiting is since when an order waits to be carried out; meaningful
	// while acked is behind seq.
	waiting   vrrp.Time
	orderDue  bool
	announce  map[int]announcement
	answering map[netip.Addr]desired.Answer
	nextLease vrrp.Time
	pulses    pulses
	// wanted is what was last asked for VIPs with virtual MAC addresses, virtual
	// what became of it.
	wanted   linkOrder
	virtual  virtualReport
	releases []release
	stopping bool

	packet  lan.Packet
	advert  vrrp.Advertisement
	buffer  []byte
	unheard map[string]uint64
	late    latenessWindow
	// published is the last order that the status is from; the next one may be
	// published at mayPublish.
	published  uint64
	mayPublish vrrp.Time
	logged     map[topic]string
}

// routerKey names the virtual router that a packet is for.
type routerKey struct {
	portKey
	vrid uint8
}

// topic is what is not to be said twice: what of the engine it is about and,
// where there are several, which.
type topic struct {
	what        string
	link        string
	destination netip.Addr
}

// release is a priority 0 advertisement that waits for its addresses to be
// gone: a successor must not meet us still answering.
type release struct {
	link     int
	source   netip.Addr
	messages []message
	seq      uint64 // the order without the addresses
	deadline vrrp.Time
}

// message is an advertisement as it goes to one destination.
type message struct {
	destination netip.Addr
	payload     []byte
}

func newLoop(e *Engine, logger klog.Logger, post func(order), listen func(listenOrder), look func(lookOrder)) *loop {
	l := &loop{
		network: e.config.Network, engine: e, logger: logger, post: post, listen: listen, look: look, notifier: e.notifier,
		listening: map[portKey]vrrp.Time{}, deaf: map[portKey]error{}, sightings: map[portKey]*vrrp.Sightings{},
		flaps: flaps{}, flapsEnd: never,
		buffer:  make([]byte, 0, 2048),
		unheard: map[string]uint64{}, logged: map[topic]string{},
	}
	l.nextLease = l.now()
	l.pulses = pulses{pulser: e.config.Pulser, next: never}
	return l
}

func (l *loop) now() vrrp.Time { return vrrp.Time(l.network.Now()) }

// deadline is when the loop must go round again.
func (l *loop) deadline() vrrp.Time {
	next := min(l.nextLease, l.flapsEnd, l.pulses.next)
	for _, in := range l.instances {
		next = min(next, in.deadline())
	}
	for i := range l.releases {
		next = min(next, l.releases[i].deadline)
	}
	if l.published != l.seq {
		next = min(next, l.mayPublish)
	}
	return next
}

// turn is one round. It tells whether the loop is done.
func (l *loop) turn() (done bool) {
	due := l.deadline()
	l.drain()
	l.take()
	now := l.now()
	late := now.Sub(due)
	l.late.note(now, late)
	if late > 0 {
		// What was reported while we stood still may not be here yet.
		l.waiting = min(now, l.waiting.Add(late))
	}
	l.fire(now)
	l.sendPulses(now)
	l.release(now)
	if now >= l.nextLease {
		l.nextLease = now.Add(leaseRefresh)
		l.orderDue = true
		l.mend(now)
		l.watchAlarms(now)
	}
	l.placeLook()
	l.placeOrder(now)
	l.publish(now)
	return l.stopping && len(l.releases) == 0
}

// drain reads what has arrived.
func (l *loop) drain() {
	for range drainLimit {
		if !l.network.Receive(&l.packet) {
			return
		}
		l.receive()
	}
}

// receive hands one packet to the virtual router it belongs to.
func (l *loop) receive() {
	header, payload, discard := vrrp.ParseIP(l.packet.Data)
	if discard != vrrp.DiscardNone {
		l.unheard[discard.String()]++
		return
	}
	now := l.now()
	arrived := min(vrrp.Time(l.packet.Arrived), now)
	port := portKey{l.packet.Index, vrrp.FamilyOf(header.Source)}
	own := l.isOwn(port.index, header.Source)
	if s := l.sightings[port]; s != nil && !own {
		s.Note(arrived, header, payload)
	}
	vrid, ok := vrrp.PeekVRID(payload)
	if !ok {
		l.unheard[vrrp.DiscardPacketLength.String()]++
		return
	}
	in := l.routers[routerKey{port, vrid}]
	if in == nil {
		l.unheard[vrrp.DiscardVRID.String()]++
		return
	}
	if own {
		in.router.Discard(now, header, vrrp.DiscardOwnSource)
		return
	}
	form, discard := vrrp.Parse(header, payload, &l.advert)
	if discard != vrrp.DiscardNone {
		in.router.Discard(now, header, discard)
		return
	}
	in.router.CountChecksum(form)
	if in.router.FromMember(header) {
		in.noteMember(l.packet.MAC, now)
	}
	l.apply(in, in.router.Receive(now, arrived, header, &l.advert), now)
}

// fire does everything that is due.
func (l *loop) fire(now vrrp.Time) {
	stuck, fired := l.stuck(now), false
	for _, in := range l.instances {
		if in.claimAt <= now {
			l.claim(in, now)
		}
		switch {
		case stuck && in.state() != vrrp.Initialize:
			l.fail(in, faultLeaseNotRenewed, now)
		case stuck && in.startAt <= now:
			in.startAt = now.Add(in.retry)
		case in.startAt <= now:
			l.start(in, now)
		}
		if due, ok := in.timer(); ok && due <= now && !l.stayAway(in, now) {
			// What arrived while we stood still has been read, but for a flood.
			// The router knows how late is too late.
			l.apply(in, in.router.Stalled(now, now.Sub(due)), now)
			l.apply(in, in.router.Expire(now), now)
			fired = true
		}
		first := in.announce.step == 0
		if in.announce.due(now) {
			l.announceVIPs(in, first)
		}
		if in.checkAt <= now {
			l.checkHeld(in, now)
		}
	}
	if !fired {
		return
	}
	// Waking up costs more than sending.
	for _, in := range l.instances {
		if in.router != nil {
			l.apply(in, in.router.Hasten(now), now)
		}
	}
}

// stuck tells that leases are not being renewed: a Master that goes on
// advertising would keep everybody else from holding the addresses it loses.
func (l *loop) stuck(now vrrp.Time) bool {
	return l.acked < l.seq && now.Sub(l.waiting) > renewalLimit
}

// apply does what a virtual router wants done, in the order of Output.
func (l *loop) apply(in *instance, out vrrp.Output, now vrrp.Time) {
	if out.Send != nil {
		l.send(in, out.Send, now)
	}
	if t := out.Transition; t != nil {
		l.changed(in, t.From, t.To, string(t.Reason), now)
	}
	if out.Announce && in.state() == vrrp.Master {
		in.announce.again(now)
	}
}

// firstSent follows a Master's first advertisement: now that it is heard, it
// takes the addresses.
func (l *loop) firstSent(in *instance, now vrrp.Time) {
	in.advertised = true
	in.ordered, l.orderDue = l.seq+1, true
	// Before the address is bound: the first who asks for it is answered.
	l.sendPulse(in, now)
	in.announce.start(now)
	in.checkAt, in.defendAt = in.settled(), now
}

// changed follows a change of state.
func (l *loop) changed(in *instance, from, to vrrp.State, reason string, now vrrp.Time) {
	in.reason, in.since, in.changed = reason, wallClock(), now
	in.unbound, in.held = 0, false
	if from == vrrp.Master {
		in.announce.stop()
		in.checked, in.checkAt, in.duplicate = 0, never, duplicate{}
		in.sendFailures, in.advertised = 0, false
		clear(in.failed)
		l.orderDue = true
	}
	t := desired.Transition{
		RouterKey: in.key, From: from, To: to, Reason: reason, Time: in.since, VIPs: slices.Clone(in.config.Addresses),
	}
	if r := in.router.Status(); to == vrrp.Master && r.Heard {
		t.Silence = now.Sub(r.LastHeard)
	}
	l.notifier.tell(func() {
		fields := []any{
			"interface", t.Interface, "family", t.Family, "vrid", t.VRID,
			"oldState", t.From, "state", t.To, "reason", t.Reason, "vip", t.VIPs,
		}
		if t.Silence != 0 {
			fields = append(fields, "elapsed", t.Silence.Round(time.Millisecond))
		}
		l.logger.Info("Virtual router changed state", fields...)
		l.engine.config.OnTransition(t)
	})
}

// send sends an advertisement. A Master whose advertisements do not go out is
// none: its peers take over, so it must let go. With unicast one that reaches
// any peer has gone out, and so has one that has no peer to reach.
func (l *loop) send(in *instance, a *vrrp.Advertisement, now vrrp.Time) {
	failed, destinations := 0, in.destinations()
	for _, to := range destinations {
		l.buffer = a.Append(l.buffer[:0], in.config.Source, to)
		err := l.transmit(in, to)
		said := topic{what: "send", link: in.key.Interface, destination: to}
		if err == nil {
			delete(l.logged, said)
			continue
		}
		failed++
		key := in.key
		l.logOnce(said, err.Error(), func() {
			l.logger.Info("Advertisement not sent", "interface", key.Interface, "family", key.Family, "vrid", key.VRID, "err", err)
		})
	}
	if failed == 0 || failed < len(destinations) {
		if in.sendFailures > 0 {
			in.sendFailures, l.pulses.next = 0, now
		}
		if !in.advertised && in.state() == vrrp.Master {
			l.firstSent(in, now)
		}
		return
	}
	if in.sendFailures++; in.sendFailures >= sendFailuresAllowed && in.state() == vrrp.Master {
		l.fail(in, faultSendFailed, now)
	}
}

// logOnce runs log when what is said about a topic has changed.
func (l *loop) logOnce(t topic, said string, log func()) {
	if l.logged[t] == said {
		return
	}
	l.logged[t] = said
	l.notifier.tell(log)
}

// take carries out what other goroutines have sent.
func (l *loop) take() {
	m := l.engine.inbox.take()
	now := l.now()
	for _, r := range m.reports {
		l.reported(r, now)
	}
	for _, r := range m.listening {
		l.listened(r, now)
	}
	for _, c := range m.claims {
		l.heard(c, now)
	}
	if m.links != nil {
		l.noteLinks(m.links.Links, now)
		l.links = m.links
	}
	steady := now >= l.flapsEnd
	if steady {
		l.flapsEnd = l.flaps.deadline(now)
	}
	if m.state != nil {
		l.desired = m.state
	}
	if m.virtual != nil {
		l.linked(*m.virtual)
	}
	if (m.links != nil || m.state != nil || m.virtual != nil) && l.links != nil {
		l.place()
	}
	if (len(m.listening) > 0 || m.links != nil || m.state != nil || m.virtual != nil || steady) && l.desired != nil && l.links != nil && !l.stopping {
		l.configure(now)
	}
	if m.stop && !l.stopping {
		l.stop(now)
	}
}
