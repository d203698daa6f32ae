package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// snapshot returns the Snapshot of a healthy Master at the current time.
func snapshot() Snapshot {
	now := time.Now()
	return Snapshot{
		Engine: desired.Status{
			Routers: []desired.RouterStatus{{
				RouterKey:       desired.RouterKey{Interface: "eth0", Family: vrrp.IPv4, VRID: 50},
				AddressRemovals: 3,
				State:           vrrp.Master,
				Cause:           desired.Cause{Reason: "masterDown"},
				Since:           now.Add(-time.Hour),
				Version:         vrrp.V3,
				Priority:        200,
				Interval:        100 * time.Millisecond,
				Master:          netip.MustParseAddr("10.4.0.11"),
				MasterPriority:  200,
				ListOf:          netip.MustParseAddr("10.4.0.13"),
				Unicast:         []netip.Addr{netip.MustParseAddr("10.4.0.12"), netip.MustParseAddr("10.4.0.13")},
				ForeignClaims:   9,
				Alarms: []desired.Alarm{
					{Reason: "addressList", Source: netip.MustParseAddr("10.4.0.13"), Detail: "10.4.0.50 only", Since: now.Add(-time.Minute).UTC()},
				},
				VIPs: []desired.VIPStatus{
					{Address: netip.MustParseAddr("10.4.0.50"), Bound: true, Interface: "eth0", Advertised: true, Placement: "prefix 10.4.0.0/24"},
					{Address: netip.MustParseAddr("10.4.0.51"), Interface: "eth0", InUseBy: "02:00:00:00:00:04", Placement: "prefix 10.4.0.0/24"},
				},
				Counters: vrrp.Counters{
					MasterTransitions:      1,
					AdvertisementsReceived: 2,
					AdvertisementsSent:     3,
					PriorityZeroReceived:   4,
					PriorityZeroSent:       5,
					Discarded:              map[string]uint64{"checksum": 6, "ttl": 7},
					Warnings:               map[string]uint64{"addresses": 8},
				},
			}},
			Foreign: []desired.ForeignRouter{{
				RouterKey: desired.RouterKey{Interface: "eth0", Family: vrrp.IPv6, VRID: 10},
				Source:    netip.MustParseAddr("fe80::9"),
				Version:   vrrp.V3,
				Priority:  100,
				Interval:  time.Second,
				Addresses: []netip.Addr{netip.MustParseAddr("fe80::1")},
			}},
			Unplaced:   []desired.UnplacedVIP{{Address: netip.MustParseAddr("10.9.0.1"), Reason: "no interface"}},
			Interfaces: []string{"eth0"},
			Applied:    true,
			Beat:       now.UnixNano(),
			Lateness:   3 * time.Millisecond,
			Unheard:    map[string]uint64{"unknownVRID": 9},

			PulseFailures: 12,
		},
		Datapath: desired.DatapathStatus{LastSync: now, Errors: 10, Repairs: 11, Conflicts: []string{"flowtable"}, Proxy: []desired.ProxyStatus{{
			VIP:         netip.MustParseAddrPort("10.4.0.50:443"),
			Listener:    netip.MustParseAddrPort("10.4.0.11:40000"),
			Target:      netip.MustParseAddrPort("10.96.0.10:443"),
			Connections: 11,
			Ended:       map[string]uint64{"closed": 12},
		}}},
		Problems: []config.Problem{{Key: "web", Message: "bad"}, {Key: "10.4.0.50", Message: "good", Notice: true}},
	}
}

func get(t *testing.T, s Snapshot, path string) *httptest.ResponseRecorder {
	t.Helper()
	server := New(Config{Port: 8080, Version: "v1", Node: "worker-a", Snapshot: func() Snapshot { return s }})
	w := httptest.NewRecorder()
	server.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestHealth(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		change      func(*Snapshot)
		after       time.Duration
		alive       string
		ready       string
		wantHealthy int
		wantReady   int
	}{
		{name: "all is well", alive: "ok\n", ready: "ok\n", wantHealthy: 200, wantReady: 200},
		{
			name:        "empty configuration",
			change:      func(s *Snapshot) { s.Engine.Routers, s.Problems = nil, nil },
			alive:       "ok\n",
			ready:       "ok\n",
			wantHealthy: 200,
			wantReady:   200,
		},
		{
			name:        "the loop has not started",
			change:      func(s *Snapshot) { *s = Snapshot{} },
			alive:       "the VRRP loop has not started\n",
			ready:       "the VRRP loop has not started\n",
			wantHealthy: 503,
			wantReady:   503,
		},
		{name: "the loop is slow", after: maxBeatAge, alive: "ok\n", ready: "ok\n", wantHealthy: 200, wantReady: 200},
		{
			name:        "the loop hangs",
			after:       12 * time.Second,
			alive:       "the VRRP loop has not run for 12s\n",
			ready:       "the VRRP loop has not run for 12s\n",
			wantHealthy: 503,
			wantReady:   503,
		},
		{
			name:        "the API server was never reached",
			change:      func(s *Snapshot) { s.Engine.Applied = false },
			alive:       "ok\n",
			ready:       "the configuration has not been read yet\n",
			wantHealthy: 200,
			wantReady:   503,
		},
		{
			name:        "nftables not yet",
			change:      func(s *Snapshot) { s.Datapath = desired.DatapathStatus{} },
			alive:       "ok\n",
			ready:       "the nftables tables have not been written yet\n",
			wantHealthy: 200,
			wantReady:   503,
		},
		{
			name:        "nftables never",
			change:      func(s *Snapshot) { s.Datapath = desired.DatapathStatus{Err: "operation not permitted", Errors: 1} },
			alive:       "ok\n",
			ready:       "the nftables tables could not be written: operation not permitted\n",
			wantHealthy: 200,
			wantReady:   503,
		},
		{
			name:        "nftables not any more",
			change:      func(s *Snapshot) { s.Datapath.Err = "no buffer space available" },
			alive:       "ok\n",
			ready:       "ok\n",
			wantHealthy: 200,
			wantReady:   200,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := snapshot()
				if tt.change != nil {
					tt.change(&s)
				}
				time.Sleep(tt.after)
				for path, want := range map[string]struct {
					code int
					body string
				}{"/healthz": {tt.wantHealthy, tt.alive}, "/health": {tt.wantHealthy, tt.alive}, "/readyz": {tt.wantReady, tt.ready}} {
					if w := get(t, s, path); w.Code != want.code || w.Body.String() != want.body {
						t.Errorf("%s = %d %q, want %d %q", path, w.Code, w.Body, want.code, want.body)
					}
				}
			})
		})
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := get(t, snapshot(), "/status")
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != "application/json" {
			t.Errorf("%d %s", w.Code, got)
		}
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		engine, _ := got["engine"].(map[string]any)
		routers, _ := engine["routers"].([]any)
		if len(routers) != 1 {
			t.Fatalf("routers of %s", w.Body)
		}
		router, _ := routers[0].(map[string]any)
		want := map[string]any{
			"interface":     "eth0",
			"vrid":          50.0,
			"state":         "Master",
			"reason":        "masterDown",
			"master":        "10.4.0.11",
			"listOf":        "10.4.0.13",
			"foreignClaims": 9.0,
			"unicast":       []any{"10.4.0.12", "10.4.0.13"},
			"alarms": []any{map[string]any{
				"reason": "addressList", "source": "10.4.0.13", "detail": "10.4.0.50 only", "since": "1999-12-31T23:59:00Z",
			}},
			"vips": []any{
				map[string]any{"address": "10.4.0.50", "bound": true, "interface": "eth0", "advertised": true, "placement": "prefix 10.4.0.0/24"},
				map[string]any{"address": "10.4.0.51", "bound": false, "interface": "eth0", "advertised": false, "inUseBy": "02:00:00:00:00:04", "placement": "prefix 10.4.0.0/24"},
			},
		}
		for key, value := range want {
			if diff := cmp.Diff(value, router[key]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", key, diff)
			}
		}
		foreign := []any{map[string]any{
			"interface": "eth0", "family": 6.0, "vrid": 10.0, "source": "fe80::9", "version": 3.0, "priority": 100.0,
			"advertisementIntervalNanoseconds": 1e9, "addresses": []any{"fe80::1"},
		}}
		if diff := cmp.Diff(foreign, engine["foreign"]); diff != "" {
			t.Errorf("foreign (-want +got):\n%s", diff)
		}
		delete(got, "engine")
		rest := map[string]any{
			"node":    "worker-a",
			"version": "v1",
			"datapath": map[string]any{"lastSync": "2000-01-01T00:00:00Z", "errors": 10.0, "repairs": 11.0, "conflicts": []any{"flowtable"}, "proxy": []any{map[string]any{
				"vip": "10.4.0.50:443", "listener": "10.4.0.11:40000", "target": "10.96.0.10:443",
				"connections": 11.0, "ended": map[string]any{"closed": 12.0},
			}}},
			"problems": []any{
				map[string]any{"key": "web", "value": "", "message": "bad"},
				map[string]any{"key": "10.4.0.50", "value": "", "message": "good", "notice": true},
			},
		}
		if lastSync, ok := got["datapath"].(map[string]any)["lastSync"].(string); ok {
			at, err := time.Parse(time.RFC3339, lastSync)
			if err != nil {
				t.Error(err)
			}
			got["datapath"].(map[string]any)["lastSync"] = at.UTC().Format(time.RFC3339)
		}
		if diff := cmp.Diff(rest, got); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
	})
}

func TestStatusOfNothing(t *testing.T) {
	t.Parallel()
	body := get(t, Snapshot{}, "/status").Body.String()
	if !strings.Contains(body, `"problems": []`) || strings.Contains(body, "lastSync") {
		t.Errorf("status: %s", body)
	}
}

func TestOtherRequests(t *testing.T) {
	t.Parallel()
	if w := get(t, snapshot(), "/debug/pprof/"); w.Code != http.StatusNotFound {
		t.Errorf("/debug/pprof/ = %d", w.Code)
	}
	server := New(Config{Snapshot: snapshot})
	w := httptest.NewRecorder()
	server.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/status", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /status = %d", w.Code)
	}
}

// TestRunPortInUse: if another process uses the port, the Server logs it once, and
// serves when the port is free.
func TestRunPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), logger))
	defer cancel()
	port := taken.Addr().(*net.TCPAddr).Port
	server := New(Config{Port: port, Snapshot: snapshot})
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()

	log := logger.GetSink().(ktesting.Underlier).GetBuffer()
	poll(t, func() error {
		if !strings.Contains(log.String(), "address already in use") {
			return fmt.Errorf("log: %s", log)
		}
		return nil
	})
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	poll(t, func() error {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && string(body) != "ok\n" {
			err = fmt.Errorf("answered %q", body)
		}
		return err
	})
	if n := strings.Count(log.String(), "address already in use"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log)
	}

	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run has not ended")
	}
	if l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err != nil {
		t.Errorf("the port is still taken: %v", err)
	} else {
		l.Close()
	}
}

// poll calls f until it succeeds.
func poll(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
