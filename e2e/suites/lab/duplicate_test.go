package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/lab/labtest"
)

// duplicateLab is a lab whose VIPs are one of IPv4 and one of IPv6.
func duplicateLab(t *testing.T, hosts int) (*lab.Lab, context.Context, []netip.Addr) {
	t.Helper()
	l, _ := labtest.New(t, hosts)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	l.SetConfigMap(map[string]string{"192.0.2.100": "", "2001-db8--100": ""})
	return l, ctx, labtest.Addrs("192.0.2.100", "2001:db8::100")
}

// assignVIPs adds the VIPs to a host or deletes them there, as an operator would.
func assignVIPs(t *testing.T, h *lab.Host, do string) {
	t.Helper()
	if err := h.IP("addr "+do+" 192.0.2.100/32 dev eth0", "addr "+do+" 2001:db8::100/128 dev eth0 nodad"); err != nil {
		t.Fatal(err)
	}
}

// waitRouters waits until both virtual routers of a daemon are what they are to be.
func waitRouters(ctx context.Context, t *testing.T, d *lab.Daemon, what string, ok func(lab.RouterStatus) bool) {
	t.Helper()
	for _, ipv6 := range []bool{false, true} {
		if err := lab.Eventually(ctx, what, func() error {
			r, err := d.Router(ctx, ipv6, 50)
			if err == nil && !ok(r) {
				err = fmt.Errorf("%s for %q, alarms %+v, %+v", r.State, r.Reason, r.Alarms, r.VIPs)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// alarm returns the detail of an alarm that is on.
func alarm(r lab.RouterStatus, reason string) (detail string, on bool) {
	for _, a := range r.Alarms {
		if a.Reason == reason {
			return a.Detail, true
		}
	}
	return "", false
}

// checkNoConflict checks that no daemon has logged a conflict with another host.
func checkNoConflict(t *testing.T, daemons ...*lab.Daemon) {
	t.Helper()
	for _, d := range daemons {
		for line := range strings.Lines(d.Output()) {
			if strings.Contains(line, "vipInUse") || strings.Contains(line, "duplicateAddress") {
				t.Errorf("%s wrote %s", d.Host.Name, line)
			}
		}
	}
}

// A VIP that another host has when the daemon starts is left to it, with the host's
// MAC in the reason, and taken when that host is gone.
func TestNetnsVIPInUse(t *testing.T) {
	t.Parallel()
	l, ctx, vips := duplicateLab(t, 2)
	stranger := l.Hosts[1]
	assignVIPs(t, stranger, "add")
	d, err := l.StartDaemon(l.Hosts[0], 200)
	if err != nil {
		t.Fatal(err)
	}
	waitRouters(ctx, t, d, "the VIP is found to be in use", func(r lab.RouterStatus) bool {
		return r.State == "Initialize" && r.Reason == "vipInUse" && strings.HasSuffix(r.Message, " is used by "+stranger.MAC) &&
			r.VIPs[0].InUseBy == stranger.MAC
	})
	for _, vip := range vips {
		labtest.WaitHeld(ctx, t, l, vip, 1)
		if slices.ContainsFunc(l.Recorder.Announcements(time.Time{}, vip), func(p lab.Packet) bool { return p.Host == 0 }) {
			t.Errorf("the daemon announced %s", vip)
		}
	}
	assignVIPs(t, stranger, "del")
	begin := time.Now()
	for _, vip := range vips {
		labtest.WaitHeld(ctx, t, l, vip, 0)
	}
	fmt.Printf("measured: vip_in_use_healed=%s target=5.5s\n", time.Since(begin).Round(time.Millisecond))
	if got := time.Since(begin); got > 27500*time.Millisecond {
		t.Errorf("taken %s after the stranger has left", got)
	}
}

// A host that takes a VIP that a node holds is an alarm with its MAC, and the client
// goes on reaching the node.
func TestNetnsDuplicateAddress(t *testing.T) {
	t.Parallel()
	l, ctx, vips := duplicateLab(t, 2)
	stranger := l.Hosts[1]
	d, err := l.StartDaemon(l.Hosts[0], 200)
	if err != nil {
		t.Fatal(err)
	}
	for _, vip := range vips {
		labtest.WaitHeld(ctx, t, l, vip, 0)
	}
	assignVIPs(t, stranger, "add")
	begin := time.Now()
	waitRouters(ctx, t, d, "the other host is found", func(r lab.RouterStatus) bool {
		detail, on := alarm(r, "duplicateAddress")
		return on && r.State == "Master" && strings.HasSuffix(detail, " is claimed by "+stranger.MAC)
	})
	fmt.Printf("measured: duplicate_found=%s target=8s\n", time.Since(begin).Round(time.Millisecond))
	metrics, err := d.Metrics(ctx)
	if err != nil || !strings.Contains(metrics, `kube_vrrp_vip_router_alarms{family="IPv4",interface="eth0",reason="duplicateAddress",vrid="50"} 1`) {
		t.Errorf("the alarm is not in the metrics: %v", err)
	}
	// Its own announcement moves the client, and ours moves it back.
	begin = time.Now()
	if err := stranger.Announce(vips[0]); err != nil {
		t.Fatal(err)
	}
	if err := lab.Eventually(ctx, "the VIP is announced again", func() error {
		for _, p := range l.Recorder.Announcements(begin, vips[0]) {
			if p.Host == 0 {
				return nil
			}
		}
		return fmt.Errorf("it is not")
	}); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("measured: defended_after=%s target=10s\n", time.Since(begin).Round(time.Millisecond))
	assignVIPs(t, stranger, "del")
	waitRouters(ctx, t, d, "the alarm ends", func(r lab.RouterStatus) bool {
		_, on := alarm(r, "duplicateAddress")
		return !on && r.State == "Master"
	})
}

// A keepalived that discards our advertisements makes itself Master, advertises
// once and holds the VIP in silence.
func TestNetnsSilentKeepalived(t *testing.T) {
	t.Parallel()
	l, ctx, vips := duplicateLab(t, 2)
	d, err := l.StartDaemon(l.Hosts[0], 200)
	if err != nil {
		t.Fatal(err)
	}
	labtest.WaitHeld(ctx, t, l, vips[0], 0)
	k := lab.Instance{VRID: 50, Priority: 100, Version: 3, Interval: time.Second, VIPs: labtest.Addrs("192.0.2.100", "192.0.2.199")}
	if _, err := l.StartKeepalived(l.Hosts[1], k); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := lab.Eventually(ctx, "the silent keepalived is found", func() error {
		r, err := d.Router(ctx, false, 50)
		if detail, on := alarm(r, "duplicateAddress"); err == nil && (!on || !strings.HasSuffix(detail, l.Hosts[1].MAC)) {
			err = fmt.Errorf("alarms %+v", r.Alarms)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("measured: silent_keepalived_found=%s target=12s\n", time.Since(begin).Round(time.Millisecond))
}

// A start of all nodes at once, and what ordinary faults do, is no conflict.
func TestNetnsOrdinaryTakeoversAreNoDuplicates(t *testing.T) {
	t.Parallel()
	l, ctx, vips := duplicateLab(t, 3)
	var daemons []*lab.Daemon
	for i, h := range l.Hosts {
		d, err := l.StartDaemon(h, 200-i)
		if err != nil {
			t.Fatal(err)
		}
		daemons = append(daemons, d)
	}
	alone := func(host int) {
		t.Helper()
		for _, vip := range vips {
			labtest.WaitHeld(ctx, t, l, vip, host)
		}
	}
	holder := func() int {
		t.Helper()
		var holders []int
		if err := lab.Eventually(ctx, "one node holds both VIPs", func() error {
			holders = l.Recorder.Holders(vips[0])
			if len(holders) != 1 || !slices.Equal(holders, l.Recorder.Holders(vips[1])) {
				return fmt.Errorf("held by %v and %v", holders, l.Recorder.Holders(vips[1]))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return holders[0]
	}
	first := holder()
	alone(first)
	if err := daemons[first].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	others := func() int {
		t.Helper()
		var next int
		if err := lab.Eventually(ctx, "another node takes over", func() error {
			for _, vip := range vips {
				h := slices.DeleteFunc(l.Recorder.Holders(vip), func(i int) bool { return i == first })
				if len(h) != 1 {
					return fmt.Errorf("%s is held by %v", vip, h)
				}
				next = h[0]
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return next
	}
	next := others()
	fmt.Printf("measured: takeover_after_stop=%s target=500ms\n", time.Since(begin).Round(time.Millisecond))
	if got := time.Since(begin); got > 5*time.Second {
		t.Errorf("taken over after %s", got)
	}
	alone(next) // When the lease of the first has ended.
	if err := daemons[first].Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitRouters(ctx, t, daemons[first], "it is Backup again", func(r lab.RouterStatus) bool { return r.State == "Backup" })
	alone(next)
	daemons[next].Kill()
	first = next
	next = others()
	alone(next)
	// Past the settling of the last takeover and the question that follows it.
	quietSince := time.Now()
	if err := lab.Eventually(ctx, "the Master asks for what it holds", func() error {
		if time.Since(quietSince) < 9*time.Second {
			return fmt.Errorf("not yet")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := daemons[next].Terminate(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	holder()
	checkNoConflict(t, daemons...)
}
