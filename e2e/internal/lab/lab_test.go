package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// patience bounds each wait: five times what takes longest, and more on a busy
// machine.
const patience = 20 * time.Second

func newLab(t *testing.T, n int) (*Lab, context.Context) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("REQUIRE_NETNS") == "1" {
			t.Fatal("network namespaces: not root")
		}
		t.Skip("network namespaces: not root")
	}
	begin := time.Now()
	l, err := New(n)
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
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return l, ctx
}

// held waits until a host, and no other, holds an address and answers for it.
func held(ctx context.Context, t *testing.T, l *Lab, a netip.Addr, host int) {
	t.Helper()
	err := Eventually(ctx, fmt.Sprintf("%s is not at n%d alone", a, host), func() error {
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

// Who holds an address, who says so and who answers for it is seen as it is.
func TestNetnsLabSeesHolders(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t, 2)
	v4, v6 := addrs("192.0.2.100")[0], addrs("2001:db8::100")[0]
	begin := time.Now()
	bind := func(host int, do string) {
		t.Helper()
		if err := l.Hosts[host].IP("addr "+do+" 192.0.2.100/32 dev eth0", "addr "+do+" 2001:db8::100/128 dev eth0 nodad"); err != nil {
			t.Fatal(err)
		}
	}
	bind(0, "add")
	held(ctx, t, l, v4, 0)
	held(ctx, t, l, v6, 0)
	bind(1, "add")
	if err := Eventually(ctx, "both hold it", func() error {
		if got := l.Recorder.Holders(v4); len(got) != 2 {
			return fmt.Errorf("%v", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	if err := Eventually(ctx, "both answer", func() error {
		if err := l.Ask(v6); err != nil {
			return err
		}
		if got := l.Answers(v6, asked); len(got) != 2 {
			return fmt.Errorf("%v", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	bind(0, "del")
	held(ctx, t, l, v4, 1)
	held(ctx, t, l, v6, 1)
	if h := l.Recorder.Holding(v4, begin, time.Now()); h.Several == 0 || h.None == 0 {
		t.Errorf("holding %+v, want some time with two holders, and some with none", h)
	}
	// A pulled cable is a link without carrier: it holds nothing.
	if err := l.Cut(1); err != nil {
		t.Fatal(err)
	}
	if err := Eventually(ctx, "a link without carrier holds nothing", func() error {
		if got := l.Recorder.Holders(v4); len(got) != 0 {
			return fmt.Errorf("%v", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.Restore(1); err != nil {
		t.Fatal(err)
	}
	held(ctx, t, l, v4, 1)
	if err := l.Drop(`iifname "` + l.Port(1) + `"`); err != nil {
		t.Fatal(err)
	}
	if err := l.Pass(); err != nil {
		t.Fatal(err)
	}
	held(ctx, t, l, v4, 1)
}

// Every kind of router runs here, alone, and is heard.
func TestNetnsLabRunsRouters(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t, 3)
	l.SetService("default", "web", "10.96.0.10", 80)
	l.SetConfigMap(map[string]string{"192.0.2.100": "default/web"})
	d, err := l.StartDaemon(l.Hosts[0], 200)
	if err != nil {
		t.Fatal(err)
	}
	v3 := Instance{VRID: 51, Priority: 100, Version: 3, Interval: 100 * time.Millisecond, VIPs: addrs("192.0.2.101")}
	v6 := Instance{VRID: 51, Priority: 100, Version: 3, Interval: 100 * time.Millisecond, VIPs: addrs("fe80::101", "2001:db8::101")}
	if _, err := l.StartKeepalived(l.Hosts[1], v3, v6); err != nil {
		t.Fatal(err)
	}
	v3.VRID, v3.VIPs = 52, addrs("192.0.2.102")
	v6.VRID, v6.VIPs = 52, addrs("2001:db8::102")
	if _, err := l.StartFRR(l.Hosts[2], v3, v6); err != nil {
		t.Fatal(err)
	}
	for host, list := range [][]netip.Addr{addrs("192.0.2.100"), addrs("192.0.2.101", "2001:db8::101", "fe80::101"), addrs("192.0.2.102", "2001:db8::102")} {
		for _, a := range list {
			held(ctx, t, l, a, host)
			if len(l.Recorder.Advertisements(time.Time{}, a.Is6(), 50+host)) == 0 {
				t.Errorf("no advertisement for %s", a)
			}
			if len(l.Recorder.Announcements(time.Time{}, a)) == 0 {
				t.Errorf("no announcement of %s", a)
			}
		}
	}
	r, err := d.Router(ctx, false, 50)
	if err != nil {
		t.Fatal(err)
	}
	if r.State != "Master" || r.Priority != 200 {
		t.Errorf("the daemon says %+v, want a Master of priority 200", r)
	}

	// The configuration is live.
	l.SetConfigMap(map[string]string{"192.0.2.100": "default/web", "192.0.2.103": "default/web"})
	held(ctx, t, l, addrs("192.0.2.103")[0], 0)
	if err := d.Terminate(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if got := l.Recorder.Holders(addrs("192.0.2.103")[0]); len(got) != 0 {
		t.Errorf("still held by %v", got)
	}
}
