package lan

import (
	"testing"
	"time"
)

// A burst passes, and then so many per second.
func TestAllowance(t *testing.T) {
	now := time.Unix(1000, 0)
	a := allowance{last: now}
	passed := 0
	for range 2000 {
		now = now.Add(time.Millisecond)
		if a.take(now, claimsAtOnce) {
			passed++
		}
	}
	if want := claimsAtOnce + 2*claimsPerSecond; passed < want-1 || passed > want+1 {
		t.Errorf("%d passed in two seconds, want %d", passed, want)
	}
}
