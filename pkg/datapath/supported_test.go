package datapath

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// OlderKernelRules is for the tests outside of the package: one that the kernel
// has told that it does not compute the checksum of SCTP.
func OlderKernelRules() *Rules {
	d := NewRules()
	d.sctpPortStays = func() (bool, error) { return true, nil }
	return d
}

// TestNetnsAsksKernel asks again after a question that had no answer.
func TestNetnsAsksKernel(t *testing.T) {
	t.Parallel()
	netnstest.New(t, "node").Do(func() {
		if stays, err := sctpPortStays(); stays || err != nil {
			t.Errorf("this kernel: got %t, %v", stays, err)
		}
		d := NewRules()
		asked, failure := 0, error(unix.ENOMEM)
		d.sctpPortStays = func() (bool, error) { asked++; return false, failure }
		for step, want := range []error{failure, failure, nil, nil} {
			failure = want
			if err := d.Sync(desired.Datapath{}); !errors.Is(err, want) {
				t.Errorf("step %d: got %v, want %v", step, err, want)
			}
		}
		if asked != 3 {
			t.Errorf("asked %d times, want 3", asked)
		}
	})
}
