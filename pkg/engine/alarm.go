package engine

import (
	"fmt"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// conflictLasts is how long others must have used the VRID for something else
// before it is an alarm. Our own nodes, which are not always known as such,
// learn of an edit of all VIPs one after the other.
const conflictLasts = 3 * time.Second

// watchAlarms tells of the alarms that have begun and ended since the last
// call. An instance has at most one of each reason: others that cause it too
// take its place when it ends.
func (l *loop) watchAlarms(now vrrp.Time) {
	for _, in := range l.instances {
		alarms := l.alarms(in, now)
		if len(alarms) == 0 && len(in.alarms) == 0 {
			continue
		}
		old := in.alarms
		in.alarms = alarms
		for i := range alarms {
			if j := indexAlarm(old, alarms[i].Reason); j >= 0 {
				alarms[i].Since = old[j].Since
			} else {
				l.tellAlarm(in, alarms[i], true)
			}
		}
		for _, a := range old {
			if indexAlarm(alarms, a.Reason) < 0 {
				l.tellAlarm(in, a, false)
			}
		}
	}
}

// alarms returns what is wrong about an instance now, each reason once.
func (l *loop) alarms(in *instance, now vrrp.Time) (alarms []desired.Alarm) {
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
	in.claimAlarms(now, add)
	if s := l.sightings[in.port()]; s != nil && in.state() != vrrp.Initialize {
		with, detail, found := s.Conflict(now, in.applied)
		if !found {
			in.conflict = never
			return alarms
		}
		in.conflict = min(in.conflict, now)
		if now.Sub(in.conflict) >= conflictLasts {
			add(vrrp.Alarm{Reason: vrrp.AlarmVRIDConflict, Source: with.Source, Detail: detail, Since: in.conflict})
		}
	}
	return alarms
}

func indexAlarm(alarms []desired.Alarm, reason string) int {
	return slices.IndexFunc(alarms, func(a desired.Alarm) bool { return a.Reason == reason })
}

func (l *loop) tellAlarm(in *instance, a desired.Alarm, on bool) {
	c := desired.AlarmChange{RouterKey: in.key, Alarm: a, On: on, VIPs: slices.Clone(in.config.Addresses)}
	l.notifier.tell(func() {
		fields := []any{"interface", c.Interface, "family", c.Family, "vrid", c.VRID, "reason", c.Reason}
		if c.Source.IsValid() {
			fields = append(fields, "source", c.Source)
		}
		if c.On && c.Detail != "" {
			fields = append(fields, "err", c.Detail)
		}
		if c.On {
			l.logger.Info("Alarm began", fields...)
		} else {
			l.logger.Info("Alarm ended", append(fields, "elapsed", wallClock().Sub(c.Since).Round(time.Second))...)
		}
		l.engine.config.OnAlarm(c)
	})
}

// conflict tells who uses the VRID of an instance for something else, and of
// a VRID that nobody uses.
func (l *loop) conflict(in *instance, now vrrp.Time) (reason string, found bool) {
	s := l.sightings[in.port()]
	with, detail, found := s.Conflict(now, in.applied)
	if !found {
		return "", false
	}
	reason = fmt.Sprintf("%s: %s uses it with %s", faultVRIDConflict, with.Source, detail)
	ours := map[uint8]bool{}
	for i := range l.desired.Routers {
		ours[l.desired.Routers[i].VRID] = true
	}
	for i := range 254 {
		if vrid := uint8((int(in.key.VRID)+i)%255 + 1); !ours[vrid] && len(s.HeardFor(now, vrid)) == 0 {
			return fmt.Sprintf("%s; VRID %d is free", reason, vrid), true
		}
	}
	return reason, true
}
