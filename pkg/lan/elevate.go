package lan

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The scheduling policies that Elevate can obtain, best first.
const (
	realTime     = "SCHED_RR priority 10"
	highPriority = "SCHED_OTHER nice -20"
	ordinary     = "SCHED_OTHER"
)

// Elevate raises the scheduling policy of the calling thread, which must be locked to
// its goroutine, as far as the kernel permits. It returns the policy obtained, one of
// "SCHED_RR priority 10" (real time), "SCHED_OTHER nice -20" and "SCHED_OTHER", the
// policy of an ordinary thread. The error says why the kernel refused each better
// policy; it is nil with real time. Threads and processes that the thread creates do
// not inherit real time.
func Elevate() (policy string, err error) {
	// Priority 10 is above all ordinary threads and below the kernel's own.
	err = unix.SchedSetAttr(0, &unix.SchedAttr{
		Policy:   unix.SCHED_RR,
		Priority: 10,
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	if err == nil {
		return realTime, nil
	}
	err = fmt.Errorf("schedule in real time: %w", err)
	// On Linux, PRIO_PROCESS with 0 means the calling thread.
	if niceErr := unix.Setpriority(unix.PRIO_PROCESS, 0, -20); niceErr != nil {
		return ordinary, errors.Join(err, fmt.Errorf("set nice value: %w", niceErr))
	}
	return highPriority, err
}
