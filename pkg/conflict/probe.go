package conflict

import "kube-vrrp-vip/pkg/vrrp"

// probeDeadline returns the time of the next step of a VIP that is not Available.
func (d *Detector) probeDeadline() vrrp.Time {
	if d.nextProbe == vrrp.Never {
		return vrrp.Never
	}
	return max(d.begin, d.nextProbe)
}

func (d *Detector) updateNextProbe() {
	d.nextProbe = vrrp.Never
	for i, v := range d.vips {
		switch f := &d.findings[i]; {
		case f.state == Available || !v.LinkUp:
		case d.settings.Force:
			d.nextProbe = 0
		default:
			d.nextProbe = min(d.nextProbe, f.next)
		}
	}
}

// probe does the step that is due for each VIP that is not Available.
func (d *Detector) probe(now vrrp.Time, out *Output) {
	for i, v := range d.vips {
		f := &d.findings[i]
		if f.state == Available || !v.LinkUp {
			continue
		}
		if d.settings.Force || f.next <= now && d.step(i, now, out) {
			f.state, f.since = Available, now
			out.Bind = out.Bind || d.held.master
		}
	}
	d.updateNextProbe()
}

// step does the next step of one VIP. It reports whether no host but a member has
// the VIP. A claim is judged a Master_Down_Interval after it was heard: a Master
// whose announcement overtook its advertisement is known as a member by then.
func (d *Detector) step(i int, now vrrp.Time, out *Output) (available bool) {
	f := &d.findings[i]
	if f.sent == 0 {
		f.claimant, f.claimedAt = MAC{}, 0
	}
	if f.sent < Count {
		out.Probes = append(out.Probes, Probe{Address: d.vips[i].Address, Index: i})
		f.sent++
		f.next = now.Add(Interval)
		return false
	}
	if f.claimant == (MAC{}) || d.isMember(f.claimant, now) {
		return true
	}
	if f.next = f.claimedAt.Add(d.settings.MasterDownInterval); now < f.next {
		return false
	}
	f.state, f.holder = InUse, f.claimant
	f.sent, f.next = 0, now.Add(RetryInterval)
	return false
}
