package lab_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/lab/labtest"
)

// Who holds an address, who says so and who answers for it is seen as it is.
func TestNetnsLabSeesHolders(t *testing.T) {
	t.Parallel()
	l, ctx := labtest.New(t, 2)
	v4, v6 := netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")
	begin := time.Now()
	bind := func(host int, do string) {
		t.Helper()
		if err := l.Hosts[host].IP("addr "+do+" 192.0.2.100/32 dev eth0", "addr "+do+" 2001:db8::100/128 dev eth0 nodad"); err != nil {
			t.Fatal(err)
		}
	}
	bind(0, "add")
	labtest.WaitHeld(ctx, t, l, v4, 0)
	labtest.WaitHeld(ctx, t, l, v6, 0)
	bind(1, "add")
	if err := lab.Eventually(ctx, "both hold it", func() error {
		if got := l.Recorder.Holders(v4); len(got) != 2 {
			return fmt.Errorf("%v", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	if err := lab.Eventually(ctx, "both answer", func() error {
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
	labtest.WaitHeld(ctx, t, l, v4, 1)
	labtest.WaitHeld(ctx, t, l, v6, 1)
	if h := l.Recorder.Holding(v4, begin, time.Now()); h.Several == 0 || h.None == 0 {
		t.Errorf("holding %+v, want some time with two holders, and some with none", h)
	}
	// A pulled cable is a link without carrier: it holds nothing.
	if err := l.Cut(1); err != nil {
		t.Fatal(err)
	}
	if err := lab.Eventually(ctx, "a link without carrier holds nothing", func() error {
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
	labtest.WaitHeld(ctx, t, l, v4, 1)
	if err := l.Drop(`iifname "` + l.Port(1) + `"`); err != nil {
		t.Fatal(err)
	}
	if err := l.Pass(); err != nil {
		t.Fatal(err)
	}
	labtest.WaitHeld(ctx, t, l, v4, 1)
}

// Every kind of router runs here, alone, and is heard.
func TestNetnsLabRunsRouters(t *testing.T) {
	t.Parallel()
	l, ctx := labtest.New(t, 3)
	l.SetService("default", "web", "10.96.0.10", 80)
	l.SetConfigMap(map[string]string{"192.0.2.100": "default/web"})
	d, err := l.StartDaemon(l.Hosts[0], 200)
	if err != nil {
		t.Fatal(err)
	}
	v3 := lab.Instance{VRID: 51, Priority: 100, Version: 3, Interval: 100 * time.Millisecond, VIPs: labtest.Addrs("192.0.2.101")}
	v6 := lab.Instance{VRID: 51, Priority: 100, Version: 3, Interval: 100 * time.Millisecond, VIPs: labtest.Addrs("fe80::101", "2001:db8::101")}
	if _, err := l.StartKeepalived(l.Hosts[1], v3, v6); err != nil {
		t.Fatal(err)
	}
	v3.VRID, v3.VIPs = 52, labtest.Addrs("192.0.2.102")
	v6.VRID, v6.VIPs = 52, labtest.Addrs("2001:db8::102")
	if _, err := l.StartFRR(l.Hosts[2], v3, v6); err != nil {
		t.Fatal(err)
	}
	for host, list := range [][]netip.Addr{labtest.Addrs("192.0.2.100"), labtest.Addrs("192.0.2.101", "2001:db8::101", "fe80::101"), labtest.Addrs("192.0.2.102", "2001:db8::102")} {
		for _, a := range list {
			labtest.WaitHeld(ctx, t, l, a, host)
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
	labtest.WaitHeld(ctx, t, l, netip.MustParseAddr("192.0.2.103"), 0)
	if err := d.Terminate(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if got := l.Recorder.Holders(netip.MustParseAddr("192.0.2.103")); len(got) != 0 {
		t.Errorf("still held by %v", got)
	}
}
