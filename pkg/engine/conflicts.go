package engine

import (
	"maps"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/conflict"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// conflicts connects the conflict detectors of the instances with the probe
// worker.
type conflicts struct {
	post func(probeOrder)
	// byAddress has the instance of each VIP, on the link that it belongs to.
	byAddress map[conflict.Address]*instance
	instances []*instance // those of byAddress
	watching  map[int][]netip.Addr
	// order is posted at the end of the iteration.
	order probeOrder
}

// configure gives each detector the VIPs of its instance. A VIP that moves to
// another one keeps its finding.
func (c *conflicts) configure(instances []*instance, now vrrp.Time) {
	byAddress := make(map[conflict.Address]*instance, len(c.byAddress))
	watch := map[int][]netip.Addr{}
	for _, in := range instances {
		for _, v := range in.vips {
			a := conflict.Address{Link: v.link.Index, IP: v.address}
			byAddress[a] = in
			watch[a.Link] = append(watch[a.Link], a.IP)
		}
	}
	var known map[conflict.Address]conflict.Finding
	if !maps.Equal(byAddress, c.byAddress) {
		known = c.findings()
	}
	c.byAddress, c.instances = byAddress, instances
	for _, in := range instances {
		vips := make([]conflict.VIP, 0, len(in.vips))
		for _, v := range in.vips {
			vips = append(vips, conflict.VIP{Address: conflict.Address{Link: v.link.Index, IP: v.address}, LinkUp: linkFault(v.link) == ""})
		}
		in.detector.Configure(now, conflict.Settings{
			VRID: in.key.VRID, Unicast: in.config.Unicast, Force: in.force,
			MasterDownInterval: in.config.MasterDownInterval(in.config.AdvertisementInterval),
		}, vips, known)
	}
	if !maps.EqualFunc(watch, c.watching, slices.Equal) {
		c.watching, c.order.watch = watch, watch
	}
}

// findings returns the findings of all VIPs.
func (c *conflicts) findings() map[conflict.Address]conflict.Finding {
	all := make(map[conflict.Address]conflict.Finding, len(c.byAddress))
	for _, in := range c.instances {
		in.detector.AppendFindings(all)
	}
	return all
}

// probe adds probes of an instance to the next order. A VIP that is held is asked
// for from a link-local address of its link, if it is an IPv6 one.
func (c *conflicts) probe(in *instance, probes []conflict.Probe) {
	for _, p := range probes {
		link := &in.vips[p.Index].link
		var source netip.Addr
		if j := slices.IndexFunc(link.Addresses, isLinkLocal); j >= 0 && p.Held && p.IP.Is6() {
			source = link.Addresses[j].Prefix.Addr()
		}
		i := slices.IndexFunc(c.order.probes, func(q probe) bool { return q.link == p.Link && q.source == source })
		if i < 0 {
			i = len(c.order.probes)
			c.order.probes = append(c.order.probes, probe{link: p.Link, mac: link.HardwareAddr, source: source})
		}
		c.order.probes[i].vips = append(c.order.probes[i].vips, p.IP)
	}
}

// heard passes on that a host claims an address. It returns the instance that has
// it, nil if there is none, and the reaction.
func (c *conflicts) heard(claim lan.NeighborEvent, now vrrp.Time) (*instance, conflict.Reaction) {
	a := conflict.Address{Link: claim.Index, IP: claim.IP}
	in := c.byAddress[a]
	if in == nil {
		return nil, conflict.None
	}
	return in, in.detector.HeardClaim(now, a, conflict.MAC(claim.MAC))
}

// sync posts the order.
func (c *conflicts) sync() {
	if c.order.watch != nil || len(c.order.probes) > 0 {
		c.post(c.order)
		c.order = probeOrder{}
	}
}
