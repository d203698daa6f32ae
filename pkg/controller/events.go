package controller

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// routerEvent is an Event about a virtual router, on the ConfigMap.
type routerEvent struct {
	eventType, reason, message string
	// onServices records the Event on the Services of vips too.
	onServices bool
	vips       []netip.Addr
}

// queueEvent queues e, or drops it if the queue is full.
func (c *Controller) queueEvent(e routerEvent) {
	select {
	case c.events <- e:
	default:
	}
}

// recordEvents records the queued Events until ctx is done and the queue is empty.
func (c *Controller) recordEvents(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case e := <-c.events:
			c.recordEvent(e)
		}
	}
	for {
		select {
		case e := <-c.events:
			c.recordEvent(e)
		default:
			return
		}
	}
}

func (c *Controller) recordEvent(e routerEvent) {
	n := c.options.ConfigMap
	if configMap := getObject[corev1.ConfigMap](c.configMaps, n.Namespace, n.Name); configMap != nil {
		c.recorder.record(reference("ConfigMap", configMap), e.eventType, e.reason, e.message)
	}
	if !e.onServices {
		return
	}
	for _, n := range c.servicesBehind(e.vips) {
		if service := getObject[corev1.Service](c.services, n.Namespace, n.Name); service != nil {
			c.recorder.record(reference("Service", service), e.eventType, e.reason, e.message)
		}
	}
}

// servicesBehind returns the names of the Services behind vips, without duplicates.
func (c *Controller) servicesBehind(vips []netip.Addr) []config.ObjectName {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []config.ObjectName
	for _, vip := range vips {
		for _, n := range c.servicesOf[vip] {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names
}

// joinVIPs returns the VIPs separated by commas, but only the first few: an Event has
// room for 1024 bytes.
func joinVIPs(vips []netip.Addr) string {
	const shown = 12
	var words []string
	for i, vip := range vips {
		if i == shown {
			words = append(words, fmt.Sprintf("%d more", len(vips)-shown))
			break
		}
		words = append(words, vip.String())
	}
	if len(words) == 0 {
		return "no VIP"
	}
	return strings.Join(words, ", ")
}

// The reasons of Events about a transition to Initialize. For other transitions, the
// name of the state is the reason.
const (
	reasonFault      = "Fault"
	reasonIneligible = "Ineligible"
	reasonShutdown   = "Shutdown"
)

// Transition records a state transition of a virtual router as Events on the
// ConfigMap and, from or to Master, on the Services of its VIPs. It does not block: if
// the queue is full, it drops the Event.
func (c *Controller) Transition(t desired.Transition) {
	e := routerEvent{vips: t.VIPs, onServices: t.From == vrrp.Master || t.To == vrrp.Master}
	e.eventType, e.reason, e.message = transitionEvent(c.host(), t)
	c.queueEvent(e)
}

// transitionEvent returns the contents of an Event about a transition on node.
func transitionEvent(node string, t desired.Transition) (eventType, reason, message string) {
	eventType, reason = corev1.EventTypeNormal, t.To.String()
	message = fmt.Sprintf("%s became %s of %s on %s (VRID %d): %s", node, t.To, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Text())
	switch {
	case t.To == vrrp.Master && t.Silence > 0:
		message += fmt.Sprintf(", no master was heard for %s", t.Silence.Round(time.Millisecond))
	case t.To == vrrp.Initialize && t.Reason == desired.Reason(vrrp.ReasonShutdown):
		reason = reasonShutdown
		message = fmt.Sprintf("%s no longer serves %s on %s (VRID %d): %s", node, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Text())
	case t.To == vrrp.Initialize && t.Reason == desired.FaultNoLocalEndpoint:
		reason = reasonIneligible
		message = fmt.Sprintf("%s is not eligible for %s on %s (VRID %d): %s", node, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Text())
	case t.To == vrrp.Initialize:
		eventType, reason = corev1.EventTypeWarning, reasonFault
		message = fmt.Sprintf("%s cannot serve %s on %s (VRID %d): %s", node, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Text())
	}
	return eventType, reason, message
}

// The reasons of Events about an alarm.
const (
	reasonAlarm      = "Alarm"
	reasonAlarmEnded = "AlarmEnded"
)

// alarmAdvice explains the reason of an alarm, and gives the remedy.
var alarmAdvice = map[vrrp.AlarmReason]string{
	vrrp.AlarmIncompatiblePeer: "its advertisements are discarded, so that both can be Master: give it the same settings, or another VRID",
	vrrp.AlarmSplitBrain:       "it is Master too: make sure that each of the two receives the advertisements of the other (IP protocol 112, multicast, VLAN)",
	vrrp.AlarmPeerDeaf:         "it is Master too and does not receive the advertisements of this node: allow IP protocol 112 in its firewall and at its switch port, and give it the same addresses",
	vrrp.AlarmAddressList:      "it advertises other addresses than this node, and keepalived requires the same list: give both the same addresses",
	vrrp.AlarmAddressOwner:     "it advertises priority 255, which no router can take over from: remove the address from it, or lower its priority",
	vrrp.AlarmOwnSource:        "it sends from the address of this node: find the host with the same address, or the loop in the network",
	vrrp.AlarmVRIDConflict:     "other routers use this VRID for other addresses: choose another one (--vrid, --vrids, vrid)",
	vrrp.AlarmVIPInUse:         "another host had the address first, so this node does not bind it: remove it from that host, or choose another VIP",
	vrrp.AlarmDuplicateAddress: "another host has the address too, and receives its traffic: find it by its MAC address and remove the address from it",
}

// Alarm records the beginning or the end of an alarm as Events on the ConfigMap and
// the Services of the virtual router. It does not block: if the queue is full, it
// drops the Event.
func (c *Controller) Alarm(a desired.AlarmChange) {
	e := routerEvent{vips: a.VIPs, onServices: true}
	e.eventType, e.reason, e.message = alarmEvent(c.host(), a)
	c.queueEvent(e)
}

// alarmEvent returns the contents of an Event about an alarm on node.
func alarmEvent(node string, a desired.AlarmChange) (eventType, reason, message string) {
	message = fmt.Sprintf("%s at %s on %s (VRID %d): %s", node, joinVIPs(a.VIPs), a.Interface, a.VRID, a.Reason)
	if a.Source.IsValid() {
		message += fmt.Sprintf(" by %s", a.Source)
	}
	if !a.On {
		return corev1.EventTypeNormal, reasonAlarmEnded, message + " has ended"
	}
	if a.Detail != "" {
		message += fmt.Sprintf(" (%s)", config.Shorten(a.Detail))
	}
	if advice := alarmAdvice[vrrp.AlarmReason(a.Reason)]; advice != "" {
		message += ": " + advice
	}
	return corev1.EventTypeWarning, reasonAlarm, message
}
