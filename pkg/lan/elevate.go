package lan

import "errors"

// Scheduling is how the kernel schedules a thread.
type Scheduling string

// What Elevate can reach.
const (
	RealTime     Scheduling = "SCHED_RR priority 10"
	HighPriority Scheduling = "SCHED_OTHER nice -20"
	Ordinary     Scheduling = "SCHED_OTHER"
)

// Elevate raises the calling thread, which must be locked to its goroutine,
// as far as it is permitted. It returns what was reached and, if that is not
// RealTime, why not.
func Elevate() (Scheduling, error) { return Ordinary, errors.ErrUnsupported }
