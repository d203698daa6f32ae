package controller

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// The reasons of the Events of a transition to Initialize. The others are the
// names of the states.
const (
	reasonFault      = "Fault"
	reasonIneligible = "Ineligible"
	reasonShutdown   = "Shutdown"
)

// Transition reports a change of state of a virtual router as Events, on the
// ConfigMap and, if a Master comes or goes, on the Services of its VIPs. It
// does not block: an Event that can not be queued is dropped.
func (c *Controller) Transition(t desired.Transition) {
	r := report{vips: t.VIPs, onServices: t.From == vrrp.Master || t.To == vrrp.Master}
	r.eventType, r.reason, r.message = transitionEvent(c.host(), t)
	c.report(r)
}

// transitionEvent returns what an Event says about a transition on node.
func transitionEvent(node string, t desired.Transition) (eventType, reason, message string) {
	eventType, reason = corev1.EventTypeNormal, t.To.String()
	message = fmt.Sprintf("%s became %s of %s on %s (VRID %d): %s", node, t.To, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Cause.Text())
	switch {
	case t.To == vrrp.Master && t.Silence > 0:
		message += fmt.Sprintf(", no master was heard for %s", t.Silence.Round(time.Millisecond))
	case t.To == vrrp.Initialize && t.Reason == desired.Reason(vrrp.ReasonShutdown):
		reason = reasonShutdown
		message = fmt.Sprintf("%s no longer serves %s on %s (VRID %d): %s", node, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Cause.Text())
	case t.To == vrrp.Initialize && t.Reason == desired.FaultNoLocalEndpoint:
		reason = reasonIneligible
		message = fmt.Sprintf("%s leaves %s on %s (VRID %d) to other nodes: %s", node, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Cause.Text())
	case t.To == vrrp.Initialize:
		eventType, reason = corev1.EventTypeWarning, reasonFault
		message = fmt.Sprintf("%s can not serve %s on %s (VRID %d): %s", node, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Cause.Text())
	}
	return eventType, reason, message
}
