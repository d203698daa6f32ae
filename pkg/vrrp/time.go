package vrrp

import (
	"math"
	"time"
)

// Time is an instant of a monotonic clock, in nanoseconds since an arbitrary
// origin that all callers of one Router share.
type Time int64

// Add returns the instant d after t.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns how long after u the instant t is.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Never is a deadline that is never reached.
const Never = Time(math.MaxInt64)
