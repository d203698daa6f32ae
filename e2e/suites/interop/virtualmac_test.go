package interop

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/lab/labtest"
)

// A client knows a VIP by one MAC address, whether the daemon has it or FRR, or
// keepalived with use_vmac.
func TestNetnsVirtualMACIsShared(t *testing.T) {
	t.Parallel()
	keepalived := func(transmitBase bool) func(*lab.Lab, *lab.Host, lab.Instance) error {
		return func(l *lab.Lab, h *lab.Host, i lab.Instance) error {
			i.VirtualMAC, i.TransmitBase = true, transmitBase
			_, err := l.StartKeepalived(h, i)
			return err
		}
	}
	peers := map[string]func(*lab.Lab, *lab.Host, lab.Instance) error{
		"FRR": func(l *lab.Lab, h *lab.Host, i lab.Instance) error {
			_, err := l.StartFRR(h, i)
			return err
		},
		"keepalived":                     keepalived(false),
		"keepalived with vmac_xmit_base": keepalived(true),
	}
	for name, start := range peers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtualMACIsShared(t, start)
		})
	}
}

func virtualMACIsShared(t *testing.T, start func(*lab.Lab, *lab.Host, lab.Instance) error) {
	begin := time.Now()
	l, _ := labtest.New(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	vip := netip.MustParseAddr("192.0.2.100")
	l.SetConfigMap(map[string]string{vip.String(): ""})
	sent := func(host int, since time.Time) []lab.Packet {
		return from(l.Hosts[host], l.Recorder.Advertisements(since, false, vrid))
	}
	held := func(host int) {
		t.Helper()
		err := lab.Eventually(ctx, fmt.Sprintf("%s is not at n%d alone", vip, host), func() error {
			asked := time.Now()
			if err := l.Ask(vip); err != nil {
				return err
			}
			time.Sleep(2 * time.Millisecond)
			if got := l.Answers(vip, asked); !slices.Equal(got, []int{host}) {
				return fmt.Errorf("answered by %v", got)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Not only between two takeovers.
	silent := func(host int) {
		t.Helper()
		begun := time.Now()
		if err := lab.Eventually(ctx, fmt.Sprintf("n%d is not silent", host), func() error {
			if late := sent(host, time.Now().Add(-time.Second)); len(late) > 0 || time.Since(begun) < time.Second {
				return fmt.Errorf("%d advertisements within a second, after %s", len(late), time.Since(begun))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	ours := func() *lab.Daemon {
		t.Helper()
		d, err := l.StartDaemon(l.Hosts[0], 200, "--virtual-mac", "--preempt")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := ours()
	held(0)
	if err := start(l, l.Hosts[1], lab.Instance{
		VRID: vrid, Priority: 100, Version: 3, Interval: 100 * time.Millisecond, Preempt: true, VIPs: []netip.Addr{vip},
	}); err != nil {
		t.Fatal(err)
	}
	// It hears us, whose advertisements have the MAC address that it has itself.
	begun := time.Now()
	if err := lab.Eventually(ctx, "listening", func() error {
		if time.Since(begun) < time.Second {
			return fmt.Errorf("only for %s", time.Since(begun))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	held(0)
	// Both are Masters, and then hear each other, from one MAC address.
	if err := l.Drop("ip protocol 112"); err != nil {
		t.Fatal(err)
	}
	parted := time.Now()
	if err := lab.Eventually(ctx, "n1 is no Master", func() error {
		if len(sent(1, parted)) == 0 {
			return errors.New("it sends nothing")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.Pass(); err != nil {
		t.Fatal(err)
	}
	silent(1)
	held(0)
	if err := d.Terminate(); err != nil {
		t.Fatal(err)
	}
	held(1)
	d = ours()
	held(0)
	silent(1)
	d.Kill()
	held(1)
	for _, p := range l.Recorder.Packets(begin, func(p lab.Packet) bool {
		return p.Neighbor != nil && p.Neighbor.Address == vip && (p.Neighbor.Answer || p.Neighbor.Gratuitous)
	}) {
		if p.Neighbor.MAC != "00:00:5e:00:01:32" {
			t.Errorf("n%d sent %s", p.Host, p)
		}
	}
	if table, err := l.Hosts[0].Run("ip", "-brief", "link", "show", "type", "macvlan"); err != nil || !strings.Contains(table, "vip4-") {
		t.Errorf("links %q, error %v", table, err)
	}
}
