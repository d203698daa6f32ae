package conflict

import (
	"slices"

	"kube-vrrp-vip/pkg/vrrp"
)

// maxMembers is the number of members that are remembered.
const maxMembers = 8

// members are the hosts that sent the last advertisements of a virtual router.
type members struct {
	last [maxMembers]member
	// heard is the time of the last advertisement.
	heard vrrp.Time
}

type member struct {
	mac   MAC
	heard vrrp.Time
}

// HeardMember records an advertisement of another member, by the MAC address of
// its frame: a Master may advertise the address list of another router, so the
// list does not say which VIPs it holds.
func (d *Detector) HeardMember(now vrrp.Time, mac MAC) {
	m := &d.members
	m.heard = now
	oldest := 0
	for i := range m.last {
		if m.last[i].mac == mac {
			m.last[i].heard = now
			return
		}
		if m.last[i].heard < m.last[oldest].heard {
			oldest = i
		}
	}
	m.last[oldest] = member{mac, now}
}

// isMember reports whether mac is that of a member that advertised a short time
// ago.
func (d *Detector) isMember(mac MAC, now vrrp.Time) bool {
	recent := now.Add(-max(settling, d.settings.MasterDownInterval))
	if d.settings.Unicast {
		return d.members.heard > recent
	}
	return slices.ContainsFunc(d.members.last[:], func(m member) bool { return m.mac == mac && m.heard > recent })
}
