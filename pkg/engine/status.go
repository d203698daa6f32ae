package engine

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/conflict"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

// status returns a snapshot of the loop's state.
func (l *loop) status(now vrrp.Time) *desired.Status {
	s := &desired.Status{
		Routers:    make([]desired.RouterStatus, 0, len(l.instances)),
		Unplaced:   slices.Clone(l.assigned.unplaced),
		Interfaces: l.sockets.names(),
		Applied:    l.desired != nil && l.links.snapshot != nil,
		Lateness:   l.publisher.late.worst(now),
		Unheard:    maps.Clone(l.sockets.unmatched),

		PulseFailures: l.heartbeats.failures,
	}
	for _, in := range l.instances {
		s.Routers = append(s.Routers, in.status(l.links.bound))
	}
	s.Foreign = l.sockets.foreign(func(key desired.RouterKey) bool {
		_, ours := slices.BinarySearchFunc(l.instances, key, func(in *instance, k desired.RouterKey) int { return compareKeys(in.key, k) })
		return ours
	}, now)
	slices.SortStableFunc(s.Foreign, func(a, b desired.ForeignRouter) int {
		return cmp.Or(compareKeys(a.RouterKey, b.RouterKey), a.Source.Compare(b.Source))
	})
	return s
}

// status returns a snapshot of an instance. bound are the addresses that this
// daemon has bound.
func (in *instance) status(bound map[host.VirtualAddress]bool) desired.RouterStatus {
	var r vrrp.Status
	if in.router != nil {
		r = in.router.Status()
	}
	s := desired.RouterStatus{
		RouterKey: in.key, State: r.State, Cause: in.cause, Since: in.since,
		Version: in.config.Version, Priority: in.config.Priority, Interval: in.config.AdvertisementInterval,
		Master: r.Master, MasterPriority: r.MasterPriority, ListOf: r.AdvertisingListOf, ForeignClaims: in.detector.Claims(), Alarms: in.alarms, Counters: r.Counters,
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
	for i, v := range in.vips {
		vip := desired.VIPStatus{
			Address: v.address, Interface: v.link.Name, Placement: v.reason, Advertised: advertised[v.address],
			Bound: bound[v.bound()],
		}
		if v.isVirtual() {
			vip.VirtualMAC = v.virtual.HardwareAddr().String()
		}
		if in.detector.State(i) == conflict.InUse {
			vip.InUseBy = in.detector.Holder(i).String()
		}
		s.VIPs = append(s.VIPs, vip)
	}
	return s
}
