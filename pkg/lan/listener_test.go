package lan

import (
	"testing"
	"time"
)

// A burst of events is allowed, and then a number per second.
func TestRateLimit(t *testing.T) {
	now := time.Unix(1000, 0)
	r := rateLimit{last: now}
	passed := 0
	for range 2000 {
		now = now.Add(time.Millisecond)
		if r.allow(now, eventBurst) {
			passed++
		}
	}
	if want := eventBurst + 2*eventsPerSecond; passed < want-1 || passed > want+1 {
		t.Errorf("%d passed in two seconds, want %d", passed, want)
	}
}
