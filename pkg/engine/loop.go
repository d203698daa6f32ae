package engine

import (
	"errors"
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
	// drainBatch is how many packets are read in one turn, so that a flood
	// cannot keep the loop from its timers.
	drainBatch = 256
)

// loop owns every virtual router. All of its methods run on one thread.
type loop struct {
	network  network
	engine   *Engine
	logger   klog.Logger
	post     func(order)
	notifier *notifier

	desired   *desired.State
	links     *host.Snapshot
	instances []*instance // sorted by key
	unplaced  []desired.UnplacedVIP
	// listening is since when each interface is listened on, by index.
	listening map[int]vrrp.Time
	deaf      map[int]error

	seq       uint64
	acked     uint64
	orderDue  bool
	announce  []announcement
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

func newLoop(e *Engine, logger klog.Logger, post func(order)) *loop {
	l := &loop{
		network: e.config.Network, engine: e, logger: logger, post: post, notifier: e.notifier,
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
	more := l.drain()
	l.take()
	now := l.now()
	l.late.note(now, now.Sub(due))
	if !more {
		l.fire(now)
	}
	l.release(now)
	if now >= l.nextLease {
		l.nextLease = now.Add(leaseRefresh)
		l.orderDue = true
		if len(l.deaf) > 0 && l.desired != nil && !l.stopping {
			l.listen(now)
			l.configure(now)
		}
	}
	l.placeOrder()
	l.publish(now)
	return l.stopping && len(l.releases) == 0
}

// drain reads what has arrived. It tells whether more is waiting.
func (l *loop) drain() (more bool) {
	for range drainBatch {
		if !l.network.Receive(&l.packet) {
			return false
		}
		l.receive()
	}
	return true
}

// receive hands one packet to the virtual router it belongs to.
func (l *loop) receive() {
	header, payload, discard := vrrp.ParseIPv4(l.packet.Data)
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
		in.router.CountDiscard(vrrp.DiscardOwnSource)
		return
	}
	form, discard := vrrp.Parse(header, payload, &l.advert)
	if discard != vrrp.DiscardNone {
		in.router.CountDiscard(discard)
		return
	}
	in.router.CountChecksum(form)
	now := l.now()
	arrived := min(vrrp.Time(l.packet.Arrived), now)
	l.apply(in, in.router.Receive(now, arrived, header.Source, &l.advert), now)
}

// fire does everything that is due.
func (l *loop) fire(now vrrp.Time) {
	for _, in := range l.instances {
		if in.startAt <= now {
			l.start(in, now)
		}
		if due, ok := in.timer(); ok && due <= now {
			// The sockets are empty, so nothing that arrived while we stood
			// still is unread. The router knows how late is too late.
			l.apply(in, in.router.Stalled(now, now.Sub(due)), now)
			l.apply(in, in.router.Expire(now), now)
		}
		if in.announce.due(now) {
			l.announce = append(l.announce, announcement{
				link: in.link.Index, hardwareAddr: in.link.HardwareAddr, vips: slices.Clone(in.config.Addresses),
			})
			l.orderDue = true
		}
	}
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
		in.announce.start(now)
	}
}

// changed follows a change of state.
func (l *loop) changed(in *instance, from, to vrrp.State, reason string, now vrrp.Time) {
	in.reason, in.since, in.changed = reason, wallClock(), now
	in.sendFailures = 0
	switch {
	case to == vrrp.Master:
		in.announce.start(now)
		l.orderDue = true
	case from == vrrp.Master:
		in.announce.stop()
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
	err := l.network.Send(in.link.Index, in.config.Source, l.buffer)
	if err == nil {
		in.sendFailures = 0
		if len(l.logged) > 0 {
			delete(l.logged, in.key.Interface+"/send")
		}
		return
	}
	l.logOnce(in.key.Interface+"/send", err.Error(), func() {
		l.logger.Info("Advertisement not sent", "interface", in.key.Interface, "vrid", in.key.VRID, "err", err)
	})
	if in.sendFailures++; in.sendFailures >= sendFailuresAllowed && in.state() == vrrp.Master {
		l.fail(in, faultSendFailed, now)
	}
}

// placeOrder posts what the actuator is to do, if that has changed or the
// leases are to be renewed.
func (l *loop) placeOrder() {
	if !l.orderDue {
		return
	}
	l.orderDue = false
	l.seq++
	o := order{seq: l.seq, answer: l.answer(), announce: l.announce}
	l.announce = nil
	for _, in := range l.instances {
		if in.state() != vrrp.Master {
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
			if err := l.network.Send(r.link, r.source, r.payload); err != nil {
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
	if m.links != nil {
		l.links = m.links
		l.listen(now)
		l.rebind()
	}
	if m.state != nil {
		l.desired = m.state
	}
	if (m.links != nil || m.state != nil) && l.desired != nil && l.links != nil && !l.stopping {
		l.configure(now)
	}
	if m.stop && !l.stopping {
		l.stop(now)
	}
}

// listen opens and closes sockets so that every interface a VIP could be
// placed on is listened on.
func (l *loop) listen(now vrrp.Time) {
	var interfaces []lan.Interface
	since := map[int]vrrp.Time{}
	for _, link := range l.links.Links {
		if link.Loopback || !link.Multicast || !link.Up {
			continue
		}
		if _, ok := sourceAddress(link, netip.Addr{}); !ok {
			continue
		}
		interfaces = append(interfaces, lan.Interface{Index: link.Index, Name: link.Name})
		if since[link.Index] = now; l.listening[link.Index] != 0 {
			since[link.Index] = l.listening[link.Index]
		}
	}
	clear(l.deaf)
	if err := l.network.Listen(interfaces); err != nil {
		for _, e := range leaves(err) {
			if ie, ok := errors.AsType[*lan.InterfaceError](e); ok {
				l.deaf[ie.Index] = e
				delete(since, ie.Index)
			}
		}
		l.logOnce("listen", err.Error(), func() { l.logger.Error(err, "Listening for VRRP is incomplete") })
	} else {
		delete(l.logged, "listen")
	}
	l.listening = since
}

// rebind has an address that somebody else removed put back at once.
func (l *loop) rebind() {
	for _, in := range l.instances {
		if in.state() != vrrp.Master {
			continue
		}
		for _, v := range in.vips {
			if !bound(*l.links, in.link.Index, v.address) {
				l.orderDue = true
			}
		}
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
