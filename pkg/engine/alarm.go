package engine

import (
	"fmt"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// alarmsAt returns the alarms of an instance at now, each reason once. Of two
// causes of one alarm the second takes the place of the first when that ends.
func (in *instance) alarmsAt(now vrrp.Time, monitor *vrrp.Monitor) (alarms []desired.Alarm) {
	if in.router == nil {
		return nil
	}
	add := func(a vrrp.Alarm) {
		if indexAlarm(alarms, string(a.Reason)) < 0 {
			alarms = append(alarms, desired.Alarm{
				Reason: string(a.Reason), Source: a.Source, Detail: a.Detail, Since: wallClock().Add(-now.Sub(a.Since)),
			})
		}
	}
	for _, a := range in.router.Alarms(now) {
		add(a)
	}
	in.addConflictAlarms(now, add)
	if monitor != nil && in.state() != vrrp.Initialize {
		with, detail, found := monitor.Conflict(now, in.applied)
		if !found {
			in.vridConflict = never
			return alarms
		}
		in.vridConflict = min(in.vridConflict, now)
		if now.Sub(in.vridConflict) >= vridConflictLasts {
			add(vrrp.Alarm{Reason: vrrp.AlarmVRIDConflict, Source: with.Source, Detail: detail, Since: in.vridConflict})
		}
	}
	return alarms
}

// vridConflictLasts is how long others must have used the VRID for another virtual
// router before it is an alarm. Our own nodes, which are not always known as such,
// learn of an edit of all VIPs one after the other.
const vridConflictLasts = 3 * time.Second

func indexAlarm(alarms []desired.Alarm, reason string) int {
	return slices.IndexFunc(alarms, func(a desired.Alarm) bool { return a.Reason == reason })
}

// othersHave returns a text about the VIPs of an instance that are in use by other
// hosts, empty if none is, and whether all are.
func (in *instance) othersHave() (text string, all bool) {
	n, first := in.detector.CountInUse()
	if n == 0 {
		return "", false
	}
	text = fmt.Sprintf("%s is used by %s", in.vips[first].address, in.detector.Holder(first))
	if n > 1 {
		text += fmt.Sprintf(", and %d more are in use", n-1)
	}
	return text, n == len(in.vips)
}

// addConflictAlarms calls add for the conflicts about an instance's VIPs.
func (in *instance) addConflictAlarms(now vrrp.Time, add func(vrrp.Alarm)) {
	if in.state() == vrrp.Initialize {
		return
	}
	if text, _ := in.othersHave(); text != "" {
		add(vrrp.Alarm{Reason: vrrp.AlarmVIPInUse, Detail: text, Since: now})
	}
	if vip, mac, since, found := in.detector.Duplicate(now); found {
		add(vrrp.Alarm{Reason: vrrp.AlarmDuplicateAddress, Detail: fmt.Sprintf("%s is claimed by %s", vip, mac), Since: since})
	}
}
