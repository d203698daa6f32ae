package engine

import (
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

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
	o := order{seq: l.seq, answer: l.answering, announce: mergeAnnouncements(nil, l.announce)}
	l.announce = nil
	for _, in := range l.instances {
		if in.state() != vrrp.Master || !in.advertised {
			continue
		}
		for _, v := range in.vips {
			if v.claimed() && v.on.Index != 0 {
				o.want = append(o.want, v.bound())
			}
		}
	}
	l.post(o)
}

// announceVIPs has an instance's addresses announced with the next order. first
// tells that somebody else may have had them until now.
func (l *loop) announceVIPs(in *instance, first bool) {
	if l.announce == nil {
		l.announce = map[int]announcement{}
	}
	for _, v := range in.vips {
		if v.on.Index == 0 {
			continue
		}
		a := l.announce[v.on.Index]
		a.hardwareAddr = v.on.HardwareAddr
		if first {
			a.first = append(a.first, v.address)
		} else {
			a.again = append(a.again, v.address)
		}
		l.announce[v.on.Index] = a
	}
	l.orderDue = true
}

// answers tells how each VIP is answered for.
func (l *loop) answers() map[netip.Addr]desired.Answer {
	answering := map[netip.Addr]desired.Answer{}
	for _, in := range l.instances {
		var pulse desired.Pulse
		if l.pulses.pulser != nil && !l.pulses.lost() {
			pulse = in.pulse()
		}
		for _, v := range in.vips {
			answering[v.address] = desired.Answer{Interface: v.on.Name, Index: v.on.Index, Pulse: pulse}
		}
	}
	return answering
}

// releaseLater arranges for priority 0 to be sent when the addresses of an
// instance are gone.
func (l *loop) releaseLater(in *instance, a *vrrp.Advertisement, now vrrp.Time) {
	r := release{
		link: in.link.Index, source: in.config.Source,
		// The order that placeOrder posts at the end of this turn.
		seq: l.seq + 1, deadline: now.Add(releaseTime),
	}
	for _, to := range in.destinations() {
		r.messages = append(r.messages, message{to, a.Append(nil, r.source, to)})
	}
	l.orderDue = true
	l.releases = append(l.releases, r)
}

// releaseBefore sends those that could not be sent any more when only these ports
// are in use: an address is let go of with its interface, or a moment later.
func (l *loop) releaseBefore(ports []*lan.Port, now vrrp.Time) {
	for i := range l.releases {
		r := &l.releases[i]
		if !slices.ContainsFunc(ports, func(p *lan.Port) bool { return p.Index == r.link && p.IPv6 == r.source.Is6() }) {
			r.deadline = now
		}
	}
	l.release(now)
}

// release sends the priority 0 advertisements whose addresses are gone.
func (l *loop) release(now vrrp.Time) {
	l.releases = slices.DeleteFunc(l.releases, func(r release) bool {
		if l.acked < r.seq && now < r.deadline {
			return false
		}
		for range releaseCopies {
			for _, m := range r.messages {
				// If the link is gone, so is everybody who could hear.
				_ = l.network.Send(r.link, r.source, m.destination, m.payload)
			}
		}
		return true
	})
}
