package engine

import (
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// heartbeatInterval is the interval of each Master's heartbeats: a quarter of the
	// time for which its VIPs are answered for after the last one.
	heartbeatInterval = 125 * time.Millisecond
	// heartbeatEarly is how much earlier a heartbeat is sent if the loop is awake, so
	// that heartbeats do not wake it up between advertisements.
	heartbeatEarly = 50 * time.Millisecond
	// heartbeatFailuresAllowed is how many heartbeats in a row may fail to go out
	// before no VIP depends on them any more.
	heartbeatFailuresAllowed = 2
)

// heartbeatSender sends heartbeats to the kernel, on which it depends whether the VIPs of
// a Master are answered for. It never blocks.
type heartbeatSender interface {
	SendHeartbeat(desired.Pulse) error
}

// heartbeats sends the heartbeats of the Masters.
type heartbeats struct {
	sender heartbeatSender // nil if nothing depends on them
	events *events
	// next is the time of the Masters' next heartbeat; never if there are none.
	next vrrp.Time
	// failures counts the heartbeats that did not go out, inARow the last ones.
	failures uint64
	inARow   int
}

// lost reports whether no heartbeat can be sent.
func (p *heartbeats) lost() bool { return p.inARow >= heartbeatFailuresAllowed }

// start makes the heartbeats of a Master begin, or begin again, now.
func (p *heartbeats) start(now vrrp.Time) { p.next = now }

// sendDue sends a heartbeat for each healthy Master, if it is time. It reports
// whether lost has changed.
func (p *heartbeats) sendDue(instances []*instance, now vrrp.Time) (changed bool) {
	if p.next == never || now.Add(heartbeatEarly) < p.next {
		return false
	}
	p.next = never
	for _, in := range instances {
		if in.healthy() && p.send(in, now) {
			changed = true
		}
	}
	return changed
}

// send sends one heartbeat. It reports whether lost has changed: if heartbeats go
// on failing, no VIP must depend on them, or a healthy Master would be silent.
func (p *heartbeats) send(in *instance, now vrrp.Time) (changed bool) {
	if p.sender == nil {
		return false
	}
	p.next = min(p.next, now.Add(heartbeatInterval))
	lost := p.lost()
	err := p.sender.SendHeartbeat(in.pulse())
	if err != nil {
		p.failures++
		p.inARow++
	} else {
		p.inARow = 0
	}
	p.events.logError(logKey{what: "pulse"}, "Pulse not sent", err)
	return lost != p.lost()
}

// policies returns the neighbor policy of each VIP.
func (p *heartbeats) policies(instances []*instance) map[netip.Addr]desired.Answer {
	policies := map[netip.Addr]desired.Answer{}
	for _, in := range instances {
		var pulse desired.Pulse
		if p.sender != nil && !p.lost() {
			pulse = in.pulse()
		}
		for _, v := range in.vips {
			policies[v.address] = desired.Answer{Interface: v.on.Name, Index: v.on.Index, Pulse: pulse}
		}
	}
	return policies
}
