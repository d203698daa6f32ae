// Package labtest gives a test a lab that ends with it.
package labtest

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// Patience bounds each wait: five times what takes longest, and more on a busy
// machine.
const Patience = 20 * time.Second

// Main runs a suite's tests, so many at the same time: they wait much more than they
// work.
func Main(m *testing.M, parallel int) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// New makes a lab with n hosts, and a context that ends after Patience. A failed test
// shows what the lab recorded. It skips the test as netnstest.Require does.
func New(t *testing.T, n int) (*lab.Lab, context.Context) {
	t.Helper()
	netnstest.Require(t)
	begin := time.Now()
	l, err := lab.New(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Report(begin))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return l, ctx
}

// Eventually waits until f returns nil, or fails the test.
func Eventually(t *testing.T, within time.Duration, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := lab.Eventually(ctx, what, f); err != nil {
		t.Fatal(err)
	}
}

// WaitHeld waits until a host, and no other, holds an address and answers for it.
func WaitHeld(ctx context.Context, t *testing.T, l *lab.Lab, a netip.Addr, host int) {
	t.Helper()
	err := lab.Eventually(ctx, fmt.Sprintf("%s is not at n%d alone", a, host), func() error {
		if got := l.Recorder.Holders(a); !slices.Equal(got, []int{host}) {
			return fmt.Errorf("held by %v", got)
		}
		asked := time.Now()
		if err := l.Ask(a); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
		if got := l.Answers(a, asked); !slices.Equal(got, []int{host}) {
			return fmt.Errorf("answered by %v", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Addrs parses addresses.
func Addrs(list ...string) []netip.Addr {
	var a []netip.Addr
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}
