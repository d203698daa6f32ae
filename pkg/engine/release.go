package engine

import (
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// releaseTime is how long a release waits for the addresses to be gone before
	// priority 0 is advertised all the same.
	releaseTime = 5 * time.Millisecond
	// releaseCopies is how often priority 0 is sent: a lost one would cost the
	// successor a whole Master_Down_Interval.
	releaseCopies = 3
)

// release is an advertisement of priority 0 that waits for the addresses to be
// gone: this node must not answer for them any more when a successor takes over.
type release struct {
	link     int
	source   netip.Addr
	messages []message
	// generation is that of the first hostState without the addresses.
	generation uint64
	deadline   vrrp.Time
}

// message is an advertisement as it goes to one destination.
type message struct {
	destination netip.Addr
	payload     []byte
}

// releases are the releases that wait.
type releases struct {
	poller  poller
	waiting []release
}

// add arranges for a to be sent when the host has the state of a generation.
func (r *releases) add(in *instance, a *vrrp.Advertisement, generation uint64, now vrrp.Time) {
	v := release{link: in.link.Index, source: in.config.Source, generation: generation, deadline: now.Add(releaseTime)}
	for _, to := range in.destinations() {
		v.messages = append(v.messages, message{to, a.Append(nil, v.source, to)})
	}
	r.waiting = append(r.waiting, v)
}

// flush sends those that could not be sent any more when only these connections are in
// use: an address is removed with its interface, or a moment later.
func (r *releases) flush(conns []*lan.Conn) {
	r.send(func(v *release) bool {
		return !slices.ContainsFunc(conns, func(p *lan.Conn) bool { return p.Index == v.link && p.IPv6 == v.source.Is6() })
	})
}

// sendDue sends those whose addresses are gone, or have had time enough to go.
func (r *releases) sendDue(observed uint64, now vrrp.Time) {
	r.send(func(v *release) bool { return observed >= v.generation || now >= v.deadline })
}

func (r *releases) send(due func(*release) bool) {
	r.waiting = slices.DeleteFunc(r.waiting, func(v release) bool {
		if !due(&v) {
			return false
		}
		for range releaseCopies {
			for _, m := range v.messages {
				// Without the link no host can hear it.
				_ = r.poller.Send(v.link, v.source, m.destination, m.payload)
			}
		}
		return true
	})
}

func (r *releases) empty() bool { return len(r.waiting) == 0 }

// deadline returns the time of the next release at the latest.
func (r *releases) deadline() vrrp.Time {
	next := never
	for i := range r.waiting {
		next = min(next, r.waiting[i].deadline)
	}
	return next
}
