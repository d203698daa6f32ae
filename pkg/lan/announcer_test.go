package lan_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/lan"
)

func TestNetnsAnnounce(t *testing.T) {
	l, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	vips := []netip.Addr{
		netip.MustParseAddr("192.0.2.50"), netip.MustParseAddr("2001:db8::50"),
		netip.MustParseAddr("192.0.2.51"), netip.MustParseAddr("fe80::51"),
	}
	mac := from.HardwareAddr("eth0")
	want := []string{
		hex.EncodeToString(lan.AppendGratuitousARP(nil, mac, vips[0], lan.ARPRequest)),
		hex.EncodeToString(lan.AppendUnsolicitedNA(nil, mac, vips[1], false)),
		hex.EncodeToString(lan.AppendGratuitousARP(nil, mac, vips[2], lan.ARPRequest)),
		hex.EncodeToString(lan.AppendUnsolicitedNA(nil, mac, vips[3], false)),
		hex.EncodeToString(lan.AppendGratuitousARP(nil, mac, vips[0], lan.ARPReply)),
		hex.EncodeToString(lan.AppendGratuitousARP(nil, mac, vips[2], lan.ARPReply)),
	}

	var a lan.Announcer
	announce := func(index int) (err error) {
		from.Do(func() {
			err = errors.Join(a.Announce(index, mac, vips), a.AnnounceReply(index, mac, []netip.Addr{vips[0], vips[2]}))
		})
		return err
	}
	capture := to.captureAnnouncements()
	index := from.Index("eth0")
	for range 2 {
		if err := announce(index); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, capture(len(want))); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	}

	from.Run("ip", "link", "del", "eth0")
	err := announce(index)
	if err == nil {
		t.Error("announced on a deleted link")
	}
	t.Logf("the error reads:\n%v", err)
	from.Run("ip", "link", "add", "eth0", "index", fmt.Sprint(index), "address", mac.String(), "type", "veth", "peer", "name", "p0", "netns", l.Switch.Path())
	from.Run("ip", "link", "set", "eth0", "up")
	l.Switch.Run("ip", "link", "set", "p0", "master", "br0", "up")
	from.listen("eth0")
	from.until(to)
	if err := announce(index); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(want, capture(len(want))); d != "" {
		t.Errorf("after the link came back: -want +got\n%s", d)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// Links that are created and deleted, each with another index, leave no sockets open.
func TestNetnsAnnounceOnRemovedLinks(t *testing.T) {
	_, hosts := newLAN(t, 1)
	host := hosts[0]
	var a lan.Announcer
	defer a.Close()
	vip, mac := netip.MustParseAddr("192.0.2.50"), host.HardwareAddr("eth0")
	announce := func(name string) {
		t.Helper()
		index := host.Index(name)
		var err error
		host.Do(func() { err = a.Announce(index, mac, []netip.Addr{vip}) })
		if err != nil {
			t.Error(err)
		}
	}
	sockets := func() int {
		var list []byte
		var err error
		host.Do(func() { list, err = os.ReadFile("/proc/thread-self/net/packet") })
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(list, []byte("\n"))
	}
	announce("eth0")
	before := sockets()
	for range 5 {
		host.Run("ip", "link", "add", "link", "eth0", "name", "kvv0", "type", "macvlan", "mode", "private")
		host.Run("ip", "link", "set", "kvv0", "up")
		announce("kvv0")
		host.Run("ip", "link", "del", "kvv0")
	}
	announce("eth0")
	// The socket of the last link is closed when there is another one; the others are
	// closed now or soon.
	got := sockets()
	for deadline := time.Now().Add(5 * time.Second); got != before+1 && time.Now().Before(deadline); got = sockets() {
		time.Sleep(time.Millisecond)
	}
	if got != before+1 {
		t.Errorf("%d packet sockets, %d before", got, before)
	}
}

func TestNetnsAnnounceErrors(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	capture := to.captureAnnouncements()
	var a lan.Announcer
	defer a.Close()
	index, mac := from.Index("eth0"), from.HardwareAddr("eth0")
	vip := netip.MustParseAddr("192.0.2.50")
	from.Do(func() {
		if err := a.Announce(index, mac[:4], []netip.Addr{vip}); err == nil {
			t.Error("announced half a hardware address")
		}
		for _, none := range []netip.Addr{{}, netip.MustParseAddr("::ffff:192.0.2.50")} {
			err := a.Announce(index, mac, []netip.Addr{none, vip})
			if err == nil || a.AnnounceReply(index, mac, []netip.Addr{none, vip}) == nil {
				t.Errorf("announced %q", none)
			}
			t.Logf("the error reads: %v", err)
		}
	})
	want := []string{
		hex.EncodeToString(lan.AppendGratuitousARP(nil, mac, vip, lan.ARPRequest)),
		hex.EncodeToString(lan.AppendGratuitousARP(nil, mac, vip, lan.ARPReply)),
	}
	want = append(want, want...)
	if d := cmp.Diff(want, capture(len(want))); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// The Router flag follows the forwarding setting of the node at any time.
func TestNetnsAnnounceARouter(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	capture := to.captureAnnouncements()
	var a lan.Announcer
	defer a.Close()
	index, mac := from.Index("eth0"), from.HardwareAddr("eth0")
	vip := netip.MustParseAddr("2001:db8::50")
	for _, step := range []struct {
		key, value string
		router     bool
	}{
		{"net.ipv6.conf.all.forwarding", "1", true},
		{"net.ipv6.conf.eth0.forwarding", "0", false},
		{"net.ipv6.conf.eth0.forwarding", "1", true},
	} {
		from.Sysctl(step.key, step.value)
		var err error
		from.Do(func() { err = a.Announce(index, mac, []netip.Addr{vip}) })
		if err != nil {
			t.Error(err)
		}
		want := []string{hex.EncodeToString(lan.AppendUnsolicitedNA(nil, mac, vip, step.router))}
		if d := cmp.Diff(want, capture(1)); d != "" {
			t.Errorf("%s=%s: -want +got\n%s", step.key, step.value, d)
		}
	}
}

// An interface that lost its IPv6 still announces, and the error names the cause.
func TestNetnsAnnounceWithoutIPv6(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	capture := to.captureAnnouncements()
	var a lan.Announcer
	defer a.Close()
	index, mac := from.Index("eth0"), from.HardwareAddr("eth0")
	vip := netip.MustParseAddr("2001:db8::50")
	from.Run("ip", "link", "set", "eth0", "mtu", "1000")
	var err error
	from.Do(func() { err = a.Announce(index, mac, []netip.Addr{vip}) })
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v, want a setting that does not exist", err)
	}
	t.Logf("the error reads: %v", err)
	want := []string{hex.EncodeToString(lan.AppendUnsolicitedNA(nil, mac, vip, false))}
	if d := cmp.Diff(want, capture(1)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// A neighbor with another MAC address for the address accepts the announcement.
func TestNetnsAnnounceMovesAnAddress(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	var a lan.Announcer
	defer a.Close()
	index, mac := from.Index("eth0"), from.HardwareAddr("eth0")
	for _, vip := range []string{"192.0.2.50", "2001:db8::50", "fe80::50"} {
		to.Run("ip", "neigh", "add", vip, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "reachable")
		eventually(t, func() error {
			var err error
			from.Do(func() { err = a.Announce(index, mac, []netip.Addr{netip.MustParseAddr(vip)}) })
			if err != nil {
				t.Fatal(err)
			}
			if got := to.Run("ip", "neigh", "show", vip, "dev", "eth0"); !strings.Contains(got, mac.String()) {
				return fmt.Errorf("the neighbor has %q, want %s", got, mac)
			}
			return nil
		})
	}
}

// eventually polls until f returns no error, for a minute.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// captureAnnouncements returns a function that waits for the next n frames that
// are ARP or Neighbor Advertisements, in hex.
func (h host) captureAnnouncements() func(n int) []string {
	h.t.Helper()
	var conn *packet.Conn
	var err error
	index := h.Index("eth0")
	h.Do(func() { conn, err = packet.Listen(&net.Interface{Index: index}, packet.Raw, unix.ETH_P_ALL, nil) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	own := h.HardwareAddr("eth0")
	return func(n int) []string {
		h.t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			h.t.Fatal(err)
		}
		var frames []string
		for b := make([]byte, 1500); len(frames) < n; {
			size, _, err := conn.ReadFrom(b)
			if err != nil {
				h.t.Fatalf("after %q: %v", frames, err)
			}
			frame := b[:size]
			protocol := binary.BigEndian.Uint16(frame[12:])
			na := protocol == unix.ETH_P_IPV6 && size > 54 && frame[20] == unix.IPPROTO_ICMPV6 && frame[54] == 136
			if (na || protocol == unix.ETH_P_ARP) && !bytes.Equal(frame[6:12], own) {
				frames = append(frames, hex.EncodeToString(frame))
			}
		}
		return frames
	}
}
