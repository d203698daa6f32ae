package engine

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

// virtualLinks makes the links that have the MAC addresses of virtual routers.
type virtualLinks interface {
	Set(want []host.VirtualLink) (map[host.VirtualLink]int, error)
}

// senders keeps the LAN from learning the MAC address of the interface for a
// VIP with a virtual one: what the node asks by ARP for packets of the VIP, it
// asks from another address.
type senders interface {
	SetSenders(senders map[netip.Addr]netip.Addr) error
}

// linkOrder is what is wanted for all VIPs with a virtual MAC.
type linkOrder struct {
	links   []host.VirtualLink // sorted by name
	senders map[netip.Addr]netip.Addr
}

func (o linkOrder) equal(p linkOrder) bool {
	return slices.Equal(o.links, p.links) && maps.Equal(o.senders, p.senders)
}

// virtualReport is what became of the links with virtual MAC addresses.
type virtualReport struct {
	// ready are the indexes of those that can be used.
	ready map[host.VirtualLink]int
	// failed says what is wrong with each other one.
	failed map[host.VirtualLink]error
	// err is all that went wrong, nil if nothing did.
	err error
}

// errNotMade is the error of a link that nothing was reported about yet.
var errNotMade = errors.New("the link with the virtual MAC address has not been made yet")

// linker makes and removes links for the loop, which must not wait for it.
// They are made before they are needed, so that a takeover does not wait
// either.
type linker struct {
	links    virtualLinks
	senders  senders
	reported func(virtualReport)
	orders   *mailbox[linkOrder]
	want     linkOrder
	last     virtualReport
}

func newLinker(links virtualLinks, senders senders, reported func(virtualReport)) *linker {
	return &linker{links: links, senders: senders, reported: reported, orders: newMailbox[linkOrder]()}
}

// post hands over what is wanted now. It never blocks.
func (k *linker) post(want linkOrder) { k.orders.put(want, nil) }

// run carries out orders until ctx ends. The last one is repeated, since others
// change links and their settings.
func (k *linker) run(ctx context.Context) {
	tick := time.NewTicker(tellAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if len(k.want.links) > 0 || k.last.err != nil {
				k.carryOut(k.want)
			}
		case <-k.orders.signal:
			if want, ok := k.orders.take(); ok {
				k.carryOut(want)
			}
		}
	}
}

// carryOut does one order and reports what is new.
func (k *linker) carryOut(want linkOrder) {
	k.want = want
	r := virtualReport{failed: map[host.VirtualLink]error{}}
	r.ready, r.err = k.links.Set(want.links)
	if r.err != nil {
		for _, err := range leaves(r.err) {
			if failed, ok := errors.AsType[*host.VirtualLinkError](err); ok {
				r.failed[failed.VirtualLink] = err
			}
		}
	}
	if r.ready == nil && r.err != nil {
		// The links could not be looked at: what was known of them holds.
		r.ready, r.failed = k.last.ready, k.last.failed
	}
	if err := k.senders.SetSenders(want.senders); err != nil {
		r.err = errors.Join(r.err, err)
	}
	if maps.Equal(r.ready, k.last.ready) && text(r.err) == text(k.last.err) {
		return
	}
	k.last = r
	k.reported(r)
}

// text is empty for no error.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// isVirtual tells whether the address is to have the virtual MAC.
func (v *placedVIP) isVirtual() bool { return v.virtual != host.VirtualLink{} }

// bound is the address where it is bound, unlike key, which is where the others
// ask for it and claim it.
func (v *placedVIP) bound() host.VirtualAddress {
	return host.VirtualAddress{Link: v.on.Index, Address: v.address}
}

// waits tells whether a VIP has no link that it could be bound to.
func (p *placement) waits() bool {
	return slices.ContainsFunc(p.vips, func(v placedVIP) bool { return v.on.Index == 0 })
}

// waitsForAll tells whether none has.
func (p *placement) waitsForAll() bool {
	return !slices.ContainsFunc(p.vips, func(v placedVIP) bool { return v.on.Index != 0 })
}

// useVirtualLinks places the VIPs that are to have a virtual MAC on the links
// that have it, and has these made. A virtual router whose VIPs all lack theirs
// cannot run.
func (l *loop) useVirtualLinks() {
	present := map[int]host.Link{}
	for _, link := range l.links.Links {
		present[link.Index] = link
	}
	links, missing := map[host.VirtualLink]bool{}, false
	want := linkOrder{senders: map[netip.Addr]netip.Addr{}}
	for i := range l.placements {
		p := &l.placements[i]
		var failed error
		for j := range p.vips {
			v := &p.vips[j]
			if !v.isVirtual() {
				continue
			}
			links[v.virtual] = true
			if source, ok := sourceAddress(v.link, desired.Router{Family: vrrp.IPv4}, p.config.Source); ok && v.address.Is4() {
				want.senders[v.address] = source
			}
			v.on = host.Link{Name: v.virtual.Name()}
			if link := present[l.virtual.ready[v.virtual]]; link.Virtual == v.virtual {
				v.on = link
			} else {
				missing = true
				failed = cmp.Or(failed, l.virtual.failed[v.virtual])
			}
			if !p.config.Unicast {
				p.via = v.on.Index
			}
		}
		if failed != nil && p.waitsForAll() && (p.fault == "" || p.fault == faultNoLocalEndpoint) {
			p.fault = faultVirtualMAC + ": " + failed.Error()
		}
	}
	want.links = slices.SortedFunc(maps.Keys(links), func(a, b host.VirtualLink) int { return cmp.Compare(a.Name(), b.Name()) })
	if missing || !want.equal(l.wanted) {
		l.wanted = want
		l.makeLinks(want)
	}
}

// linked takes note of what became of the links.
func (l *loop) linked(r virtualReport) {
	l.virtual = r
	about := topic{what: "virtual MAC"}
	if r.err == nil {
		delete(l.logged, about)
		return
	}
	l.logOnce(about, r.err.Error(), func() { l.logger.Error(r.err, "Virtual MAC address is not in place") })
}

// virtualFailure says why a VIP has no link with the virtual MAC.
func (l *loop) virtualFailure(v host.VirtualLink) error {
	return cmp.Or(l.virtual.failed[v], errNotMade)
}

// transmit sends the advertisement in l.buffer, from the interface, and a Master
// with a virtual MAC once more from that: switches learn where it is by it (RFC
// 9568 section 7.2), but not every peer hears it. The kernel gives what comes
// from the MAC of a private macvlan to this alone, and keepalived with
// vmac_xmit_base listens beside it. The link comes up with the first address;
// the first advertisement of a Master does not wait for it.
func (l *loop) transmit(in *instance, to netip.Addr) error {
	err := l.network.Send(in.link.Index, in.config.Source, to, l.buffer)
	if in.via != 0 && in.state() == vrrp.Master && l.network.SendVia(in.link.Index, in.via, in.config.Source, to, l.buffer) == nil {
		return nil
	}
	return err
}
