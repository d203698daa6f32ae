package scenario

import (
	"fmt"
	"slices"
	"time"
)

// What an outage may last, with an advertisement every 100 ms.
const (
	CrashTarget    = 450 * time.Millisecond
	GracefulTarget = 50 * time.Millisecond
)

// Bound returns how much more than a target is a failure whatever else the machine
// does: five times as much, and never less than five seconds.
func Bound(target time.Duration) time.Duration { return max(5*target, 5*time.Second) }

// Summary is what is said of several measurements of the same.
type Summary struct {
	Min, Median, Max time.Duration
	Runs             int
}

// Summarize returns the Summary of at least one measurement. Of an even number it
// takes the upper of the two in the middle.
func Summarize(values []time.Duration) Summary {
	sorted := slices.Sorted(slices.Values(values))
	return Summary{Min: sorted[0], Median: sorted[len(sorted)/2], Max: sorted[len(sorted)-1], Runs: len(sorted)}
}

// String begins with the median; all are milliseconds.
func (s Summary) String() string {
	return fmt.Sprintf("%d min=%d max=%d runs=%d", s.Median.Milliseconds(), s.Min.Milliseconds(), s.Max.Milliseconds(), s.Runs)
}
