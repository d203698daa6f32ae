package engine

import (
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// never is a deadline that does not come.
const never = vrrp.Never

// wallClock returns the time of day, for showing only: every decision is made on
// the network's monotonic clock.
func wallClock() time.Time { return time.Now() }
