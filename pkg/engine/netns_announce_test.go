package engine

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// gratuitous is a gratuitous ARP packet that was seen.
type gratuitous struct {
	vip   netip.Addr
	reply bool
	at    time.Time
}

// recordGratuitous returns a function that waits for what the hosts announce on a
// link of a namespace, until f is true of all of it.
func recordGratuitous(t *testing.T, ns *netnstest.NS, link string) func(f func([]gratuitous) bool) []gratuitous {
	t.Helper()
	var conn *packet.Conn
	var err error
	index := ns.Index(link)
	ns.Do(func() { conn, err = packet.Listen(&net.Interface{Index: index}, packet.Raw, unix.ETH_P_ARP, nil) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<24) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	var all []gratuitous
	return func(f func([]gratuitous) bool) []gratuitous {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for b := make([]byte, 1500); !f(all); {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				t.Fatalf("after %d announcements: %v", len(all), err)
			}
			const arpReply = 2 // RFC 826
			arp := b[14:n]
			sender, target := netip.AddrFrom4([4]byte(arp[14:18])), netip.AddrFrom4([4]byte(arp[24:28]))
			if sender == target {
				all = append(all, gratuitous{sender, binary.BigEndian.Uint16(arp[6:]) == arpReply, time.Now()})
			}
		}
		if stats, err := conn.Stats(); err != nil || stats.Drops > 0 {
			t.Fatalf("the record is incomplete: %+v, %v", stats, err)
		}
		return all
	}
}

// On the wire, a takeover of 1000 VIPs announces each of them once before
// anything else, and loses nothing. A VIP that comes while the repetitions
// go out does not wait for them.
func TestNetnsAnnounceManyVIPs(t *testing.T) {
	const vips, routers = 1000, 5
	s := newSegment(t, 1)
	for i, h := range s.Hosts {
		h.Run("ip", "addr", "add", fmt.Sprintf("10.4.255.%d/16", i+1), "dev", "eth0")
	}
	all := numbered(vips + 1)
	state := desired.State{}
	for i := range routers {
		state.Routers = append(state.Routers, routerOf(uint8(50+i), all[i*vips/routers:(i+1)*vips/routers]...))
	}
	seen := recordGratuitous(t, s.client(), "eth0")
	_, apply := s.start(0, state)

	first := map[netip.Addr]bool{}
	record := seen(func(got []gratuitous) bool { return len(got) >= vips })
	for i, g := range record[:vips] {
		if g.reply || first[g.vip] {
			t.Fatalf("number %d is %+v, want the first announcement of another VIP", i, g)
		}
		first[g.vip] = true
	}
	t.Logf("measured: first_announcement_of_1000_vips=%v target=250ms", record[vips-1].at.Sub(record[0].at))

	// The router that the new VIP is in starts its announcements anew: while
	// those of the others are repeated.
	began := time.Now()
	state.Routers = append(state.Routers, routerOf(99, all[vips]))
	apply(state)
	before := len(record)
	record = seen(func(got []gratuitous) bool { return got[len(got)-1].vip == all[vips] })
	t.Logf("measured: new_vip_among_repetitions=%v frames_before_it=%d target=700ms", time.Since(began), len(record)-before)

	// Of the five instants those that come while a form of the VIP waits still
	// are one with it.
	requests, replies, counted := map[netip.Addr]int{}, map[netip.Addr]int{}, 0
	record = seen(func(got []gratuitous) bool {
		for _, g := range got[counted:] {
			if g.reply {
				replies[g.vip]++
			} else {
				requests[g.vip]++
			}
		}
		counted = len(got)
		for _, vip := range all[:vips] {
			if requests[vip] < 3 || replies[vip] < 2 {
				return false
			}
		}
		return true
	})
	// No more in any second than the two rates and their bursts.
	const most = firstBurst + laterBurst + int(time.Second/laterPause)
	for i := vips; i+most < len(record); i++ {
		if gap := record[i+most].at.Sub(record[i].at); gap < 900*time.Millisecond {
			t.Fatalf("%d frames within %v", most, gap)
		}
	}
	t.Logf("measured: announcement_frames_of_1000_vips=%d in %v", len(record), record[len(record)-1].at.Sub(record[0].at))
}
