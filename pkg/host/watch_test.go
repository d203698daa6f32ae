package host_test

import (
	"context"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// watcher runs host.Watch in a node's namespace until the test ends.
type watcher struct {
	mu    sync.Mutex
	seen  host.Snapshot
	calls int
}

func (n node) watch() *watcher {
	n.t.Helper()
	w := &watcher{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		var err error
		n.Do(func() {
			err = host.Watch(ctx, func(s host.Snapshot) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.seen, w.calls = s, w.calls+1
			})
		})
		done <- err
	}()
	n.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("watch: %v", err)
		}
	})
	eventually(n.t, "first snapshot", func() bool { return w.count() > 0 })
	return w
}

func (w *watcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// link returns a link by name, or the zero Link if there is none.
func (w *watcher) link(name string) host.Link {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.seen.Links {
		if l.Name == name {
			return l
		}
	}
	return host.Link{}
}

func (w *watcher) prefixes(link string) []string {
	var all []string
	for _, a := range w.link(link).Addresses {
		all = append(all, a.Prefix.String())
	}
	return all
}

// address returns an address of eth0, or the zero Address if there is none.
func (w *watcher) address(prefix string) host.Address {
	for _, a := range w.link("eth0").Addresses {
		if a.Prefix.String() == prefix {
			return a
		}
	}
	return host.Address{}
}

func TestNetnsWatch(t *testing.T) {
	n := newNode(t)
	w := n.watch()
	eth0 := w.link("eth0")
	if eth0.Index != n.Index("eth0") || len(eth0.HardwareAddr) != 6 || !eth0.Up || !eth0.Multicast || eth0.Loopback || eth0.Kind != "veth" {
		t.Errorf("eth0 is %+v", eth0)
	}
	if lo := w.link("lo"); !lo.Loopback || !lo.Up || lo.Kind != "" {
		t.Errorf("lo is %+v", lo)
	}

	steps := []struct {
		name string
		do   []string
		seen func() bool
	}{
		{"address added", []string{"addr", "add", "192.0.2.9/24", "dev", "eth0"}, func() bool {
			return slices.Equal(w.prefixes("eth0"), []string{"192.0.2.1/24", "192.0.2.9/24"}) && w.link("eth0").Addresses[1].Secondary
		}},
		{"primary address removed", []string{"addr", "del", "192.0.2.1/24", "dev", "eth0"}, func() bool { return len(w.prefixes("eth0")) == 0 }},
		{"addresses in order", []string{"addr", "add", "198.51.100.9/24", "dev", "eth0"}, func() bool {
			return slices.Equal(w.prefixes("eth0"), []string{"198.51.100.9/24"})
		}},
		{"an older number is no older address", []string{"addr", "add", "192.0.2.1/24", "dev", "eth0"}, func() bool {
			return slices.Equal(w.prefixes("eth0"), []string{"198.51.100.9/24", "192.0.2.1/24"})
		}},
		{"IPv6 address added", []string{"addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad"}, func() bool {
			return slices.Equal(w.prefixes("eth0"), []string{"198.51.100.9/24", "192.0.2.1/24", "2001:db8::1/64"})
		}},
		{"a newer IPv6 address", []string{"addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad"}, func() bool {
			return slices.Equal(w.prefixes("eth0"), []string{"198.51.100.9/24", "192.0.2.1/24", "2001:db8::2/64", "2001:db8::1/64"})
		}},
		{"a link-local IPv6 address", []string{"addr", "add", "fe80::1/64", "dev", "eth0", "nodad"}, func() bool {
			return w.address("fe80::1/64").Scope() == unix.RT_SCOPE_LINK && w.prefixes("eth0")[4] == "fe80::1/64"
		}},
		{"IPv6 address removed", []string{"addr", "del", "2001:db8::2/64", "dev", "eth0"}, func() bool {
			return slices.Equal(w.prefixes("eth0"), []string{"198.51.100.9/24", "192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"})
		}},
		{"link down", []string{"link", "set", "eth0", "down"}, func() bool { return !w.link("eth0").Up && !w.link("eth0").Running }},
		{"link up", []string{"link", "set", "eth0", "up"}, func() bool { return w.link("eth0").Up && w.link("eth0").Running }},
		{"link added", []string{"link", "add", "br9", "type", "bridge"}, func() bool { return w.link("br9").Kind == "bridge" }},
		{"link renamed", []string{"link", "set", "br9", "name", "br10"}, func() bool { return w.link("br9").Index == 0 && w.link("br10").Index != 0 }},
		{"hardware address changed", []string{"link", "set", "br10", "address", "02:00:00:00:00:07"}, func() bool {
			return w.link("br10").HardwareAddr.String() == "02:00:00:00:00:07"
		}},
		{"link deleted", []string{"link", "del", "br10"}, func() bool { return w.link("br10").Index == 0 }},
	}
	var worst time.Duration
	for _, s := range steps {
		start := time.Now()
		n.Run("ip", s.do...)
		eventually(t, s.name, s.seen)
		worst = max(worst, time.Since(start))
	}
	t.Logf("measured: link_change_seen_worst=%dms target=100ms", worst.Milliseconds())
}

func TestNetnsWatchCarrier(t *testing.T) {
	l := netnstest.NewLAN(t, 1)
	w := node{NS: l.Hosts[0], t: t}.watch()
	eventually(t, "carrier", func() bool { return w.link("eth0").Running })
	l.Cut(0)
	eventually(t, "no carrier", func() bool { return w.link("eth0").Up && !w.link("eth0").Running })
	l.Restore(0)
	eventually(t, "carrier again", func() bool { return w.link("eth0").Running })
}

// The renewal of a lifetime is no change, so Watch does not call changed.
func TestNetnsWatchIsSilentAboutRenewals(t *testing.T) {
	n := newNode(t)
	w := n.watch()
	a := n.addresses()
	vips := n.vips("192.0.2.50", "192.0.2.51", "2001:db8::50", "2001:db8::51")
	if err := a.Set(vips); err != nil {
		t.Fatal(err)
	}
	eventually(t, "virtual addresses seen", func() bool { return len(w.prefixes("eth0")) == 1+len(vips) })
	for _, a := range w.link("eth0").Addresses {
		if want := a.Prefix.Addr() != netip.MustParseAddr("192.0.2.1"); a.Owned != want {
			t.Errorf("%+v, want owned %t", a, want)
		}
	}
	// A snapshot with the link includes all earlier events: count from here on.
	n.Run("ip", "link", "add", "br9", "type", "bridge")
	eventually(t, "link", func() bool { return w.link("br9").Index != 0 })
	before := w.count()
	for range 20 {
		if err := a.Set(vips); err != nil {
			t.Fatal(err)
		}
	}
	n.Run("ip", "link", "del", "br9")
	eventually(t, "link gone", func() bool { return w.link("br9").Index == 0 })
	if calls := w.count() - before; calls != 1 {
		t.Errorf("%d snapshots, want 1", calls)
	}
	if err := a.Set(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "virtual addresses gone", func() bool { return len(w.prefixes("eth0")) == 1 })
}

// Events that arrive faster than they are read are lost, and the snapshot is still
// correct.
func TestNetnsWatchSurvivesLostEvents(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	index := n.Index("eth0")
	var vips []host.VirtualAddress
	for i := range 4000 {
		vips = append(vips, host.VirtualAddress{Link: index, Address: netip.AddrFrom4([4]byte{10, 4, byte(i >> 8), byte(i)})})
	}
	block := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	seen := make(chan int, 1)
	go func() {
		var err error
		n.Do(func() {
			blocked := false
			err = host.Watch(ctx, func(s host.Snapshot) {
				select {
				case <-seen:
				default:
				}
				seen <- len(s.Links[len(s.Links)-1].Addresses)
				if !blocked {
					blocked = true
					<-block
				}
			})
		})
		done <- err
	}()
	<-seen
	for range 2 {
		if err := a.Set(vips); err != nil {
			t.Error(err)
		}
	}
	if err := a.Set(vips[:7]); err != nil {
		t.Error(err)
	}
	close(block)
	eventually(t, "snapshot of the remaining links", func() bool {
		select {
		case got := <-seen:
			return got == 8
		default:
			return false
		}
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("watch: %v", err)
	}
}

// Watch returns when ctx is done, at any time, and leaves no goroutine and no socket.
func TestNetnsWatchEnds(t *testing.T) {
	n := newNode(t)
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	// watch calls during in the first snapshot, and then ends.
	watch := func(ctx context.Context, during func()) {
		t.Helper()
		var err error
		n.Do(func() { err = host.Watch(ctx, func(host.Snapshot) { during() }) })
		if err != nil {
			t.Errorf("watch: %v", err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	watch(ended, func() {})
	goroutines, open := runtime.NumGoroutine(), descriptors()
	for range 10 {
		watch(ended, func() {})
		ctx, cancel := context.WithCancel(t.Context())
		watch(ctx, cancel)
		ctx, cancel = context.WithCancel(t.Context())
		watch(ctx, func() { time.AfterFunc(5*time.Millisecond, cancel) })
	}
	eventually(t, "goroutines and sockets as before", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors() <= open
	})
}

// Watch sleeps while nothing happens.
func TestNetnsWatchSleeps(t *testing.T) {
	n := newNode(t)
	w := n.watch()
	n.Run("ip", "link", "add", "br9", "type", "bridge")
	eventually(t, "link", func() bool { return w.link("br9").Index != 0 })
	used := func() time.Duration {
		var r unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
			t.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	const quiet = time.Second
	before := used()
	time.Sleep(quiet)
	cpu := used() - before
	t.Logf("measured: idle_watch_cpu=%.1fms target=10ms", float64(cpu.Microseconds())/1000)
	if cpu > quiet/2 {
		t.Errorf("used %s of the processor in %s without an event", cpu, quiet)
	}
}
