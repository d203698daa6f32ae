package engine

import (
	"maps"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// publish makes the loop's state readable by others. The beat goes out with
// every turn; the rest when an order was placed, which every change causes
// and every lease refresh too.
func (l *loop) publish(now vrrp.Time) {
	l.engine.beat.Store(wallClock().UnixNano())
	if l.published == l.seq {
		return
	}
	l.published = l.seq
	s := &desired.Status{
		Routers:  make([]desired.RouterStatus, 0, len(l.instances)),
		Unplaced: slices.Clone(l.unplaced),
		Applied:  l.desired != nil && l.links != nil,
		Lateness: l.late.worst(now),
		Unheard:  maps.Clone(l.unheard),
	}
	for _, in := range l.instances {
		s.Routers = append(s.Routers, l.routerStatus(in))
	}
	if l.links != nil {
		for _, link := range l.links.Links {
			if l.listening[link.Index] != 0 {
				s.Interfaces = append(s.Interfaces, link.Name)
			}
		}
		slices.Sort(s.Interfaces)
	}
	l.engine.status.Store(s)
}

func (l *loop) routerStatus(in *instance) desired.RouterStatus {
	var r vrrp.Status
	if in.router != nil {
		r = in.router.Status()
	}
	s := desired.RouterStatus{
		RouterKey: in.key, State: r.State, Reason: in.reason, Since: in.since,
		Version: in.config.Version, Priority: in.config.Priority, Interval: in.config.AdvertisementInterval,
		Master: r.Master, MasterPriority: r.MasterPriority, Counters: r.Counters,
		VIPs: make([]desired.VIPStatus, 0, len(in.vips)),
	}
	for _, v := range in.vips {
		s.VIPs = append(s.VIPs, desired.VIPStatus{
			Address: v.address, Bound: bound(*l.links, in.link.Index, v.address), Placement: v.reason,
		})
	}
	return s
}

// latenessWindow remembers the worst lateness of the last one to two minutes.
type latenessWindow struct {
	current, previous time.Duration
	began             vrrp.Time
}

func (w *latenessWindow) note(now vrrp.Time, late time.Duration) {
	if now.Sub(w.began) > time.Minute {
		w.current, w.previous, w.began = 0, w.current, now
	}
	w.current = max(w.current, late)
}

func (w *latenessWindow) worst(now vrrp.Time) time.Duration {
	if now.Sub(w.began) > 2*time.Minute {
		return w.current
	}
	return max(w.current, w.previous)
}
