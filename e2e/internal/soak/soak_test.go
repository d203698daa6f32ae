package soak

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
)

func events() []Event {
	return []Event{
		{Kind: "crash", Bound: 5 * time.Second, Outage: 410 * time.Millisecond, Requests: 1000, Lost: 40, Settled: 12 * time.Second},
		{Kind: "cable cut", Bound: 5 * time.Second, Outage: 300 * time.Millisecond, Requests: 500, Lost: 3, Settled: 4 * time.Second},
		{Kind: "crash", Bound: 5 * time.Second, Outage: 390 * time.Millisecond, Requests: 1100, Lost: 39, Doubled: 100 * time.Millisecond, Settled: 15 * time.Second},
		{Kind: "crash", Bound: 5 * time.Second, Outage: 400 * time.Millisecond, Requests: 900, Lost: 41, Settled: 13 * time.Second},
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := Report{Events: events(), Leaks: []Leak{{"goroutines", 40, 52, 20}}}
	want := strings.TrimPrefix(`
      fault  times  outage, ms: median  worst  bound  lost  of requests  two holders, ms  settled, s: median  worst
  cable cut      1                 300    300   5000     3          500                0                 4.0    4.0
      crash      3                 400    410   5000   120         3000              100                13.0   15.0
        all      4                 400    410          123         3500              100                13.0   15.0

   left over  begin  end  allowed
  goroutines     40   52       60
`, "\n")
	if got := r.Table(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := r.Verdict(), "soak: PASS requests=3500 lost=123 faults=4 worst_outage_ms=410 two_holders_ms=100"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestVerdictFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		change  func(*Report)
		reasons []string
		want    string
	}{
		{"outage of the one with the smaller bound", func(r *Report) {
			r.Events[0].Bound, r.Events[0].Outage = 10*time.Second, 9*time.Second
			r.Events[2].Outage = 6 * time.Second
		}, nil, "crash: a client was without an answer for 6s, more than 5s"},
		{"outage", func(r *Report) { r.Events[2].Outage = 5001 * time.Millisecond }, nil, "crash: a client was without an answer for 5.001s, more than 5s"},
		{"holders", func(r *Report) { r.Events[1].Doubled = 6 * time.Second }, nil, "cable cut: an address had two holders for 6s, more than 5s"},
		{"leak", func(r *Report) { r.Leaks = []Leak{{"open files", 20, 41, 20}} }, nil, "open files: 20 at the beginning, 41 at the end"},
		{"nothing done", func(r *Report) { r.Events = nil }, nil, "no fault was made"},
		{"reason", func(*Report) {}, []string{"interrupted"}, "interrupted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := Report{Events: events()}
			tt.change(&r)
			if got := r.Verdict(tt.reasons...); !strings.HasPrefix(got, "soak: FAIL "+tt.want+"; requests=") {
				t.Errorf("got %s\nwant soak: FAIL %s", got, tt.want)
			}
		})
	}
}

func TestHolders(t *testing.T) {
	t.Parallel()
	t0 := time.Unix(1000, 0)
	spans := func(all ...[]string) []probe.Span {
		var s []probe.Span
		for i, h := range all {
			s = append(s, probe.Span{From: t0.Add(time.Duration(i) * time.Second), To: t0.Add(time.Duration(i+1) * time.Second), Holders: h})
		}
		return s
	}
	a, ab, bc, none := []string{"a"}, []string{"a", "b"}, []string{"b", "c"}, []string(nil)
	for _, tt := range []struct {
		name  string
		spans []probe.Span
		want  probe.Span
		one   bool
	}{
		{"one", spans(a), probe.Span{}, true},
		{"nobody", spans(none), probe.Span{}, false},
		{"not asked", nil, probe.Span{}, false},
		{"one after nobody", spans(none, a), probe.Span{}, false},
		{"two", spans(a, ab, a), probe.Span{From: t0.Add(time.Second), To: t0.Add(2 * time.Second), Holders: ab}, false},
		{"two and others", spans(ab, bc, a, ab), probe.Span{From: t0, To: t0.Add(2 * time.Second), Holders: []string{"a", "b", "c"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Doubled(tt.spans); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Doubled = %v, want %v", got, tt.want)
			}
			if err := One(tt.spans, time.Second); (err == nil) != tt.one {
				t.Errorf("One = %v, want one: %v", err, tt.one)
			}
		})
	}
	if err := One(spans(a), 1001*time.Millisecond); err == nil {
		t.Error("One is content with less than was asked for")
	}
}

func TestDraw(t *testing.T) {
	t.Parallel()
	draw := func() (drawn []int) {
		d := NewDraw(rand.New(rand.NewPCG(7, 0)), 5)
		for range 15 {
			drawn = append(drawn, d.Next())
		}
		return drawn
	}
	first := draw()
	for i := 0; i < 15; i += 5 {
		if got := slices.Sorted(slices.Values(first[i : i+5])); !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
			t.Errorf("round %d: %v", i/5, first[i:i+5])
		}
	}
	if again := draw(); !slices.Equal(again, first) {
		t.Errorf("with the same seed %v, and then %v", first, again)
	}
}

func TestLives(t *testing.T) {
	t.Parallel()
	t0 := time.Unix(1000, 0)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	l := Lives{WarmUp: 10 * time.Second}
	l.See("n1", at(5), Vitals{t0, 90, 9, 60}) // too young to count
	l.See("n1", at(20), Vitals{t0, 40, 20, 50})
	l.See("n1", at(80), Vitals{t0, 44, 19, 55})
	l.See("n2", at(20), Vitals{t0, 41, 20, 50})
	l.See("n2", at(40), Vitals{t0, 42, 22, 48})
	l.See("n2", at(90), Vitals{at(60), 100, 90, 200}) // another process
	want := []Leak{
		{"goroutines of a daemon, 1m20s old", 40, 44, 20},
		{"open files of a daemon, 40s old", 20, 22, 20},
		{"memory, MB of a daemon, 1m20s old", 50, 55, 32},
	}
	if got := l.Leaks(); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
