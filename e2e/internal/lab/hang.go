package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// LoopThread returns the thread of the daemon's VRRP loop: the one that runs in
// real time or, where that is not permitted, before all others.
func (d *Daemon) LoopThread() (int, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.PID()))
	if err != nil {
		return 0, err
	}
	nicest, niceness := 0, -19
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // It has ended.
		}
		tid, nice, policy, err := parseTask(string(text))
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", file, err)
		}
		if policy == unix.SCHED_RR {
			return tid, nil
		}
		if nice < niceness {
			nicest, niceness = tid, nice
		}
	}
	if nicest == 0 {
		return 0, fmt.Errorf("none of the %d threads of the daemon of %s runs before the others", len(tasks), d.Host.Name)
	}
	return nicest, nil
}

// parseTask reads /proc/PID/task/TID/stat (proc(5)): fields 1, 19 and 41.
func parseTask(stat string) (tid, nice, policy int, err error) {
	// The name, which is in parentheses, may contain anything.
	id, _, _ := strings.Cut(stat, " ")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 39 {
		return 0, 0, 0, fmt.Errorf("only %d fields", len(fields)+2)
	}
	var errs [3]error
	tid, errs[0] = strconv.Atoi(id)
	nice, errs[1] = strconv.Atoi(fields[19-3])
	policy, errs[2] = strconv.Atoi(fields[41-3])
	return tid, nice, policy, errors.Join(errs[:]...)
}

// Hang stops one thread of the daemon, and no other: to its kernel and to the other
// threads it looks as if it ran on and on. Resume lets it go on; a second call does
// nothing. The daemon can be killed meanwhile.
func (d *Daemon) Hang(tid int) (resume func() error, err error) {
	stopped, release, ended := make(chan error, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		// Only the thread that has seized another one may command it. This one
		// ends with the goroutine, and lets go then at the latest.
		runtime.LockOSThread()
		err := seize(tid)
		stopped <- err
		if err != nil {
			return
		}
		<-release
		err = os.NewSyscallError("ptrace detach", unix.PtraceDetach(tid))
		if errors.Is(err, unix.ESRCH) && !d.Running() {
			err = nil // It was killed.
		}
		ended <- err
	}()
	if err := <-stopped; err != nil {
		return nil, fmt.Errorf("stop thread %d of the daemon of %s: %w", tid, d.Host.Name, err)
	}
	return sync.OnceValue(func() error {
		close(release)
		return <-ended
	}), nil
}

// seize stops a thread without a signal that the program could see.
func seize(tid int) error {
	if err := unix.PtraceSeize(tid); err != nil {
		return os.NewSyscallError("ptrace seize", err)
	}
	if err := unix.PtraceInterrupt(tid); err != nil {
		return os.NewSyscallError("ptrace interrupt", err)
	}
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(tid, &status, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("wait4", err)
		case !status.Stopped():
			return fmt.Errorf("it ended: status %#x", uint32(status))
		case status.TrapCause() == unix.PTRACE_EVENT_STOP:
			return nil
		}
		// A signal was on its way, such as the Go runtime's: it is delivered, and
		// the stop that was asked for comes after it.
		if err := unix.PtraceCont(tid, int(status.StopSignal())); err != nil {
			return os.NewSyscallError("ptrace cont", err)
		}
	}
}
