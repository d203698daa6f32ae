package engine

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// publishPause keeps a takeover of many virtual routers, each of which has
// something new to show, from being about showing it.
const publishPause = 20 * time.Millisecond

// publish makes the loop's state readable by others. The beat goes out with
// every turn; the rest when an order was placed, which every change causes
// and every lease refresh too.
func (l *loop) publish(now vrrp.Time) {
	l.engine.beat.Store(int64(max(time.Since(l.engine.began), 1)))
	if l.published == l.seq || now < l.mayPublish && !l.stopping {
		return
	}
	l.mayPublish = now.Add(publishPause)
	l.published = l.seq
	s := &desired.Status{
		Routers:  make([]desired.RouterStatus, 0, len(l.instances)),
		Unplaced: slices.Clone(l.unplaced),
		Applied:  l.desired != nil && l.links != nil,
		Lateness: l.late.worst(now),
		Unheard:  maps.Clone(l.unheard),

		PulseFailures: l.pulses.failures,
	}
	for _, in := range l.instances {
		s.Routers = append(s.Routers, l.routerStatus(in))
	}
	for _, p := range l.ports {
		if _, ok := l.listening[portOf(p.Interface)]; ok {
			s.Interfaces = append(s.Interfaces, p.Name)
			s.Foreign = l.appendForeign(s.Foreign, p.Interface, now)
		}
	}
	slices.Sort(s.Interfaces)
	s.Interfaces = slices.Compact(s.Interfaces) // It has a port for each family.
	slices.SortStableFunc(s.Foreign, func(a, b desired.ForeignRouter) int {
		return cmp.Or(compareKeys(a.RouterKey, b.RouterKey), a.Source.Compare(b.Source))
	})
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
		Master: r.Master, MasterPriority: r.MasterPriority, ListOf: r.ListOf, ForeignClaims: in.claims, Alarms: in.alarms, Counters: r.Counters,
		AddressRemovals: in.removals.total,
		VIPs:            make([]desired.VIPStatus, 0, len(in.vips)),
	}
	if in.config.Unicast {
		s.Unicast = in.config.Peers
	}
	advertised := make(map[netip.Addr]bool, len(r.Advertised))
	for _, a := range r.Advertised {
		advertised[a] = true
	}
	for _, v := range in.vips {
		vip := desired.VIPStatus{
			Address: v.address, Interface: v.link.Name, Placement: v.reason, Advertised: advertised[v.address],
			Bound: l.bound[v.bound()],
		}
		if v.isVirtual() {
			vip.VirtualMAC = v.virtual.HardwareAddr().String()
		}
		if v.inUse() {
			vip.InUseBy = v.claim.holder.String()
		}
		s.VIPs = append(s.VIPs, vip)
	}
	return s
}

// appendForeign appends who is heard on an interface for a virtual router that
// is not one of ours.
func (l *loop) appendForeign(all []desired.ForeignRouter, i lan.Interface, now vrrp.Time) []desired.ForeignRouter {
	for _, h := range l.sightings[portOf(i)].Heard(now) {
		key := desired.RouterKey{Interface: i.Name, Family: h.Family, VRID: h.VRID}
		if _, ours := slices.BinarySearchFunc(l.instances, key, func(in *instance, k desired.RouterKey) int { return compareKeys(in.key, k) }); ours {
			continue
		}
		all = append(all, desired.ForeignRouter{
			RouterKey: key, Source: h.Source, Version: h.Version, Priority: h.Priority, Interval: h.Interval, Addresses: h.Addresses,
		})
	}
	return all
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
