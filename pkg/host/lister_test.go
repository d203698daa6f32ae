package host

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

// A list that fails once is repeated on another socket, and the known snapshot stays.
// Only the first list must not fail.
func TestNetnsWatchOutlivesAFailedList(t *testing.T) {
	t.Parallel()
	ns := netnstest.New(t, "node")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var used []*conn
	var seen []Snapshot
	list := func(c *conn) (Snapshot, error) {
		used = append(used, c)
		if len(used) == 2 {
			return Snapshot{}, unix.EAGAIN // The answer did not come in time.
		}
		return snapshot(c)
	}
	changed := func(s Snapshot) {
		if seen = append(seen, s); len(seen) == 2 {
			cancel()
			return
		}
		ns.Run("ip", "link", "add", "br0", "type", "bridge")
	}
	var err error
	ns.Do(func() { err = watch(ctx, list, changed) })
	if err != nil || len(seen) != 2 || len(used) != 3 || used[1] != used[0] || used[2] == used[1] {
		t.Errorf("watch: %v, after %d lists, which changed %d times", err, len(used), len(seen))
	}
	broken := errors.New("broken")
	ns.Do(func() {
		err = watch(t.Context(), func(*conn) (Snapshot, error) { return Snapshot{}, broken }, func(Snapshot) { t.Error("changed") })
	})
	if !errors.Is(err, broken) {
		t.Errorf("first list: %v, want %v", err, broken)
	}
}

func TestListerPatience(t *testing.T) {
	t.Parallel()
	l, begin := lister{}, time.Now()
	for after, want := range map[time.Duration]bool{0: false, listPatience: false, listPatience + 1: true} {
		l.failing = begin
		if got := l.failed(begin.Add(after)); got != want {
			t.Errorf("failed after %s: %t, want %t", after, got, want)
		}
	}
	l.failing = time.Time{}
	if l.failed(begin) || l.failing != begin {
		t.Errorf("fails since %s, want %s", l.failing, begin)
	}
}
