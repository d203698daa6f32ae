package lan

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What Elevate can reach.
const (
	RealTime     = "SCHED_RR priority 10"
	HighPriority = "SCHED_OTHER nice -20"
	Ordinary     = "SCHED_OTHER"
)

// Elevate raises the calling thread, which must be locked to its goroutine, as
// far as is permitted. It returns what was reached and, unless that is
// RealTime, why not more. Threads and processes that it creates do not inherit
// real time.
func Elevate() (string, error) {
	// 10 is above all ordinary work and below the kernel's own threads.
	err := unix.SchedSetAttr(0, &unix.SchedAttr{
		Policy:   unix.SCHED_RR,
		Priority: 10,
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	if err == nil {
		return RealTime, nil
	}
	err = fmt.Errorf("schedule in real time: %w", err)
	// On Linux, PRIO_PROCESS 0 is the calling thread.
	if niceErr := unix.Setpriority(unix.PRIO_PROCESS, 0, -20); niceErr != nil {
		return Ordinary, errors.Join(err, fmt.Errorf("set nice value: %w", niceErr))
	}
	return HighPriority, err
}
