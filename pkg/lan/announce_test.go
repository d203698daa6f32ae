package lan_test

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
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
	vips := []netip.Addr{netip.MustParseAddr("192.0.2.50"), netip.MustParseAddr("192.0.2.51")}
	mac := from.HardwareAddr("eth0")
	var want []string
	for _, op := range []uint16{lan.ARPRequest, lan.ARPReply} {
		for _, vip := range vips {
			want = append(want, hex.EncodeToString(lan.AppendGratuitousARP(nil, mac, vip, op)))
		}
	}

	var a lan.Announcer
	announce := func(index int) (err error) {
		from.Do(func() { err = a.Announce(index, mac, vips) })
		return err
	}
	capture := to.captureARP()
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
		t.Error("announced on a link that is gone")
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

func TestNetnsAnnounceErrors(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	capture := to.captureARP()
	var a lan.Announcer
	defer a.Close()
	index, mac := from.Index("eth0"), from.HardwareAddr("eth0")
	vip := netip.MustParseAddr("192.0.2.50")
	from.Do(func() {
		if err := a.Announce(index, mac[:4], []netip.Addr{vip}); err == nil {
			t.Error("announced half a hardware address")
		}
		if err := a.Announce(index, mac, []netip.Addr{{}, netip.MustParseAddr("2001:db8::1"), vip}); err == nil {
			t.Error("announced no IPv4 address")
		}
	})
	want := []string{
		hex.EncodeToString(lan.AppendGratuitousARP(nil, mac, vip, lan.ARPRequest)),
		hex.EncodeToString(lan.AppendGratuitousARP(nil, mac, vip, lan.ARPReply)),
	}
	if d := cmp.Diff(want, capture(len(want))); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// A neighbor that knows the address at another place believes it.
func TestNetnsAnnounceMovesAnAddress(t *testing.T) {
	_, hosts := newLAN(t, 2)
	from, to := hosts[0], hosts[1]
	to.Run("ip", "neigh", "add", "192.0.2.50", "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "reachable")
	var a lan.Announcer
	defer a.Close()
	index, mac := from.Index("eth0"), from.HardwareAddr("eth0")
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var err error
		from.Do(func() { err = a.Announce(index, mac, []netip.Addr{netip.MustParseAddr("192.0.2.50")}) })
		if err != nil {
			t.Fatal(err)
		}
		got := to.Run("ip", "neigh", "show", "192.0.2.50", "dev", "eth0")
		if strings.Contains(got, mac.String()) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the neighbor has %q", got)
		}
	}
}

// captureARP returns a function that waits for the next n ARP frames, in hex.
func (h host) captureARP() func(n int) []string {
	h.t.Helper()
	var conn *packet.Conn
	var err error
	index := h.Index("eth0")
	h.Do(func() { conn, err = packet.Listen(&net.Interface{Index: index}, packet.Raw, unix.ETH_P_ARP, nil) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return func(n int) []string {
		h.t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			h.t.Fatal(err)
		}
		var frames []string
		for range n {
			b := make([]byte, 1500)
			size, _, err := conn.ReadFrom(b)
			if err != nil {
				h.t.Fatalf("after %q: %v", frames, err)
			}
			frames = append(frames, hex.EncodeToString(b[:size]))
		}
		return frames
	}
}
