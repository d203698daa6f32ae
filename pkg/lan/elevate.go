package lan

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What Elevate can reach.
const (
	realTime     = "SCHED_RR priority 10"
	highPriority = "SCHED_OTHER nice -20"
	ordinary     = "SCHED_OTHER"
)

// Elevate raises the calling thread, which must be locked to its goroutine, as
// far as is permitted. It returns what was reached and, unless that is
// realTime, why not more. Threads and processes that it creates do not inherit
// real time.
func Elevate() (string, error) {
	// 10 is above all ordinary work and below the kernel's own threads.
	err := unix.SchedSetAttr(0, &unix.SchedAttr{
		Policy:   unix.SCHED_RR,
		Priority: 10,
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	if err == nil {
		return realTime, nil
	}
	err = fmt.Errorf("schedule in real time: %w", err)
	// On Linux, PRIO_PROCESS 0 is the calling thread.
	if niceErr := unix.Setpriority(unix.PRIO_PROCESS, 0, -20); niceErr != nil {
		return ordinary, errors.Join(err, fmt.Errorf("set nice value: %w", niceErr))
	}
	return highPriority, err
}
