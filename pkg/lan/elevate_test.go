package lan

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestElevate(t *testing.T) {
	t.Parallel()
	onThread(func() {
		reached, err := Elevate()
		t.Logf("reached %s, error %v", reached, err)
		attr, attrErr := unix.SchedGetAttr(0, 0)
		if attrErr != nil {
			t.Error(attrErr)
			return
		}
		switch reached {
		case realTime:
			if err != nil || attr.Policy != unix.SCHED_RR || attr.Priority != 10 || attr.Flags&unix.SCHED_FLAG_RESET_ON_FORK == 0 {
				t.Errorf("error %v, thread has %+v", err, attr)
			}
		case highPriority:
			if err == nil || attr.Policy != unix.SCHED_NORMAL || attr.Nice != -20 {
				t.Errorf("error %v, thread has %+v", err, attr)
			}
		case ordinary:
			if err == nil || attr.Policy != unix.SCHED_NORMAL {
				t.Errorf("error %v, thread has %+v", err, attr)
			}
		default:
			t.Errorf("reached %q", reached)
		}
	})
}

func TestElevateNotPermitted(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has something to give up")
	}
	onThread(func() {
		none := [2]unix.CapUserData{}
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			t.Error(err)
			return
		}
		reached, err := Elevate()
		if reached != ordinary || err == nil {
			t.Errorf("reached %q, error %v, want %q and a cause", reached, err, ordinary)
		}
		t.Logf("the error reads:\n%v", err)
	})
}

// onThread runs f on its own thread.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}
