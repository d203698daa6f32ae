package load

import (
	"os"

	"golang.org/x/sys/unix"
)

// Pin keeps the calling thread on one of the processors that it may use, counted
// from 0. Where a client and an endpoint share a processor in one measurement, and
// not in the next, the two cannot be compared. The caller holds the thread by
// runtime.LockOSThread and does not unlock it again.
func Pin(processor int) error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	left := processor % allowed.Count()
	for i := range len(allowed) * 64 {
		if !allowed.IsSet(i) {
			continue
		}
		if left == 0 {
			one.Set(i)
			break
		}
		left--
	}
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &one))
}
