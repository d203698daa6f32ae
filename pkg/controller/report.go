package controller

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kube-vrrp-vip/pkg/config"
)

// report is an Event about a virtual router, on the ConfigMap.
type report struct {
	eventType, reason, message string
	// onServices asks for it on the Services of vips too.
	onServices bool
	vips       []netip.Addr
}

// report queues r, or drops it if the queue is full.
func (c *Controller) report(r report) {
	select {
	case c.reports <- r:
	default:
	}
}

// recordReports records what is queued, until ctx is done and the queue is
// empty.
func (c *Controller) recordReports(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case r := <-c.reports:
			c.record(r)
		}
	}
	for {
		select {
		case r := <-c.reports:
			c.record(r)
		default:
			return
		}
	}
}

func (c *Controller) record(r report) {
	n := c.options.ConfigMap
	if configMap := object[corev1.ConfigMap](c.configMaps, n.Namespace, n.Name); configMap != nil {
		c.recorder.record(reference("ConfigMap", configMap), r.eventType, r.reason, r.message)
	}
	if !r.onServices {
		return
	}
	for _, n := range c.servicesBehind(r.vips) {
		if service := object[corev1.Service](c.services, n.Namespace, n.Name); service != nil {
			c.recorder.record(reference("Service", service), r.eventType, r.reason, r.message)
		}
	}
}

// servicesBehind returns the Services behind vips, each once.
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

// joinVIPs lists the VIPs, but no more than an Event has room for.
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
