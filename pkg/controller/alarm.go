package controller

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// The reasons of the Events of an alarm.
const (
	reasonAlarm      = "Alarm"
	reasonAlarmEnded = "AlarmEnded"
)

// alarmAdvice says for each reason what it means and what to do.
var alarmAdvice = map[vrrp.AlarmReason]string{
	vrrp.AlarmIncompatiblePeer: "its advertisements must be discarded, so that both can be Master: give it the same settings, or another VRID",
	vrrp.AlarmSplitBrain:       "it is Master too: see that each of the two hears the other (IP protocol 112, multicast, VLAN)",
	vrrp.AlarmPeerDeaf:         "it is Master too and does not hear this node: let its firewall and switch port pass IP protocol 112, and see that its addresses are the same",
	vrrp.AlarmAddressList:      "it advertises addresses that are not ours, and keepalived wants the very same list: give both the same addresses",
	vrrp.AlarmAddressOwner:     "it claims priority 255, which nothing can take over from: take the address off it, or lower its priority",
	vrrp.AlarmOwnSource:        "it sends from this node's own address: find the host that has the address too, or the loop in the network",
	vrrp.AlarmVRIDConflict:     "other routers use this VRID for other addresses: choose another one (--vrid, --vrids, vrid)",
	vrrp.AlarmVIPInUse:         "another host had the address first, so this node leaves it alone: take it off that host, or choose another VIP",
	vrrp.AlarmDuplicateAddress: "another host has the address too, and takes its traffic: find it by its MAC and take the address off it",
}

// Alarm reports the beginning or the end of an alarm as Events, on the
// ConfigMap and the Services of the virtual router. It does not block: an
// Event that can not be queued is dropped.
func (c *Controller) Alarm(a desired.AlarmChange) {
	r := report{vips: a.VIPs, onServices: true}
	r.eventType, r.reason, r.message = alarmEvent(c.host(), a)
	c.report(r)
}

// alarmEvent returns what an Event says about an alarm on node.
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
