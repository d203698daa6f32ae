package engine

import (
	"errors"
	"net"
	"net/netip"
)

// conflictDetector listens for hosts that claim addresses on the LANs, which it
// passes to Engine.Heard, and probes for them.
type conflictDetector interface {
	Watch(vips map[int][]netip.Addr) error
	Probe(index int, mac net.HardwareAddr, source netip.Addr, vips []netip.Addr) error
}

// probeOrder says which VIPs to listen and probe for.
type probeOrder struct {
	// watch are the VIPs to listen for, by link; nil if they are the same as
	// before.
	watch  map[int][]netip.Addr
	probes []probe
}

// probe asks for VIPs on a link.
type probe struct {
	link int
	mac  net.HardwareAddr
	// source is an IPv6 address of the link, which the reply goes to. Without one
	// the probe claims no address, and the reply goes to all nodes.
	source netip.Addr
	vips   []netip.Addr
}

// probeWorker sends probes.
type probeWorker struct {
	*worker[probeOrder]
	detector conflictDetector
	outcomes outcomes
	watching map[int][]netip.Addr
}

func newProbeWorker(d conflictDetector, reported func(outcome)) *probeWorker {
	p := &probeWorker{detector: d, outcomes: outcomes{source: sourceProbes, reported: reported}}
	p.worker = newWorker(p.sync, func(waiting, o probeOrder) probeOrder {
		if o.watch == nil {
			o.watch = waiting.watch
		}
		o.probes = append(waiting.probes, o.probes...)
		return o
	}, func() { p.sync(probeOrder{watch: p.watching}) }) // Opens sockets that failed.
	return p
}

func (p *probeWorker) sync(o probeOrder) {
	var errs []error
	if o.watch != nil {
		p.watching = o.watch
		errs = append(errs, p.detector.Watch(o.watch))
	}
	for _, q := range o.probes {
		errs = append(errs, p.detector.Probe(q.link, q.mac, q.source, q.vips))
	}
	p.outcomes.note(errors.Join(errs...))
}
