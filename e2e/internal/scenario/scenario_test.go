package scenario

import (
	"encoding/json"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestSettled(t *testing.T) {
	const (
		written = `"datapath": {"lastSync": "2026-01-02T03:04:05Z"}`
		master  = `{"state": "Master", "vips": [{"address": "10.0.0.1", "bound": true}, {"address": "10.0.0.2", "bound": true}]}`
		backup  = `{"state": "Backup", "vips": [{"address": "10.0.0.1", "bound": false}, {"address": "10.0.0.2", "bound": false}]}`
		half    = `{"state": "Master", "vips": [{"address": "10.0.0.1", "bound": true}, {"address": "10.0.0.2", "bound": false}]}`
		holds   = `{"state": "Backup", "vips": [{"address": "10.0.0.1", "bound": true}, {"address": "10.0.0.2", "bound": false}]}`
		one     = `{"state": "Backup", "vips": [{"address": "10.0.0.1", "bound": false}]}`
		starts  = `{"state": "Initialize", "reason": "listening", "vips": []}`
	)
	engine := func(routers string) string {
		return `{"engine": {"applied": true, "routers": [` + routers + `]}, ` + written + `}`
	}
	both := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	for _, test := range []struct {
		name, status string
		vips         []netip.Addr
		isMaster     bool
		wantErr      string
	}{
		{"Master", engine(master), both, true, ""},
		{"Backup", engine(backup), both, false, ""},
		{"nothing to serve", engine(""), nil, false, ""},
		{"Master without an address", engine(half), both, true, "10.0.0.2 bound: false"},
		{"Backup with an address", engine(holds), both, false, "10.0.0.1 bound: true"},
		{"a VIP is missing", engine(one), both, false, "VIPs"},
		{"a VIP too many", engine(backup), both[:1], false, "VIPs"},
		{"still serving", engine(backup), nil, false, "VIPs"},
		{"not yet serving", engine(""), both, false, "0 virtual routers"},
		{"listening", engine(starts), both, false, "listening"},
		{"not applied", `{"engine": {"applied": false}, ` + written + `}`, nil, false, "applied false"},
		{"tables not written", `{"engine": {"applied": true}, "datapath": {}}`, nil, false, "tables written false"},
		{"tables failed", `{"engine": {"applied": true}, "datapath": {"lastSync": "2026-01-02T03:04:05Z", "error": "busy"}}`, nil, false, "busy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var st Status
			if err := json.Unmarshal([]byte(test.status), &st); err != nil {
				t.Fatal(err)
			}
			isMaster, err := settled(st, test.vips)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("error %v, want %q", err, test.wantErr)
				}
				return
			}
			if err != nil || isMaster != test.isMaster {
				t.Errorf("Master %v, %v; want %v", isMaster, err, test.isMaster)
			}
		})
	}
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	ms := func(values ...int) (all []time.Duration) {
		for _, v := range values {
			all = append(all, time.Duration(v)*time.Millisecond)
		}
		return all
	}
	for _, test := range []struct {
		values []time.Duration
		want   string
	}{
		{ms(7), "7 min=7 max=7 runs=1"},
		{ms(30, 10, 20), "20 min=10 max=30 runs=3"},
		{ms(40, 10, 30, 20), "30 min=10 max=40 runs=4"},
	} {
		if got := Summarize(test.values).String(); got != test.want {
			t.Errorf("%v: %q, want %q", test.values, got, test.want)
		}
	}
}

func TestBound(t *testing.T) {
	t.Parallel()
	for target, want := range map[time.Duration]time.Duration{
		50 * time.Millisecond: 5 * time.Second,
		2 * time.Second:       10 * time.Second,
	} {
		if got := Bound(target); got != want {
			t.Errorf("bound of %s: %s, want %s", target, got, want)
		}
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	daemon := func(routers string) (st Status) {
		t.Helper()
		text := `{"engine": {"applied": true, "routers": [` + routers + `]}, "datapath": {"lastSync": "2026-01-02T03:04:05Z"}}`
		if err := json.Unmarshal([]byte(text), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	const (
		master1 = `{"vrid": 1, "state": "Master", "vips": [{"address": "10.0.0.1", "bound": true}]}`
		backup1 = `{"vrid": 1, "state": "Backup", "vips": [{"address": "10.0.0.1", "bound": false}]}`
		master2 = `{"vrid": 2, "state": "Master", "vips": [{"address": "10.0.0.2", "bound": true}]}`
		backup2 = `{"vrid": 2, "state": "Backup", "vips": [{"address": "10.0.0.2", "bound": false}]}`
		late2   = `{"vrid": 2, "state": "Backup", "vips": [{"address": "10.0.0.2", "bound": true}]}`
	)
	vips := []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")}
	for _, test := range []struct{ name, a, b, wantErr string }{
		{"one each", master1 + "," + backup2, backup1 + "," + master2, ""},
		{"two Masters", master1 + "," + backup2, master1 + "," + master2, "both hold 10.0.0.1"},
		{"no Master", master1 + "," + backup2, backup1 + "," + backup2, "not all"},
		{"still bound", master1 + "," + late2, backup1 + "," + master2, "10.0.0.2 bound: true"},
		{"not yet there", master1 + "," + backup2, master2, "VIPs"},
	} {
		holders, err := spread(map[string]Status{"a": daemon(test.a), "b": daemon(test.b)}, vips)
		if test.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("%s: error %v, want %q", test.name, err, test.wantErr)
			}
			continue
		}
		if err != nil || holders[vips[0]] != "b" || holders[vips[1]] != "a" {
			t.Errorf("%s: %v, %v", test.name, holders, err)
		}
	}
}

func TestHolder(t *testing.T) {
	t.Parallel()
	const (
		master  = `{"state": "Master", "vips": [{"address": "10.0.0.1", "bound": true}]}`
		backup  = `{"state": "Backup", "vips": [{"address": "10.0.0.1", "bound": false}]}`
		waiting = `{"state": "Initialize", "reason": "noLocalEndpoint", "vips": [{"address": "10.0.0.1", "bound": false}]}`
		left    = `{"state": "Initialize", "reason": "noLocalEndpoint", "vips": [{"address": "10.0.0.1", "bound": true}]}`
	)
	for _, test := range []struct{ name, a, b, wantErr string }{
		{"with a Backup", master, backup, ""},
		{"alone", master, waiting, ""},
		{"two Masters", master, master, "both hold"},
		{"nobody may", waiting, waiting, "nobody"},
		{"not given up", master, left, "bound: true"},
		{"not yet there", master, "", "does not know"},
	} {
		statuses := map[string]Status{}
		for node, routers := range map[string]string{"a": test.a, "b": test.b} {
			var st Status
			text := `{"engine": {"applied": true, "routers": [` + routers + `]}, "datapath": {"lastSync": "2026-01-02T03:04:05Z"}}`
			if err := json.Unmarshal([]byte(text), &st); err != nil {
				t.Fatal(err)
			}
			statuses[node] = st
		}
		node, err := holder(statuses, netip.MustParseAddr("10.0.0.1"))
		if test.wantErr == "" && (err != nil || node != "a") {
			t.Errorf("%s: %q, %v", test.name, node, err)
		}
		if test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.wantErr)
		}
	}
}

func TestParseMetrics(t *testing.T) {
	t.Parallel()
	got := parseMetrics("# HELP go_goroutines Number.\n# TYPE go_goroutines gauge\ngo_goroutines 31\n" +
		"process_resident_memory_bytes 5.24e+07\nconnections{vip=\"a\",port=\"1\"} 2\nconnections{vip=\"b c\",port=\"1\"} 3\n")
	want := map[string]float64{"go_goroutines": 31, "process_resident_memory_bytes": 5.24e7, "connections": 5}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
