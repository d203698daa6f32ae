package server

import (
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

const namespace = "kube_vrrp_vip_"

// routerLabels are the labels of a virtual router in all its metrics.
var routerLabels = []string{"interface", "family", "vrid"}

// metric is a metric of a value of type T.
type metric[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(T) float64
}

// reasonMetric is a metric of a value of type T with a label for the reason, or the
// result, that it counts.
type reasonMetric[T any] struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	values func(T) map[string]uint64
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+name, help, labels, nil)
}

func routerGauge(name, help string, value func(desired.RouterStatus) float64) metric[desired.RouterStatus] {
	return metric[desired.RouterStatus]{describe(name, help, routerLabels...), prometheus.GaugeValue, value}
}

func routerCounter(name, help string, value func(vrrp.Counters) uint64) metric[desired.RouterStatus] {
	return metric[desired.RouterStatus]{
		describe(name, help, routerLabels...), prometheus.CounterValue,
		func(r desired.RouterStatus) float64 { return float64(value(r.Counters)) },
	}
}

func routerReasonMetric(name, help string, kind prometheus.ValueType, values func(desired.RouterStatus) map[string]uint64) reasonMetric[desired.RouterStatus] {
	return reasonMetric[desired.RouterStatus]{describe(name, help, append(slices.Clip(routerLabels), "reason")...), kind, values}
}

func gauge(name, help string, value func(Snapshot) float64) metric[Snapshot] {
	return metric[Snapshot]{describe(name, help), prometheus.GaugeValue, value}
}

var routerMetrics = []metric[desired.RouterStatus]{
	routerGauge("router_state", "State of the virtual router: 0 Initialize, 1 Backup, 2 Master.",
		func(r desired.RouterStatus) float64 { return float64(r.State) }),
	routerGauge("router_state_since_timestamp_seconds", "When the virtual router entered its state.",
		func(r desired.RouterStatus) float64 { return timestamp(r.Since) }),
	routerGauge("router_priority", "Priority of this node in the virtual router.",
		func(r desired.RouterStatus) float64 { return float64(r.Priority) }),
	routerGauge("router_advertisement_interval_seconds", "Time between advertisements of the virtual router.",
		func(r desired.RouterStatus) float64 { return r.Interval.Seconds() }),
	routerGauge("router_vips", "Virtual addresses of the virtual router.",
		func(r desired.RouterStatus) float64 { return float64(len(r.VIPs)) }),
	routerGauge("router_vips_bound", "Virtual addresses of the virtual router that are on the interface of this node.",
		func(r desired.RouterStatus) float64 {
			return count(r.VIPs, func(v desired.VIPStatus) bool { return v.Bound })
		}),
	routerGauge("router_vips_advertised", "Virtual addresses of the virtual router that its advertisements carry.",
		func(r desired.RouterStatus) float64 {
			return count(r.VIPs, func(v desired.VIPStatus) bool { return v.Advertised })
		}),
	routerCounter("router_master_transitions_total", "Times the virtual router became Master.",
		func(c vrrp.Counters) uint64 { return c.MasterTransitions }),
	routerCounter("router_advertisements_sent_total", "VRRP advertisements sent.",
		func(c vrrp.Counters) uint64 { return c.AdvertisementsSent }),
	routerCounter("router_advertisements_received_total", "Valid VRRP advertisements received.",
		func(c vrrp.Counters) uint64 { return c.AdvertisementsReceived }),
	routerCounter("router_priority_zero_sent_total", "VRRP advertisements sent with priority 0: this node resigned.",
		func(c vrrp.Counters) uint64 { return c.PriorityZeroSent }),
	{
		describe("router_address_removals_total", "Virtual addresses that another program removed from the interface; they were bound again.", routerLabels...),
		prometheus.CounterValue,
		func(r desired.RouterStatus) float64 { return float64(r.AddressRemovals) },
	},
	routerCounter("router_priority_zero_received_total", "VRRP advertisements received with priority 0: the Master resigned.",
		func(c vrrp.Counters) uint64 { return c.PriorityZeroReceived }),
	{
		describe("router_foreign_claims_total", "ARP and Neighbor Discovery packets of other hosts that claim an address of this node.", routerLabels...),
		prometheus.CounterValue, func(r desired.RouterStatus) float64 { return float64(r.ForeignClaims) },
	},
}

var routerReasonMetrics = []reasonMetric[desired.RouterStatus]{
	routerReasonMetric("router_advertisements_discarded_total", "VRRP advertisements of the virtual router that were not used.", prometheus.CounterValue,
		func(r desired.RouterStatus) map[string]uint64 { return r.Counters.Discarded }),
	routerReasonMetric("router_advertisement_warnings_total", "VRRP advertisements of the virtual router that were used but differ from its configuration.", prometheus.CounterValue,
		func(r desired.RouterStatus) map[string]uint64 { return r.Counters.Warnings }),
	routerReasonMetric("router_alarms", "Alarms of the virtual router that are on.", prometheus.GaugeValue,
		func(r desired.RouterStatus) map[string]uint64 {
			on := map[string]uint64{}
			for _, a := range r.Alarms {
				on[a.Reason]++
			}
			return on
		}),
}

var snapshotMetrics = []metric[Snapshot]{
	gauge("unplaced_vips", "Virtual addresses that no interface of this node can take.",
		func(s Snapshot) float64 { return float64(len(s.Engine.Unplaced)) }),
	gauge("config_problems", "Entries of the configuration that are not served as written.",
		func(s Snapshot) float64 {
			return count(s.Problems, func(p config.Problem) bool { return !p.Notice })
		}),
	gauge("config_applied", "Whether the configuration was read since the start.",
		func(s Snapshot) float64 { return boolValue(s.Engine.Applied) }),
	gauge("loop_beat_timestamp_seconds", "When the VRRP loop last ran.",
		func(s Snapshot) float64 { return timestamp(time.Unix(0, s.Engine.Beat)) }),
	gauge("loop_lateness_seconds", "Worst lateness of the VRRP loop in the last one to two minutes.",
		func(s Snapshot) float64 { return s.Engine.Lateness.Seconds() }),
	{
		describe("pulse_failures_total", "Heartbeats (pulses) of Masters that could not be sent; without them a node whose daemon dies answers for its VIPs until their lease ends."), prometheus.CounterValue,
		func(s Snapshot) float64 { return float64(s.Engine.PulseFailures) },
	},
	gauge("datapath_up", "Whether the latest attempt to write the nftables tables, and to listen on the proxy's ports, succeeded.",
		func(s Snapshot) float64 {
			return boolValue(s.Datapath.Err == "" && s.Datapath.ProxyErr == "" && !s.Datapath.LastSync.IsZero())
		}),
	gauge("datapath_last_sync_timestamp_seconds", "When the nftables tables were last in sync; 0: never.",
		func(s Snapshot) float64 { return timestamp(s.Datapath.LastSync) }),
	gauge("datapath_conflicts", "Rules of other programs on this node that block traffic to virtual addresses.",
		func(s Snapshot) float64 { return float64(len(s.Datapath.Conflicts)) }),
	{
		describe("datapath_repairs_total", "Times the nftables tables were repaired after another program had changed them."), prometheus.CounterValue,
		func(s Snapshot) float64 { return float64(s.Datapath.Repairs) },
	},
	{
		describe("datapath_sync_errors_total", "Failed attempts to write the nftables tables, or to listen on the proxy's ports."), prometheus.CounterValue,
		func(s Snapshot) float64 { return float64(s.Datapath.Errors) },
	},
}

// proxyLabels are the labels of a port that the daemon serves itself.
var proxyLabels = []string{"vip", "port"}

var proxyConnections = metric[desired.ProxyStatus]{
	describe("proxy_connections", "Connections of a port that the daemon serves itself.", proxyLabels...),
	prometheus.GaugeValue,
	func(p desired.ProxyStatus) float64 { return float64(p.Connections) },
}

var proxyEnded = reasonMetric[desired.ProxyStatus]{
	describe("proxy_connections_total", "Connections that have ended of a port that the daemon serves itself, by result.", append(slices.Clip(proxyLabels), "result")...),
	prometheus.CounterValue,
	func(p desired.ProxyStatus) map[string]uint64 { return p.Ended },
}

var unheardMetric = reasonMetric[Snapshot]{
	describe("packets_unheard_total", "VRRP packets that belong to no virtual router of this node, or could not be parsed.", "reason"),
	prometheus.CounterValue,
	func(s Snapshot) map[string]uint64 { return s.Engine.Unheard },
}

// collector takes one Snapshot for each scrape and returns its metrics.
type collector struct{ snapshot func() Snapshot }

// Describe implements prometheus.Collector.
func (collector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range routerMetrics {
		descs <- m.desc
	}
	for _, m := range routerReasonMetrics {
		descs <- m.desc
	}
	for _, m := range snapshotMetrics {
		descs <- m.desc
	}
	descs <- unheardMetric.desc
	descs <- proxyConnections.desc
	descs <- proxyEnded.desc
}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	s := c.snapshot()
	for _, r := range s.Engine.Routers {
		labels := []string{r.Interface, familyLabel(r.Family), strconv.Itoa(int(r.VRID))}
		for _, m := range routerMetrics {
			m.collect(metrics, r, labels...)
		}
		for _, m := range routerReasonMetrics {
			m.collect(metrics, r, labels...)
		}
	}
	for _, m := range snapshotMetrics {
		m.collect(metrics, s)
	}
	unheardMetric.collect(metrics, s)
	for _, p := range s.Datapath.Proxy {
		labels := []string{p.VIP.Addr().String(), strconv.Itoa(int(p.VIP.Port()))}
		proxyConnections.collect(metrics, p, labels...)
		proxyEnded.collect(metrics, p, labels...)
	}
}

func (m metric[T]) collect(metrics chan<- prometheus.Metric, of T, labels ...string) {
	metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(of), labels...)
}

func (m reasonMetric[T]) collect(metrics chan<- prometheus.Metric, of T, labels ...string) {
	for reason, n := range m.values(of) {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(n), append(slices.Clip(labels), reason)...)
	}
}

// metricsHandler serves the metrics of a new registry.
func metricsHandler(c Config) http.Handler {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        namespace + "build_info",
		Help:        "Always 1, with the version of the daemon and of Go as labels.",
		ConstLabels: prometheus.Labels{"version": c.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collector{c.Snapshot},
		build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

func familyLabel(f vrrp.Family) string {
	if f == vrrp.IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// timestamp returns t in seconds of Unix time, and 0 for the zero time.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / float64(time.Second)
}

func count[T any](all []T, is func(T) bool) float64 {
	n := 0
	for _, one := range all {
		if is(one) {
			n++
		}
	}
	return float64(n)
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
