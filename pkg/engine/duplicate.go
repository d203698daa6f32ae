package engine

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// probeCopies is how often a VIP is asked for before it is claimed for the
	// first time, probePause what lies between and follows the last.
	probeCopies = 3
	probePause  = 20 * time.Millisecond
	// inUseRetry is when a VIP that somebody else has is asked for again.
	inUseRetry = 5 * time.Second
	// settling is for how long after a takeover, or after another Master was
	// heard, others may claim a VIP: a killed Master's kernel answers for it until
	// the lease has ended, and keepalived announces again after 5 s even if it has
	// yielded by then.
	settling = 6 * time.Second
	// confirmed is how long others must have claimed a VIP for an alarm, and
	// duplicateLasts for how long it is on after the last claim.
	confirmed      = time.Second
	duplicateLasts = 30 * time.Second
	// defendPause is DEFEND_INTERVAL (RFC 5227 section 2.4): two hosts that defend
	// an address must not do so without end. While there is an alarm the VIPs are
	// asked for as often, else as often as they are announced.
	defendPause = 10 * time.Second
	// checkChunk is for how many VIPs a Master asks at a time, every checkPause:
	// no faster than it announces them again.
	checkChunk = 64
	checkPause = 32 * time.Millisecond
	// membersKept is how many senders of a virtual router are remembered.
	membersKept = 8
)

// claim is what is known of whether somebody else has a VIP, on the link it
// belongs to. It is asked once: from then on the VIP is claimed without asking.
type claim struct {
	in *instance
	// since is when it was found to be free, or came to another virtual router.
	since vrrp.Time
	free  bool
	// inUse tells that it was found to be another's, holder's.
	inUse  bool
	holder lan.MAC
	// sent are the probes of this time, next is when something is to be done.
	sent int
	next vrrp.Time
	// answer is the MAC that claimed it since the first, at answered.
	answer   lan.MAC
	answered vrrp.Time
}

// duplicate is what others claimed of what a Master holds. The zero value is
// nothing.
type duplicate struct {
	vip         netip.Addr
	mac         lan.MAC
	first, last vrrp.Time
	on          bool
	since       vrrp.Time
}

// member is who sent advertisements for a virtual router.
type member struct {
	mac   lan.MAC
	heard vrrp.Time
}

// keepClaims has the VIPs of the instances watched, and looks at each that is
// not known to be free.
func (l *loop) keepClaims(now vrrp.Time) {
	claims := map[host.VirtualAddress]*claim{}
	watch := map[int][]netip.Addr{}
	for _, in := range l.instances {
		for i := range in.vips {
			v := &in.vips[i]
			c := l.claims[v.key()]
			if c == nil {
				c = &claim{}
			}
			if c.in == nil || c.in.key != in.key {
				c.since = now
			}
			c.in, v.claim, claims[v.key()] = in, c, c
			watch[v.link.Index] = append(watch[v.link.Index], v.address)
		}
		in.claimAt = now
		if in.inUse && in.fault == "" {
			in.startAt = now // Others may be among its VIPs now.
		}
	}
	l.claims = claims
	if !maps.EqualFunc(watch, l.watching, slices.Equal) {
		l.watching, l.looking.watch = watch, watch
	}
}

func (v *placedVIP) key() host.VirtualAddress {
	return host.VirtualAddress{Link: v.link.Index, Address: v.address}
}

// claimed tells whether a Master may hold a VIP.
func (v *placedVIP) claimed() bool { return v.claim != nil && v.claim.free }

// inUse tells whether a VIP was found to be another's.
func (v *placedVIP) inUse() bool { return v.claim != nil && v.claim.inUse }

// claim asks for the VIPs of an instance that it is about to claim, or has been
// given, for the first time. A takeover finds it done.
func (l *loop) claim(in *instance, now vrrp.Time) {
	in.claimAt = never
	if in.fault != "" || in.state() == vrrp.Initialize && in.startAt == never {
		return
	}
	if begin := in.startAt.Add(-probeCopies * probePause); in.state() == vrrp.Initialize && now < begin {
		in.claimAt = begin
		return
	}
	for i := range in.vips {
		v := &in.vips[i]
		c := v.claim
		if c.free || linkFault(v.link) != "" {
			continue
		}
		if in.force || c.next <= now && l.ask(in, c, v, now) {
			c.free, c.inUse, c.since = true, false, now
			if in.state() == vrrp.Master && in.advertised {
				l.orderDue = true
				in.announce.start(now)
			}
			continue
		}
		in.claimAt = min(in.claimAt, c.next)
	}
}

// ask does what is due about a VIP that is not known to be free. It is true if
// nobody has it but a member of the virtual router. Any Master tells within a
// Master_Down_Interval that it is one.
func (l *loop) ask(in *instance, c *claim, v *placedVIP, now vrrp.Time) bool {
	if c.sent == 0 {
		c.answer, c.answered = lan.MAC{}, 0
	}
	if c.sent < probeCopies {
		l.probe(v, netip.Addr{})
		c.sent++
		c.next = now.Add(probePause)
		return false
	}
	if c.answer == (lan.MAC{}) || in.isMember(c.answer, now) {
		return true
	}
	if c.next = c.answered.Add(in.config.MasterDownInterval(in.config.AdvertisementInterval)); now < c.next {
		return false
	}
	c.inUse, c.holder = true, c.answer
	c.sent, c.next = 0, now.Add(inUseRetry)
	return false
}

// mayStart tells whether any VIP of an instance that never ran is its to claim.
// One that is in use must not cost the others.
func (l *loop) mayStart(in *instance, now vrrp.Time) bool {
	free := func(v placedVIP) bool { return v.claimed() }
	if in.claimAt == never || slices.ContainsFunc(in.vips, free) {
		return true
	}
	in.startAt = max(in.claimAt, now+1)
	if text, all := in.othersHave(); all {
		told := in.inUse
		in.inUse, in.reason = true, faultVIPInUse+": "+text
		if !told {
			l.tellFault(in, in.reason)
		}
	}
	return false
}

// othersHave says which VIPs of an instance are in use by others; empty if none.
func (in *instance) othersHave() (text string, all bool) {
	n := 0
	for i := range in.vips {
		v := &in.vips[i]
		if !v.inUse() {
			continue
		}
		if n == 0 {
			text = fmt.Sprintf("%s is used by %s", v.address, v.claim.holder)
		}
		n++
	}
	if n > 1 {
		text += fmt.Sprintf(", and %d more are in use", n-1)
	}
	return text, n > 0 && n == len(in.vips)
}

// probe has a VIP asked for with the next order.
func (l *loop) probe(v *placedVIP, source netip.Addr) {
	i := slices.IndexFunc(l.looking.probes, func(p probe) bool { return p.link == v.link.Index && p.source == source })
	if i < 0 {
		i = len(l.looking.probes)
		l.looking.probes = append(l.looking.probes, probe{link: v.link.Index, mac: v.link.HardwareAddr, source: source})
	}
	l.looking.probes[i].vips = append(l.looking.probes[i].vips, v.address)
}

// checkHeld asks for what a Master holds: a host that has it too and says so to
// nobody but those who ask is found by its answer.
func (l *loop) checkHeld(in *instance, now vrrp.Time) {
	if settled := in.settled(); now < settled {
		in.checkAt = settled
		return
	}
	begin := min(in.checked, len(in.vips))
	end := min(begin+checkChunk, len(in.vips))
	switch {
	case end < len(in.vips):
		in.checked, in.checkAt = end, now.Add(checkPause)
	case in.duplicate.lasts(now):
		in.checked, in.checkAt = 0, now.Add(defendPause)
	default:
		in.checked, in.checkAt = 0, now.Add(announceRefresh)
	}
	for i := begin; i < end; i++ {
		v := &in.vips[i]
		if !v.claimed() || linkFault(v.link) != "" {
			continue
		}
		var source netip.Addr
		if j := slices.IndexFunc(v.link.Addresses, isLinkLocal); j >= 0 && v.address.Is6() {
			// All nodes would take the answer to a probe without a source to heart.
			source = v.link.Addresses[j].Prefix.Addr()
		}
		l.probe(v, source)
	}
}

// placeLook posts what is to be watched and asked for.
func (l *loop) placeLook() {
	if l.looking.watch != nil || len(l.looking.probes) > 0 {
		l.look(l.looking)
		l.looking = lookOrder{}
	}
}

// heard takes in that somebody claims an address. Two interfaces of this node may
// be on one LAN, and the virtual router's own MAC is no stranger's.
func (l *loop) heard(heard lan.Claim, now vrrp.Time) {
	c := l.claims[host.VirtualAddress{Link: heard.Index, Address: heard.Address}]
	if c == nil || l.ownMACs[heard.MAC] || isVirtualMAC(heard.MAC, c.in.key.VRID) {
		return
	}
	in := c.in
	switch {
	case !c.free:
		if c.sent > 0 && (c.answer == (lan.MAC{}) || in.isMember(c.answer, now)) {
			c.answer, c.answered = heard.MAC, now
		}
	case in.state() != vrrp.Master || !in.advertised:
	case now < max(in.settled(), c.since.Add(settling)):
		in.announce.again(now)
	default:
		in.noteDuplicate(heard, now)
	}
}

// noteDuplicate takes in a claim of what a Master holds for long. A single one
// may be a frame of a Master that stood still before it could send it: whether it
// is more is asked. What is held is defended.
func (in *instance) noteDuplicate(heard lan.Claim, now vrrp.Time) {
	in.claims++
	d := &in.duplicate
	if !d.lasts(now) || !d.on && in.memberHeard >= d.first {
		// Or another Master that was heard by now explains what was claimed before.
		*d = duplicate{first: now}
		in.checked, in.checkAt = 0, min(in.checkAt, now.Add(confirmed+probePause))
	}
	d.last = now
	if !d.on {
		d.vip, d.mac = heard.Address, heard.MAC
		d.on, d.since = now.Sub(d.first) >= confirmed, now
	}
	if now >= in.defendAt {
		in.defendAt = now.Add(defendPause)
		in.announce.start(now)
	}
}

// lasts tells whether somebody claimed what is held a short time ago.
func (d *duplicate) lasts(now vrrp.Time) bool {
	return d.vip.IsValid() && now.Sub(d.last) < duplicateLasts
}

// settled is when claims of others stop to be what a takeover brings about.
func (in *instance) settled() vrrp.Time { return max(in.changed, in.memberHeard).Add(settling) }

// noteMember takes in who sent an advertisement for the virtual router.
func (in *instance) noteMember(mac lan.MAC, now vrrp.Time) {
	in.memberHeard = now
	oldest := 0
	for i := range in.members {
		if in.members[i].mac == mac {
			in.members[i].heard = now
			return
		}
		if in.members[i].heard < in.members[oldest].heard {
			oldest = i
		}
	}
	in.members[oldest] = member{mac, now}
}

// isMember tells whether a MAC is that of a Master heard shortly before. With
// unicast its advertisements may come from another interface of it, or by a
// router.
func (in *instance) isMember(mac lan.MAC, now vrrp.Time) bool {
	recent := now.Add(-max(settling, in.config.MasterDownInterval(in.config.AdvertisementInterval)))
	if in.config.Unicast {
		return in.memberHeard > recent
	}
	return slices.ContainsFunc(in.members[:], func(m member) bool { return m.mac == mac && m.heard > recent })
}

// isVirtualMAC tells whether a MAC is that of a virtual router (RFC 9568 section
// 7.3).
func isVirtualMAC(mac lan.MAC, vrid uint8) bool {
	return mac == lan.MAC{0, 0, 0x5e, 0, 1, vrid} || mac == lan.MAC{0, 0, 0x5e, 0, 2, vrid}
}

// claimAlarms calls add for what others claim of an instance's VIPs.
func (in *instance) claimAlarms(now vrrp.Time, add func(vrrp.Alarm)) {
	if in.state() == vrrp.Initialize {
		return
	}
	if text, _ := in.othersHave(); text != "" {
		add(vrrp.Alarm{Reason: vrrp.AlarmVIPInUse, Detail: text, Since: now})
	}
	if d := &in.duplicate; d.on && d.lasts(now) {
		add(vrrp.Alarm{Reason: vrrp.AlarmDuplicateAddress, Detail: fmt.Sprintf("%s is claimed by %s", d.vip, d.mac), Since: d.since})
	}
}

// ownMACs are the hardware addresses of the node's links.
func ownMACs(links []host.Link) map[lan.MAC]bool {
	macs := make(map[lan.MAC]bool, len(links))
	for i := range links {
		if len(links[i].HardwareAddr) == len(lan.MAC{}) {
			macs[lan.MAC(links[i].HardwareAddr)] = true
		}
	}
	return macs
}
