package conflict

import (
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// settling is the time after a takeover, or after another Master was heard, in
	// which another host may claim a VIP: the kernel of a killed Master answers
	// until the lease has ended, and keepalived announces again after 5 s even if
	// it has yielded by then.
	settling = 6 * time.Second
	// confirmation must pass between two claims before they are a duplicate: one
	// frame may be that of a Master that stalled before it could send it.
	confirmation = time.Second
	// QuietTime is the time after which a claim does not count any more.
	QuietTime = 30 * time.Second
	// DefendInterval is the least time between two defences (RFC 5227 section 2.4:
	// DEFEND_INTERVAL), so that two hosts do not defend an address against each
	// other without end. A duplicate is probed as often.
	DefendInterval = 10 * time.Second
	// checkInterval is the interval at which a Master probes its VIPs.
	checkInterval = time.Minute
	// CheckBatch is the number of VIPs that a Master probes at a time, and
	// checkPause the time between two batches: no faster than it announces them.
	CheckBatch = 64
	checkPause = 32 * time.Millisecond
)

// held is the state of the VIPs that a Master holds.
type held struct {
	master bool
	taken  vrrp.Time
	// checkAt is the time to probe the next batch of VIPs, and checked the number
	// of VIPs that have been probed in this round.
	checkAt vrrp.Time
	checked int
	// suspect is the VIP that another host claimed last.
	suspect suspect
	// defendAt is the time of the next defence at the earliest.
	defendAt vrrp.Time
	claims   uint64
}

// suspect is a VIP that this node and another host claim. The zero value is none.
type suspect struct {
	ip  netip.Addr
	mac MAC
	// first and last are the times of the first and the last claim.
	first, last vrrp.Time
	// duplicate reports that there were two claims with confirmation between them;
	// since is the time of the second one.
	duplicate bool
	since     vrrp.Time
}

// recent reports whether the last claim was a short time ago.
func (s *suspect) recent(now vrrp.Time) bool {
	return s.ip.IsValid() && now.Sub(s.last) < QuietTime
}

// Take records that this node is Master and holds the VIPs.
func (d *Detector) Take(now vrrp.Time) {
	d.held.master, d.held.taken, d.held.defendAt = true, now, now
	d.held.checkAt = d.settled()
	d.updateDeadline()
}

// Yield records that this node holds the VIPs no more.
func (d *Detector) Yield() {
	d.held = held{checkAt: vrrp.Never, claims: d.held.claims}
	d.updateDeadline()
}

// Claims returns how often another host claimed a VIP that this node held, since
// NewDetector. Claims shortly after a takeover do not count.
func (d *Detector) Claims() uint64 { return d.held.claims }

// Duplicate returns the VIP that another host has too, that host, and the time at
// which this was found.
func (d *Detector) Duplicate(now vrrp.Time) (vip netip.Addr, mac MAC, since vrrp.Time, found bool) {
	s := &d.held.suspect
	if !s.duplicate || !s.recent(now) {
		return netip.Addr{}, MAC{}, 0, false
	}
	return s.ip, s.mac, s.since, true
}

// settled returns the time from which a claim is not explained by a takeover.
func (d *Detector) settled() vrrp.Time { return max(d.held.taken, d.members.heard).Add(settling) }

// claimed records that another host claims a VIP that this node has held for long.
func (d *Detector) claimed(now vrrp.Time, ip netip.Addr, mac MAC) Reaction {
	h := &d.held
	h.claims++
	s := &h.suspect
	// Another Master that was heard after the first claim explains that claim.
	explained := !s.duplicate && d.members.heard >= s.first
	if !s.recent(now) || explained {
		*s = suspect{first: now}
		h.checked, h.checkAt = 0, min(h.checkAt, now.Add(confirmation+Interval))
		d.updateDeadline()
	}
	s.last = now
	if !s.duplicate {
		s.ip, s.mac = ip, mac
		s.duplicate, s.since = now.Sub(s.first) >= confirmation, now
	}
	if now < h.defendAt {
		return None
	}
	h.defendAt = now.Add(DefendInterval)
	return Defend
}

// check probes the next batch of VIPs that this node holds: a host that has one
// too may say so only to hosts that ask.
func (d *Detector) check(now vrrp.Time, out *Output) {
	h := &d.held
	if settled := d.settled(); now < settled {
		h.checkAt = settled
		return
	}
	begin := min(h.checked, len(d.vips))
	end := min(begin+CheckBatch, len(d.vips))
	switch {
	case end < len(d.vips):
		h.checked, h.checkAt = end, now.Add(checkPause)
	case h.suspect.recent(now):
		h.checked, h.checkAt = 0, now.Add(DefendInterval)
	default:
		h.checked, h.checkAt = 0, now.Add(checkInterval)
	}
	for i := begin; i < end; i++ {
		if d.findings[i].state == Available && d.vips[i].LinkUp {
			out.Probes = append(out.Probes, Probe{Address: d.vips[i].Address, Index: i, Held: true})
		}
	}
}
