package soak

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// HoldersBound is for how long an address may have two holders; it is meant to be a
// second.
const HoldersBound = 5 * time.Second

// Event is a fault that was made, and what it cost.
type Event struct {
	// Kind is the fault's.
	Kind string
	// Bound is how long a client may be without an answer.
	Bound time.Duration
	// Outage is how long a client was, at worst.
	Outage time.Duration
	// Requests are those of all clients, Lost those without an answer.
	Requests, Lost int
	// Doubled is for how long an address had two holders, at worst.
	Doubled time.Duration
	// Settled is how long it took, from the end of the fault, until all was well again.
	Settled time.Duration
}

// Leak is something that is counted at the beginning and at the end.
type Leak struct {
	What       string
	Begin, End int
	// Allowed is how much more it may be at the end.
	Allowed int
}

// Leaked reports whether it is too much more.
func (l Leak) Leaked() bool { return l.End > l.Begin+l.Allowed }

// Report is what is said of a run.
type Report struct {
	Events []Event
	Leaks  []Leak
}

// Failures returns what is not good enough; nothing if all is well.
func (r Report) Failures() []string {
	var failures []string
	for _, e := range r.Events {
		if e.Outage > e.Bound {
			failures = append(failures, fmt.Sprintf("%s: a client was without an answer for %s, more than %s", e.Kind, round(e.Outage), round(e.Bound)))
		}
		if e.Doubled > HoldersBound {
			failures = append(failures, fmt.Sprintf("%s: an address had two holders for %s, more than %s", e.Kind, round(e.Doubled), HoldersBound))
		}
	}
	for _, l := range r.Leaks {
		if l.Leaked() {
			failures = append(failures, fmt.Sprintf("%s: %d at the beginning, %d at the end", l.What, l.Begin, l.End))
		}
	}
	if len(r.Events) == 0 {
		failures = append(failures, "no fault was made")
	}
	return failures
}

// Verdict is the line that ends a run: PASS or FAIL, with figures. Reasons are
// failures that are not of the Report's own.
func (r Report) Verdict(reasons ...string) string {
	failures := slices.Concat(reasons, r.Failures())
	var s sum
	for _, k := range r.kinds() {
		s = s.plus(r.of(k))
	}
	figures := fmt.Sprintf("requests=%d lost=%d faults=%d worst_outage_ms=%d two_holders_ms=%d",
		s.requests, s.lost, len(s.outages), s.worst().Milliseconds(), s.doubled.Milliseconds())
	if len(failures) == 0 {
		return "soak: PASS " + figures
	}
	return fmt.Sprintf("soak: FAIL %s; %s", strings.Join(failures, "; "), figures)
}

// Table is the figures in columns: a line for each kind of fault, and one for each
// leak that was looked for.
func (r Report) Table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\ttimes\toutage, ms: median\tworst\tbound\tlost\tof requests\ttwo holders, ms\tsettled, s: median\tworst\t")
	var all sum
	for _, k := range r.kinds() {
		s := r.of(k)
		s.line(w, k, s.bound.Milliseconds())
		all = all.plus(s)
	}
	if len(r.Events) > 0 {
		all.line(w, "all", "")
	}
	w.Flush()
	if len(r.Leaks) > 0 {
		b.WriteByte('\n')
		fmt.Fprintln(w, "left over\tbegin\tend\tallowed\t")
		for _, l := range r.Leaks {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t\n", l.What, l.Begin, l.End, l.Begin+l.Allowed)
		}
		w.Flush()
	}
	return b.String()
}

// kinds are those of the Events, in the order of the alphabet.
func (r Report) kinds() []string {
	var kinds []string
	for _, e := range r.Events {
		kinds = append(kinds, e.Kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// sum is what several Events cost together.
type sum struct {
	bound            time.Duration
	outages, settled []time.Duration // sorted
	requests, lost   int
	doubled          time.Duration
}

func (r Report) of(kind string) sum {
	var s sum
	for _, e := range r.Events {
		if e.Kind == kind {
			s = s.plus(sum{e.Bound, []time.Duration{e.Outage}, []time.Duration{e.Settled}, e.Requests, e.Lost, e.Doubled})
		}
	}
	return s
}

func (s sum) plus(o sum) sum {
	s.bound = max(s.bound, o.bound)
	s.outages = slices.Sorted(slices.Values(slices.Concat(s.outages, o.outages)))
	s.settled = slices.Sorted(slices.Values(slices.Concat(s.settled, o.settled)))
	s.requests += o.requests
	s.lost += o.lost
	s.doubled = max(s.doubled, o.doubled)
	return s
}

func (s sum) worst() time.Duration {
	if len(s.outages) == 0 {
		return 0
	}
	return s.outages[len(s.outages)-1]
}

// line writes it as one of the table. Of an even number the upper one of the two in
// the middle is the median.
func (s sum) line(w *tabwriter.Writer, name string, bound any) {
	n := len(s.outages)
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%v\t%d\t%d\t%d\t%.1f\t%.1f\t\n", name, n, s.outages[n/2].Milliseconds(), s.worst().Milliseconds(), bound,
		s.lost, s.requests, s.doubled.Milliseconds(), s.settled[n/2].Seconds(), s.settled[n-1].Seconds())
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
