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

// The reasons of the Events of a transition to Initialize. The others are the
// names of the states.
const (
	reasonFault    = "Fault"
	reasonShutdown = "Shutdown"
)

// Transition reports a change of state of a virtual router as Events, on the
// ConfigMap and, if a Master comes or goes, on the Services of its VIPs. It
// does not block: an Event that can not be queued is dropped.
func (c *Controller) Transition(t desired.Transition) {
	select {
	case c.transitions <- t:
	default:
	}
}

// recordTransitions records what Transition queues, until ctx is done and the
// queue is empty.
func (c *Controller) recordTransitions(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case t := <-c.transitions:
			c.recordTransition(t)
		}
	}
	for {
		select {
		case t := <-c.transitions:
			c.recordTransition(t)
		default:
			return
		}
	}
}

func (c *Controller) recordTransition(t desired.Transition) {
	eventType, reason, message := transitionEvent(c.host(), t)
	n := c.options.ConfigMap
	if configMap := object[corev1.ConfigMap](c.configMaps, n.Namespace, n.Name); configMap != nil {
		c.recorder.record(reference("ConfigMap", configMap), eventType, reason, message)
	}
	if t.From != vrrp.Master && t.To != vrrp.Master {
		return
	}
	for _, n := range c.servicesOf(t.VIPs) {
		if service := object[corev1.Service](c.services, n.Namespace, n.Name); service != nil {
			c.recorder.record(reference("Service", service), eventType, reason, message)
		}
	}
}

// servicesOf returns the Services behind vips, each once.
func (c *Controller) servicesOf(vips []netip.Addr) []config.ObjectName {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []config.ObjectName
	for _, vip := range vips {
		if n, ok := c.serviceOf[vip]; ok && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// transitionEvent returns what an Event says about a transition on node.
func transitionEvent(node string, t desired.Transition) (eventType, reason, message string) {
	eventType, reason = corev1.EventTypeNormal, t.To.String()
	message = fmt.Sprintf("%s became %s of %s on %s (VRID %d): %s", node, t.To, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Reason)
	switch {
	case t.To == vrrp.Master && t.Silence > 0:
		message += fmt.Sprintf(", no master was heard for %s", t.Silence.Round(time.Millisecond))
	case t.To == vrrp.Initialize && t.Reason == string(vrrp.ReasonShutdown):
		reason = reasonShutdown
		message = fmt.Sprintf("%s no longer serves %s on %s (VRID %d): %s", node, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Reason)
	case t.To == vrrp.Initialize:
		eventType, reason = corev1.EventTypeWarning, reasonFault
		message = fmt.Sprintf("%s can not serve %s on %s (VRID %d): %s", node, joinVIPs(t.VIPs), t.Interface, t.VRID, t.Reason)
	}
	return eventType, reason, message
}

// joinVIPs lists the VIPs, but no more than an Event has room for.
func joinVIPs(vips []netip.Addr) string {
	const shown = 16
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
