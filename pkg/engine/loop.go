package engine

import (
	"errors"
	"maps"
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
	network  network
	engine   *Engine
	logger   klog.Logger
	post     func(order)
	listen   func(listenOrder)
	notifier *notifier

	desired   *desired.State
	links     *host.Snapshot
	instances []*instance // sorted by key
	unplaced  []desired.UnplacedVIP
	// ports are what is listened on, listening is since when and deaf why
	// not, by index.
	ports     []*lan.Port
	listening map[int]vrrp.Time
	deaf      map[int]error

	seq   uint64
	acked uint64
	// waiting is since when an order waits to be carried out; meaningful
	// while acked is behind seq.
	waiting   vrrp.Time
	orderDue  bool
	announce  map[int]announcement
	answering map[netip.Addr]string
	nextLease vrrp.Time
	releases  []release
	stopping  bool

	packet    lan.Packet
	advert    vrrp.Advertisement
	buffer    []byte
	unheard   map[string]uint64
	late      latenessWindow
	published uint64
	logged    map[string]string
}

// release is a priority 0 advertisement that waits for its addresses to be
// gone: a successor must not meet us still answering.
type release struct {
	link     int
	source   netip.Addr
	payload  []byte
	seq      uint64 // the order without the addresses
	deadline vrrp.Time
}

func newLoop(e *Engine, logger klog.Logger, post func(order), listen func(listenOrder)) *loop {
	l := &loop{
		network: e.config.Network, engine: e, logger: logger, post: post, listen: listen, notifier: e.notifier,
		listening: map[int]vrrp.Time{}, deaf: map[int]error{},
		buffer:  make([]byte, 0, 2048),
		unheard: map[string]uint64{}, logged: map[string]string{},
	}
	l.nextLease = l.now()
	return l
}

func (l *loop) now() vrrp.Time { return vrrp.Time(l.network.Now()) }

// deadline is when the loop must go round again.
func (l *loop) deadline() vrrp.Time {
	next := l.nextLease
	for _, in := range l.instances {
		next = min(next, in.deadline())
	}
	for i := range l.releases {
		next = min(next, l.releases[i].deadline)
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
	l.release(now)
	if now >= l.nextLease {
		l.nextLease = now.Add(leaseRefresh)
		l.orderDue = true
		l.mend(now)
	}
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
	vrid, ok := vrrp.PeekVRID(payload)
	if !ok {
		l.unheard[vrrp.DiscardPacketLength.String()]++
		return
	}
	in := l.find(l.packet.Index, vrid)
	if in == nil {
		l.unheard[vrrp.DiscardVRID.String()]++
		return
	}
	if l.isOwn(header.Source) {
		in.router.Discard(l.now(), header, vrrp.DiscardOwnSource)
		return
	}
	form, discard := vrrp.Parse(header, payload, &l.advert)
	if discard != vrrp.DiscardNone {
		in.router.Discard(l.now(), header, discard)
		return
	}
	in.router.CountChecksum(form)
	now := l.now()
	arrived := min(vrrp.Time(l.packet.Arrived), now)
	l.apply(in, in.router.Receive(now, arrived, header, &l.advert), now)
}

// fire does everything that is due.
func (l *loop) fire(now vrrp.Time) {
	stuck := l.stuck(now)
	for _, in := range l.instances {
		switch {
		case stuck && in.state() != vrrp.Initialize:
			l.fail(in, faultLeaseNotRenewed, now)
		case stuck && in.startAt <= now:
			in.startAt = now.Add(in.retry)
		case in.startAt <= now:
			l.start(in, now)
		}
		if due, ok := in.timer(); ok && due <= now {
			// What arrived while we stood still has been read, but for a flood.
			// The router knows how late is too late.
			l.apply(in, in.router.Stalled(now, now.Sub(due)), now)
			l.apply(in, in.router.Expire(now), now)
		}
		if in.announce.due(now) {
			l.announce = mergeAnnouncements(l.announce, map[int]announcement{
				in.link.Index: {hardwareAddr: in.link.HardwareAddr, vips: in.config.Addresses},
			})
			l.orderDue = true
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
	in.announce.start(now)
}

// changed follows a change of state.
func (l *loop) changed(in *instance, from, to vrrp.State, reason string, now vrrp.Time) {
	in.reason, in.since, in.changed = reason, wallClock(), now
	in.unbound, in.held = 0, false
	if from == vrrp.Master {
		in.announce.stop()
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
			"interface", t.Interface, "vrid", t.VRID,
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
// none: its peers take over, so it must let go.
func (l *loop) send(in *instance, a *vrrp.Advertisement, now vrrp.Time) {
	l.buffer = a.Append(l.buffer[:0], in.config.Source, vrrp.GroupIPv4)
	err := l.network.Send(in.link.Index, in.config.Source, vrrp.GroupIPv4, l.buffer)
	if err == nil {
		in.sendFailures = 0
		if !in.advertised && in.state() == vrrp.Master {
			l.firstSent(in, now)
		}
		if len(l.logged) > 0 {
			delete(l.logged, in.key.Interface+"/send")
		}
		return
	}
	key := in.key
	l.logOnce(key.Interface+"/send", err.Error(), func() {
		l.logger.Info("Advertisement not sent", "interface", key.Interface, "vrid", key.VRID, "err", err)
	})
	if in.sendFailures++; in.sendFailures >= sendFailuresAllowed && in.state() == vrrp.Master {
		l.fail(in, faultSendFailed, now)
	}
}

// placeOrder posts what the actuator is to do, if that has changed or the
// leases are to be renewed.
func (l *loop) placeOrder(now vrrp.Time) {
	if !l.orderDue {
		return
	}
	l.orderDue = false
	if l.acked == l.seq {
		l.waiting = now
	}
	l.seq++
	o := order{seq: l.seq, answer: l.answer(), announce: l.announce}
	l.announce = nil
	for _, in := range l.instances {
		if in.state() != vrrp.Master || !in.advertised {
			continue
		}
		for _, v := range in.vips {
			o.want = append(o.want, host.VirtualAddress{Link: in.link.Index, Address: v.address})
		}
	}
	l.post(o)
}

// answer names the interface that answers ARP for each VIP. Like the
// forwarding rules it outlives the process.
func (l *loop) answer() map[netip.Addr]string {
	if l.stopping {
		return l.answering
	}
	l.answering = map[netip.Addr]string{}
	for _, in := range l.instances {
		for _, v := range in.vips {
			l.answering[v.address] = in.link.Name
		}
	}
	return l.answering
}

// release sends the priority 0 advertisements whose addresses are gone.
func (l *loop) release(now vrrp.Time) {
	l.releases = slices.DeleteFunc(l.releases, func(r release) bool {
		if l.acked < r.seq && now < r.deadline {
			return false
		}
		for range releaseCopies {
			if err := l.network.Send(r.link, r.source, vrrp.GroupIPv4, r.payload); err != nil {
				break // The link is gone, and with it everybody who could hear.
			}
		}
		return true
	})
}

// find returns the virtual router that is on an interface and was ever fit to
// run.
func (l *loop) find(index int, vrid uint8) *instance {
	for _, in := range l.instances {
		if in.link.Index == index && in.key.VRID == vrid && in.router != nil {
			return in
		}
	}
	return nil
}

// isOwn tells whether an address is one of this node's.
func (l *loop) isOwn(a netip.Addr) bool {
	for i := range l.links.Links {
		for j := range l.links.Links[i].Addresses {
			if l.links.Links[i].Addresses[j].Prefix.Addr() == a {
				return true
			}
		}
	}
	return false
}

// logOnce runs log when what is said about a topic has changed.
func (l *loop) logOnce(topic, said string, log func()) {
	if l.logged[topic] == said {
		return
	}
	l.logged[topic] = said
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
	if m.links != nil {
		l.links = m.links
		candidates := l.candidates()
		for index := range l.listening {
			if !slices.ContainsFunc(candidates, func(i lan.Interface) bool { return i.Index == index }) {
				delete(l.listening, index)
			}
		}
		l.listen(listenOrder{interfaces: candidates})
	}
	if m.state != nil {
		l.desired = m.state
	}
	if (len(m.listening) > 0 || m.links != nil || m.state != nil) && l.desired != nil && l.links != nil && !l.stopping {
		l.configure(now)
	}
	if m.stop && !l.stopping {
		l.stop(now)
	}
}

// candidates are the interfaces that a VIP could be placed on.
func (l *loop) candidates() (interfaces []lan.Interface) {
	for _, link := range l.links.Links {
		if link.Loopback || !link.Multicast || !link.Up {
			continue
		}
		if _, ok := sourceAddress(link, netip.Addr{}); ok {
			interfaces = append(interfaces, lan.Interface{Index: link.Index, Name: link.Name})
		}
	}
	return interfaces
}

// listened takes over the ports that are open now, and gives back those that
// are not needed any more. Every report must pass here: a port that only one
// of them names is to be given back too.
func (l *loop) listened(r listenReport, now vrrp.Time) {
	old := l.ports
	l.ports, l.deaf = r.ports, r.failed
	l.network.Use(l.ports)
	since := map[int]vrrp.Time{}
	for _, p := range l.ports {
		since[p.Index] = now
		if began, ok := l.listening[p.Index]; ok && slices.Contains(old, p) {
			since[p.Index] = began
		}
	}
	l.listening = since
	unused := slices.DeleteFunc(slices.Clone(old), func(p *lan.Port) bool { return slices.Contains(l.ports, p) })
	if len(unused) > 0 {
		l.listen(listenOrder{interfaces: l.candidates(), unused: unused})
	}
	var errs []error
	for _, index := range slices.Sorted(maps.Keys(l.deaf)) {
		errs = append(errs, l.deaf[index])
	}
	if err := errors.Join(errs...); err != nil {
		l.logOnce("listen", err.Error(), func() { l.logger.Error(err, "Listening for VRRP is incomplete") })
	} else {
		delete(l.logged, "listen")
	}
}

// mend has sockets opened that could not be, or that do not work any more.
func (l *loop) mend(now vrrp.Time) {
	broken := l.network.Broken()
	if len(l.deaf) == 0 && len(broken) == 0 || l.links == nil {
		return
	}
	for _, p := range broken {
		delete(l.listening, p.Index)
	}
	l.listen(listenOrder{interfaces: l.candidates(), broken: broken})
	if len(broken) > 0 && l.desired != nil && !l.stopping {
		l.configure(now)
	}
}

// bound tells whether an address is on an interface.
func bound(s host.Snapshot, index int, vip netip.Addr) bool {
	for _, link := range s.Links {
		if link.Index == index {
			return slices.ContainsFunc(link.Addresses, func(a host.Address) bool { return a.Ours && a.Prefix.Addr() == vip })
		}
	}
	return false
}
