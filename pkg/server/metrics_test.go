package server

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := snapshot()
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(collector{func() Snapshot { return s }})
		problems, err := testutil.GatherAndLint(registry)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}

		// The clock of a synctest bubble begins at 2000-01-01.
		const want = `
# HELP kube_vrrp_vip_config_applied Whether the configuration was read since the start.
# TYPE kube_vrrp_vip_config_applied gauge
kube_vrrp_vip_config_applied 1
# HELP kube_vrrp_vip_config_problems Entries of the configuration that are not served as written.
# TYPE kube_vrrp_vip_config_problems gauge
kube_vrrp_vip_config_problems 1
# HELP kube_vrrp_vip_datapath_conflicts Rules of other programs on this node that block traffic to virtual addresses.
# TYPE kube_vrrp_vip_datapath_conflicts gauge
kube_vrrp_vip_datapath_conflicts 1
# HELP kube_vrrp_vip_datapath_last_sync_timestamp_seconds When the nftables tables were last in sync; 0: never.
# TYPE kube_vrrp_vip_datapath_last_sync_timestamp_seconds gauge
kube_vrrp_vip_datapath_last_sync_timestamp_seconds 9.466848e+08
# HELP kube_vrrp_vip_datapath_repairs_total Times the nftables tables were repaired after another program had changed them.
# TYPE kube_vrrp_vip_datapath_repairs_total counter
kube_vrrp_vip_datapath_repairs_total 11
# HELP kube_vrrp_vip_datapath_sync_errors_total Failed attempts to write the nftables tables, or to listen on the proxy's ports.
# TYPE kube_vrrp_vip_datapath_sync_errors_total counter
kube_vrrp_vip_datapath_sync_errors_total 10
# HELP kube_vrrp_vip_datapath_up Whether the latest attempt to write the nftables tables, and to listen on the proxy's ports, succeeded.
# TYPE kube_vrrp_vip_datapath_up gauge
kube_vrrp_vip_datapath_up 1
# HELP kube_vrrp_vip_loop_beat_timestamp_seconds When the VRRP loop last ran.
# TYPE kube_vrrp_vip_loop_beat_timestamp_seconds gauge
kube_vrrp_vip_loop_beat_timestamp_seconds 9.466848e+08
# HELP kube_vrrp_vip_loop_lateness_seconds Worst lateness of the VRRP loop in the last one to two minutes.
# TYPE kube_vrrp_vip_loop_lateness_seconds gauge
kube_vrrp_vip_loop_lateness_seconds 0.003
# HELP kube_vrrp_vip_packets_unheard_total VRRP packets that belong to no virtual router of this node, or could not be parsed.
# TYPE kube_vrrp_vip_packets_unheard_total counter
kube_vrrp_vip_packets_unheard_total{reason="unknownVRID"} 9
# HELP kube_vrrp_vip_proxy_connections Connections of a port that the daemon serves itself.
# TYPE kube_vrrp_vip_proxy_connections gauge
kube_vrrp_vip_proxy_connections{port="443",vip="10.4.0.50"} 11
# HELP kube_vrrp_vip_proxy_connections_total Connections that have ended of a port that the daemon serves itself, by result.
# TYPE kube_vrrp_vip_proxy_connections_total counter
kube_vrrp_vip_proxy_connections_total{port="443",result="closed",vip="10.4.0.50"} 12
# HELP kube_vrrp_vip_pulse_failures_total Heartbeats (pulses) of Masters that could not be sent; without them a node whose daemon dies answers for its VIPs until their lease ends.
# TYPE kube_vrrp_vip_pulse_failures_total counter
kube_vrrp_vip_pulse_failures_total 12
# HELP kube_vrrp_vip_router_address_removals_total Virtual addresses that another program removed from the interface; they were bound again.
# TYPE kube_vrrp_vip_router_address_removals_total counter
kube_vrrp_vip_router_address_removals_total{family="IPv4",interface="eth0",vrid="50"} 3
# HELP kube_vrrp_vip_router_advertisement_interval_seconds Time between advertisements of the virtual router.
# TYPE kube_vrrp_vip_router_advertisement_interval_seconds gauge
kube_vrrp_vip_router_advertisement_interval_seconds{family="IPv4",interface="eth0",vrid="50"} 0.1
# HELP kube_vrrp_vip_router_advertisement_warnings_total VRRP advertisements of the virtual router that were used but differ from its configuration.
# TYPE kube_vrrp_vip_router_advertisement_warnings_total counter
kube_vrrp_vip_router_advertisement_warnings_total{family="IPv4",interface="eth0",reason="addresses",vrid="50"} 8
# HELP kube_vrrp_vip_router_advertisements_discarded_total VRRP advertisements of the virtual router that were not used.
# TYPE kube_vrrp_vip_router_advertisements_discarded_total counter
kube_vrrp_vip_router_advertisements_discarded_total{family="IPv4",interface="eth0",reason="checksum",vrid="50"} 6
kube_vrrp_vip_router_advertisements_discarded_total{family="IPv4",interface="eth0",reason="ttl",vrid="50"} 7
# HELP kube_vrrp_vip_router_advertisements_received_total Valid VRRP advertisements received.
# TYPE kube_vrrp_vip_router_advertisements_received_total counter
kube_vrrp_vip_router_advertisements_received_total{family="IPv4",interface="eth0",vrid="50"} 2
# HELP kube_vrrp_vip_router_advertisements_sent_total VRRP advertisements sent.
# TYPE kube_vrrp_vip_router_advertisements_sent_total counter
kube_vrrp_vip_router_advertisements_sent_total{family="IPv4",interface="eth0",vrid="50"} 3
# HELP kube_vrrp_vip_router_alarms Alarms of the virtual router that are on.
# TYPE kube_vrrp_vip_router_alarms gauge
kube_vrrp_vip_router_alarms{family="IPv4",interface="eth0",reason="addressList",vrid="50"} 1
# HELP kube_vrrp_vip_router_foreign_claims_total ARP and Neighbor Discovery packets of other hosts that claim an address of this node.
# TYPE kube_vrrp_vip_router_foreign_claims_total counter
kube_vrrp_vip_router_foreign_claims_total{family="IPv4",interface="eth0",vrid="50"} 9
# HELP kube_vrrp_vip_router_master_transitions_total Times the virtual router became Master.
# TYPE kube_vrrp_vip_router_master_transitions_total counter
kube_vrrp_vip_router_master_transitions_total{family="IPv4",interface="eth0",vrid="50"} 1
# HELP kube_vrrp_vip_router_priority Priority of this node in the virtual router.
# TYPE kube_vrrp_vip_router_priority gauge
kube_vrrp_vip_router_priority{family="IPv4",interface="eth0",vrid="50"} 200
# HELP kube_vrrp_vip_router_priority_zero_received_total VRRP advertisements received with priority 0: the Master resigned.
# TYPE kube_vrrp_vip_router_priority_zero_received_total counter
kube_vrrp_vip_router_priority_zero_received_total{family="IPv4",interface="eth0",vrid="50"} 4
# HELP kube_vrrp_vip_router_priority_zero_sent_total VRRP advertisements sent with priority 0: this node resigned.
# TYPE kube_vrrp_vip_router_priority_zero_sent_total counter
kube_vrrp_vip_router_priority_zero_sent_total{family="IPv4",interface="eth0",vrid="50"} 5
# HELP kube_vrrp_vip_router_state State of the virtual router: 0 Initialize, 1 Backup, 2 Master.
# TYPE kube_vrrp_vip_router_state gauge
kube_vrrp_vip_router_state{family="IPv4",interface="eth0",vrid="50"} 2
# HELP kube_vrrp_vip_router_state_since_timestamp_seconds When the virtual router entered its state.
# TYPE kube_vrrp_vip_router_state_since_timestamp_seconds gauge
kube_vrrp_vip_router_state_since_timestamp_seconds{family="IPv4",interface="eth0",vrid="50"} 9.466812e+08
# HELP kube_vrrp_vip_router_vips Virtual addresses of the virtual router.
# TYPE kube_vrrp_vip_router_vips gauge
kube_vrrp_vip_router_vips{family="IPv4",interface="eth0",vrid="50"} 2
# HELP kube_vrrp_vip_router_vips_advertised Virtual addresses of the virtual router that its advertisements carry.
# TYPE kube_vrrp_vip_router_vips_advertised gauge
kube_vrrp_vip_router_vips_advertised{family="IPv4",interface="eth0",vrid="50"} 1
# HELP kube_vrrp_vip_router_vips_bound Virtual addresses of the virtual router that are on the interface of this node.
# TYPE kube_vrrp_vip_router_vips_bound gauge
kube_vrrp_vip_router_vips_bound{family="IPv4",interface="eth0",vrid="50"} 1
# HELP kube_vrrp_vip_unplaced_vips Virtual addresses that no interface of this node can take.
# TYPE kube_vrrp_vip_unplaced_vips gauge
kube_vrrp_vip_unplaced_vips 1
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	})
}

func TestMetricsHandler(t *testing.T) {
	t.Parallel()
	w := get(t, Snapshot{}, "/metrics")
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, want := range []string{
		`kube_vrrp_vip_build_info{goversion="go`,
		`version="v1"} 1`,
		"kube_vrrp_vip_config_applied 0",
		"kube_vrrp_vip_loop_beat_timestamp_seconds 0",
		"go_goroutines",
		"process_open_fds",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
}
