package scenario

import (
	"fmt"
	"slices"
	"time"
)

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
