package main

import (
	"slices"
	"strings"
	"testing"

	"kube-vrrp-vip/e2e/internal/load"
)

// figures makes a path with the same rates for every pattern.
func figures(name string, forwards int, rates ...float64) *path {
	p := &path{name: name, node: &node{vips: forwards, ports: 1}, samples: map[load.Pattern][]sample{}}
	for _, w := range works {
		for _, r := range rates {
			p.samples[w.pattern] = append(p.samples[w.pattern], sample{rate: r, p50: 1e5 / r, p99: 1e6 / r, cpu: 1e3 / r})
		}
	}
	return p
}

func TestDatapathSection(t *testing.T) {
	t.Parallel()
	r, err := parseRules(measuredRules)
	if err != nil {
		t.Fatal(err)
	}
	d := &datapath{
		text: "What it is.", measured: "Measured today.",
		bare: figures(clusterIPName, 1, 110, 200, 50),
		plain: []*path{
			figures(clusterIPName, 1, 100, 200, 50), figures(vipName, 1, 98, 194, 50), figures(haproxyName, 1, 70, 110, 25),
			figures(clusterIPName, 100, 100, 200, 50), figures(vipName, 100, 96, 192, 50),
			figures(clusterIPName, 10_000, 100, 200, 50), figures(vipName, 10_000, 99, 198, 50),
		},
		proxied: []*path{figures(vipName, 1, 90, 90, 90), figures(haproxyName, 1, 80, 100, 90)},
		memory:  [2][2]float64{{30, 32}, {15, 20}},
		rules:   r,
	}
	got := d.String()
	for _, want := range []string{
		"## Datapath\n\nWhat it is.\n\nMeasured today.\n",
		"| VIP / ClusterIP, requests/s, 1 forward | at least 0.97 | 0.980 [0.970..1.00] | met |\n",
		"| VIP / ClusterIP, download, 100 forwards | at least 0.97 | 0.960 [0.960..1.00] | **missed** |\n",
		"| ClusterIP beside kube-vrrp-vip / without it, requests/s | at least 0.97 | 1.00 [0.909..1.00] | met |\n",
		"| ClusterIP, without kube-vrrp-vip | 110 [50.0..200] |",
		"| VIP with 10 000 / with 1, connections/s | at least 0.95 | 1.01 [1.00..1.02] | met |\n",
		"| VIP / HAProxy, requests/s | at least 1.7 | 1.76 [1.40..2.00] | met |\n",
		"| VIP / HAProxy, CPU per connection | at most 0.75 | 0.567 [0.500..0.714] | met |\n",
		"| PROXY header: VIP / HAProxy, requests/s | at least 1 | 1.00 [0.900..1.12] | met |\n",
		"| PROXY header: VIP / HAProxy, memory with 1000 idle connections | at most 1 | 1.60 | **missed** |\n",
		"| PROXY header: VIP / HAProxy, memory per idle connection | at most 1 | 0.400 | met |\n",
		"| add one forward to 10000 on 4000 vips, ms | at most 5 | 7.00 | **missed** |\n",
		"| load 10000 on 100 vips, ms | at most 200 | 27.6 [25.3..30.0] | met |\n",
		"| no change | 1000 |\n",
		"| ClusterIP, 10 000 forwards | 100 [50.0..200] | 1000 [500..2000] | 10000 [5000..20000] | 10.0 [5.00..20.0] |\n",
		"| HAProxy, with a PROXY header | 90.0 [80.0..100] | 11.1 [10.0..12.5] |\n",
		"| VIP, with a PROXY header, the client ends first | 90.0 [90.0..90.0] |",
		"| PROXY header: VIP, connections/s, client ends first / endpoint ends first | at least 0.7 | 1.00 [1.00..1.00] | met |\n",
		"| per connection, kB | 2.00 | 5.00 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestParseRules(t *testing.T) {
	t.Parallel()
	r, err := parseRules(measuredRules)
	if err != nil || len(r) != 5 || !slices.Equal(r.of("load_10000_on_100_vips"), []float64{25.27, 30}) ||
		!slices.Equal(r.of("add_one_forward_to_10000_on_100_vips"), []float64{0.36}) {
		t.Errorf("got %v, %v", r, err)
	}
	if _, err := parseRules("PASS\n"); err == nil {
		t.Error("nothing was measured, and that is no error")
	}
}

const measuredRules = `=== RUN   TestNetnsTenThousand
    scale_netns_test.go:59: measured: load_10000_on_100_vips=25.27ms target=200ms
    scale_netns_test.go:59: measured: load_10000_on_4000_vips=210ms target=200ms
    scale_netns_test.go:60: measured: add_one_forward_to_10000_on_100_vips=360µs target=5ms
    scale_netns_test.go:60: measured: add_one_forward_to_10000_on_4000_vips=7ms target=5ms
    scale_netns_test.go:61: measured: no_change=1s target=5ms
    scale_netns_test.go:59: measured: load_10000_on_100_vips=30ms target=200ms
`
