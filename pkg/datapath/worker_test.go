package datapath

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/proxy"
)

// handWritten are rules that the test writes by hand.
type handWritten struct {
	taken chan desired.Datapath
	wrote chan error
	done  <-chan struct{}
}

func (r handWritten) Sync(d desired.Datapath) error {
	select {
	case r.taken <- d:
	case <-r.done:
	}
	select {
	case err := <-r.wrote:
		return err
	case <-r.done:
		return nil
	}
}

// startWorker returns a Worker that runs until the end of the test.
func startWorker(t *testing.T) (*Worker, handWritten) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := handWritten{make(chan desired.Datapath), make(chan error), ctx.Done()}
	w := NewWorker(proxy.New(), r)
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return w, r
}

func proxied(address string, ports ...uint16) desired.State {
	s := desired.State{Datapath: desired.Datapath{Forwards: []desired.Forward{{VIP: netip.MustParseAddr("192.0.2.99")}}}}
	if address != "" {
		s.NodeAddresses = []netip.Addr{netip.MustParseAddr(address)}
	}
	f := &s.Datapath.Forwards[0]
	f.Ports = append(f.Ports, desired.Port{Protocol: desired.TCP, Port: 80, Target: netip.MustParseAddrPort("10.96.0.10:80")})
	for _, p := range ports {
		f.Ports = append(f.Ports, desired.Port{Protocol: desired.TCP, Port: p, Target: netip.MustParseAddrPort("127.0.0.3:1"), Proxy: desired.ProxyV2})
	}
	return s
}

// TestWorkerOrder: a listener is there before the rules that lead to it, and
// until those that do not have been written.
func TestWorkerOrder(t *testing.T) {
	t.Parallel()
	w, r := startWorker(t)

	listens := func(p desired.Port) bool {
		c, err := net.Dial("tcp", p.Target.String())
		if err == nil {
			c.Close()
		}
		// It was accepted, though there is nothing behind it.
		return err == nil || errors.Is(err, syscall.ECONNRESET)
	}
	closes := func(p desired.Port) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); listens(p); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is not closed", p.Target)
			}
		}
	}

	w.Set(proxied("127.0.0.2", 443, 444))
	first := (<-r.taken).Forwards[0].Ports
	plain, a, b := first[0], first[1], first[2]
	if d := cmp.Diff(proxied("").Datapath.Forwards[0].Ports[0], plain, compareValues); d != "" {
		t.Errorf("a port without proxy: %s", d)
	}
	for _, p := range []desired.Port{a, b} {
		if p.Target.Addr() != netip.MustParseAddr("127.0.0.2") || !p.KeepSource || p.Proxy != desired.ProxyV2 || !listens(p) {
			t.Errorf("leads to %+v", p)
		}
	}
	r.wrote <- nil

	// The state after the next one comes while the rules of the next one are
	// being written: what these lead to stays.
	w.Set(proxied("127.0.0.2", 443))
	second := (<-r.taken).Forwards[0].Ports
	if len(second) != 2 || second[1].Target != a.Target || !listens(b) {
		t.Errorf("before the rules were written: %+v", second)
	}
	w.Set(proxied("127.0.0.2"))
	if !listens(b) {
		t.Error("closed before the rules were written that do not lead to it")
	}
	r.wrote <- nil
	<-r.taken
	if !listens(a) {
		t.Error("closed while rules lead to it")
	}
	if len(w.proxy.Status()) > 0 {
		t.Error("the state was not taken")
	}
	r.wrote <- errors.New("busy")
	closes(a)
	closes(b)
}

// TestWorkerWithoutListener: a port without listener is left out, which the status
// says.
func TestWorkerWithoutListener(t *testing.T) {
	t.Parallel()
	w, r := startWorker(t)

	status := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(w.Status().ProxyErr, want) || (want == "") != (w.Status().ProxyErr == ""); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("status %q, want %q", w.Status().ProxyErr, want)
			}
		}
		if s := w.Status(); s.Err != "" || s.LastSync.IsZero() {
			t.Errorf("status %+v of rules that were written", s)
		}
	}
	w.Set(proxied("", 443))
	if got := (<-r.taken).Forwards[0].Ports; len(got) != 1 || got[0].Port != 80 {
		t.Errorf("without a node's address: %+v", got)
	}
	r.wrote <- nil
	status("proxy 192.0.2.99:443: the node's own address of this family is not known")

	// What is left out would be answered by the host.
	open := proxied("", 443)
	open.Datapath.Forwards[0].Open = true
	w.Set(open)
	nobody := desired.Port{Protocol: desired.TCP, Port: 443, Target: netip.MustParseAddrPort("192.0.2.99:0"), KeepSource: true}
	if got := (<-r.taken).Forwards[0].Ports; len(got) != 2 || cmp.Diff(nobody, got[1], compareValues) != "" {
		t.Errorf("without a node's address and without guard: %+v", got)
	}
	r.wrote <- nil
	status("proxy 192.0.2.99:443: the node's own address of this family is not known")

	w.Set(proxied("127.0.0.2", 443))
	if got := (<-r.taken).Forwards[0].Ports; len(got) != 2 || got[1].Target.Addr() != netip.MustParseAddr("127.0.0.2") {
		t.Errorf("with a node's address: %+v", got)
	}
	r.wrote <- nil
	status("")
}

var compareValues = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// syncFunc is a writer.
type syncFunc func(desired.Datapath) error

func (f syncFunc) Sync(d desired.Datapath) error { return f(d) }

// TestWorkerRun looks every 5 s, tries again after an error, and takes only the
// newest state.
func TestWorkerRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type call struct {
			At  time.Duration
			VIP netip.Addr
		}
		var calls []call
		start := time.Now()
		var result error
		var took time.Duration
		var failures uint64
		w := NewWorker(proxy.New(), syncFunc(func(d desired.Datapath) error {
			calls = append(calls, call{time.Since(start), d.Forwards[0].VIP})
			time.Sleep(took)
			return result
		}))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		set := func(vip netip.Addr) {
			w.Set(desired.State{Datapath: desired.Datapath{Forwards: []desired.Forward{{VIP: vip}}}})
			synctest.Wait()
		}
		expect := func(wait time.Duration, want ...call) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if diff := cmp.Diff(want, calls, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if result != nil {
				failures += uint64(len(want))
			}
			if s := w.Status(); len(want) > 0 && (s.Err != text(result) || s.Errors != failures) {
				t.Errorf("status %+v, want %d errors, %v", s, failures, result)
			}
			calls, start = nil, time.Now()
		}

		expect(time.Hour) // Nothing is known that could be written.
		set(vipA)
		expect(12*time.Second, call{0, vipA}, call{5 * time.Second, vipA}, call{10 * time.Second, vipA})

		result = errors.New("not today")
		set(vipB)
		expect(1600*time.Millisecond, call{0, vipB}, call{100 * time.Millisecond, vipB}, call{300 * time.Millisecond, vipB},
			call{700 * time.Millisecond, vipB}, call{1500 * time.Millisecond, vipB})

		result, took = nil, 10*time.Millisecond
		set(vipA)
		set(vipB)
		set(vipC)
		expect(6*time.Second, call{0, vipA}, call{took, vipC}, call{2*took + 5*time.Second, vipC})

		result, took = errors.New("again"), 0
		set(vipA)
		expect(500*time.Millisecond, call{0, vipA}, call{100 * time.Millisecond, vipA}, call{300 * time.Millisecond, vipA})
		cancel()
		<-done
	})
}

// TestWorkerListensAgain tries as often as the rules are looked at.
func TestWorkerListensAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		written := 0
		w := NewWorker(proxy.New(), syncFunc(func(desired.Datapath) error { written++; return nil }))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		w.Set(proxied("", 443))
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if s := w.Status(); s.Errors != 3 || written != 3 || s.Err != "" || s.ProxyErr == "" {
			t.Errorf("after three looks: written %d times, status %+v", written, s)
		}
		cancel()
		<-done
	})
}
