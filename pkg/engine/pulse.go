package engine

import (
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// pulseInterval is how often each Master has its pulse: four times in
	// which its VIPs are answered for after the last one.
	pulseInterval = 125 * time.Millisecond
	// pulseEarly is how much sooner it has it if the loop goes round anyway, so
	// that pulses do not wake it up beside the advertisements.
	pulseEarly = 50 * time.Millisecond
	// pulseFailuresAllowed is how many pulses in a row may fail to go out
	// before no VIP is to depend on them any more.
	pulseFailuresAllowed = 2
)

// pulser tells the kernel that the loop of a Master runs, on which it depends
// whether the Master's VIPs are answered for. It never blocks.
type pulser interface {
	Pulse(desired.Pulse) error
}

// pulses is the loop's side of that.
type pulses struct {
	pulser pulser // Nil if nothing depends on them.
	// next is when the Masters have their next pulse; never if there are none.
	next vrrp.Time
	// failures counts all that did not go out, inARow the last ones.
	failures uint64
	inARow   int
}

// lost tells that no pulse can be sent.
func (p *pulses) lost() bool { return p.inARow >= pulseFailuresAllowed }

// pulse is what names the virtual router to the kernel.
func (p *placement) pulse() desired.Pulse {
	return desired.NewPulse(p.link.Index, p.key.Family == vrrp.IPv6, p.key.VRID)
}

// healthy tells that an instance is a Master that its peers hear, as far as we
// know.
func (in *instance) healthy() bool {
	return in.state() == vrrp.Master && in.advertised && in.sendFailures == 0
}

// sendPulses sends a pulse for each healthy Master, if it is time.
func (l *loop) sendPulses(now vrrp.Time) {
	if l.pulses.next == never || now.Add(pulseEarly) < l.pulses.next {
		return
	}
	l.pulses.next = never
	for _, in := range l.instances {
		if in.healthy() {
			l.sendPulse(in, now)
		}
	}
}

// sendPulse sends one. If that goes on failing, a healthy Master must not be
// silent for it: the VIPs are made to depend on nothing, until one goes out.
func (l *loop) sendPulse(in *instance, now vrrp.Time) {
	if l.pulses.pulser == nil {
		return
	}
	l.pulses.next = min(l.pulses.next, now.Add(pulseInterval))
	lost, said := l.pulses.lost(), topic{what: "pulse"}
	if err := l.pulses.pulser.Pulse(in.pulse()); err != nil {
		l.pulses.failures++
		l.pulses.inARow++
		l.logOnce(said, err.Error(), func() { l.logger.Error(err, "Pulse not sent") })
	} else {
		l.pulses.inARow = 0
		delete(l.logged, said)
	}
	if lost != l.pulses.lost() {
		l.answering, l.orderDue = l.answers(), true
	}
}
