package main

import "testing"

func TestSection(t *testing.T) {
	t.Parallel()
	got := section{
		title: "Failover",
		text:  "What a client sees.\n",

		measured: "Measured today.",
		rows: []row{
			{name: "crash", unit: "ms", ours: []float64{300, 250, 350}, theirs: []float64{5000, 300, 400, 200}, outages: true},
			{name: "CPU per minute", unit: "s", ours: []float64{0.0361}, theirs: []float64{1.2345}},
			{name: "stale", unit: "ms", ours: []float64{600, 500}, theirs: []float64{9990, 9980}, limit: 10000},
			{name: "of 100 new clients", ours: []float64{0, 0}, theirs: []float64{100, 50}},
			{name: "PASS", unit: "ms", theirs: []float64{12.345}},
		},
	}.String()
	want := `## Failover

What a client sees.

Measured today.

| | kube-vrrp-vip | keepalived | ratio | runs |
|---|---|---|---|---|
| crash, ms | 300 [250..350], 0 over 1 s | 350 [200..5000], 1 over 1 s | 0.86 | 3, 4 |
| CPU per minute, s | 0.036 | 1.23 | 0.03 | 1 |
| stale, ms | 550 [500..600] | >10000 | below 0.06 | 2 |
| of 100 new clients | 0 [0..0] | 75.0 [50.0..100] | 0.00 | 2 |
| PASS, ms | not run | 12.3 | - | 0, 1 |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
