package engine

import (
	"net/netip"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// logKey identifies a condition that is logged when it changes: its subject and,
// if there are several of it, which one.
type logKey struct {
	what        string
	link        string
	destination netip.Addr
}

// events passes transitions, alarms and log lines on, in order. Both writing a log
// line and the functions of Config may block, so a worker does it.
type events struct {
	logger       klog.Logger
	queue        *worker[[]func()]
	onTransition func(desired.Transition)
	onAlarm      func(desired.AlarmChange)
	// logged has the text that was last logged of each condition.
	logged map[logKey]string
}

func newEvents(onTransition func(desired.Transition), onAlarm func(desired.AlarmChange)) *events {
	return &events{
		queue:        newWorker(runAll, func(waiting, posted []func()) []func() { return append(waiting, posted...) }, nil),
		onTransition: onTransition, onAlarm: onAlarm, logged: map[logKey]string{},
	}
}

func runAll(queue []func()) {
	for _, f := range queue {
		f()
	}
}

// do queues f. It never blocks.
func (e *events) do(f func()) { e.queue.post([]func(){f}) }

// logError logs err of a condition, unless it was logged last. If err is nil, the
// condition has ended.
func (e *events) logError(k logKey, message string, err error) {
	if err == nil {
		e.ended(k)
		return
	}
	e.logOnce(k, err.Error(), func() { e.logger.Error(err, message) })
}

// ended records that a condition has ended. It is called for every advertisement
// that is sent, when as a rule nothing is logged.
func (e *events) ended(k logKey) {
	if len(e.logged) > 0 {
		delete(e.logged, k)
	}
}

// logOnce calls log if text is not what was logged last of a condition.
func (e *events) logOnce(k logKey, text string, log func()) {
	if e.logged[k] != text {
		e.logged[k] = text
		e.do(log)
	}
}

// transition passes on that a virtual router changed its state.
func (e *events) transition(t desired.Transition) {
	e.do(func() {
		fields := append(keyFields(t.RouterKey), "oldState", t.From, "state", t.To)
		fields = append(fields, causeFields(t.Cause)...)
		fields = append(fields, "vip", t.VIPs)
		if t.Silence != 0 {
			fields = append(fields, "elapsed", t.Silence.Round(time.Millisecond))
		}
		e.logger.Info("Virtual router changed state", fields...)
		e.onTransition(t)
	})
}

// fault passes on a fault that no change of state comes with: the router is in
// Initialize already.
func (e *events) fault(in *instance) {
	t := desired.Transition{
		RouterKey: in.key, From: vrrp.Initialize, To: vrrp.Initialize, Cause: in.cause, Time: wallClock(), VIPs: slices.Clone(in.config.Addresses),
	}
	e.do(func() {
		e.logger.Info("Virtual router cannot run", append(keyFields(t.RouterKey), causeFields(t.Cause)...)...)
		e.onTransition(t)
	})
}

// alarm passes on that an alarm of an instance began or ended.
func (e *events) alarm(in *instance, a desired.Alarm, on bool) {
	c := desired.AlarmChange{RouterKey: in.key, Alarm: a, On: on, VIPs: slices.Clone(in.config.Addresses)}
	e.do(func() {
		fields := append(keyFields(c.RouterKey), "reason", c.Reason)
		if c.Source.IsValid() {
			fields = append(fields, "source", c.Source)
		}
		if c.On && c.Detail != "" {
			fields = append(fields, "err", c.Detail)
		}
		if c.On {
			e.logger.Info("Alarm began", fields...)
		} else {
			e.logger.Info("Alarm ended", append(fields, "elapsed", wallClock().Sub(c.Since).Round(time.Second))...)
		}
		e.onAlarm(c)
	})
}

// unplaced logs the VIPs that have no interface and had one before, or another
// reason.
func (e *events) unplaced(before, after []desired.UnplacedVIP) {
	for _, u := range after {
		if !slices.Contains(before, u) {
			e.do(func() { e.logger.Info("VIP has no interface on this node", "vip", u.Address, "reason", u.Reason) })
		}
	}
}

func keyFields(k desired.RouterKey) []any {
	return []any{"interface", k.Interface, "family", k.Family, "vrid", k.VRID}
}

func causeFields(c desired.Cause) []any {
	if c.Message == "" {
		return []any{"reason", c.Reason}
	}
	return []any{"reason", c.Reason, "err", c.Message}
}
