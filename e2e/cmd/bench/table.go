package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is one thing that was measured of both daemons, in the same run.
type row struct {
	name string
	// unit is what the values are in: "ms", "s", "MB".
	unit         string
	ours, theirs []float64
	// limit is what the values were not watched beyond; 0 for none.
	limit float64
	// outages means that the values are outages: how many were over a second
	// is said too.
	outages bool
}

// section is a table and what stands above it.
type section struct {
	title string
	text  string
	// measured is a line on when and where.
	measured string
	rows     []row
}

// milliseconds turns durations into the values of a row.
func milliseconds(durations []time.Duration) []float64 {
	values := make([]float64, len(durations))
	for i, d := range durations {
		values[i] = float64(d) / float64(time.Millisecond)
	}
	return values
}

// String returns the section as Markdown.
func (s section) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n%s\n\n", s.title, strings.TrimSpace(s.text), s.measured)
	b.WriteString("| | kube-vrrp-vip | keepalived | ratio | runs |\n|---|---|---|---|---|\n")
	for _, r := range s.rows {
		ratio := "-"
		if len(r.ours) > 0 && len(r.theirs) > 0 && median(r.theirs) > 0 {
			ratio = fmt.Sprintf("%.2f", median(r.ours)/median(r.theirs))
			if r.beyond(median(r.theirs)) {
				ratio = "below " + ratio
			}
		}
		name := r.name
		if r.unit != "" {
			name += ", " + r.unit
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, r.cell(r.ours), r.cell(r.theirs), ratio, r.runs())
	}
	return b.String()
}

// add adds a time of ours, 0, or theirs, 1, to a row in milliseconds.
func (r *row) add(kind int, d time.Duration) {
	r.addNumber(kind, float64(d)/float64(time.Millisecond))
}

func (r *row) addNumber(kind int, v float64) {
	if kind == 0 {
		r.ours = append(r.ours, v)
	} else {
		r.theirs = append(r.theirs, v)
	}
}

// beyond means that a value is as much as could be seen, but for a moment.
func (r row) beyond(v float64) bool { return r.limit > 0 && v > 0.95*r.limit }

// cell is the median, the range, and the outages over a second.
func (r row) cell(values []float64) string {
	if len(values) == 0 {
		return "not run"
	}
	if r.beyond(slices.Min(values)) {
		return ">" + number(r.limit)
	}
	text := spread(values)
	if !r.outages {
		return text
	}
	over := 0
	for _, v := range values {
		if v > 1000 {
			over++
		}
	}
	return fmt.Sprintf("%s, %d over 1 s", text, over)
}

// spread is the median and the range of values.
func spread(values []float64) string {
	text := number(median(values))
	if len(values) > 1 {
		text += fmt.Sprintf(" [%s..%s]", number(slices.Min(values)), number(slices.Max(values)))
	}
	return text
}

func (r row) runs() string {
	if len(r.ours) == len(r.theirs) {
		return fmt.Sprint(len(r.ours))
	}
	return fmt.Sprintf("%d, %d", len(r.ours), len(r.theirs))
}

// median of an even number is the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[half]
}

// number has three significant digits, or all of a greater one.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
