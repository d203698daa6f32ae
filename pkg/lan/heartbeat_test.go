package lan_test

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

func newHeartbeatSocket(t testing.TB) (*netnstest.NS, *lan.HeartbeatSocket) {
	t.Helper()
	ns := netnstest.New(t, "node")
	var h *lan.HeartbeatSocket
	ns.Do(func() {
		var err error
		if h, err = lan.NewHeartbeatSocket(); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { _ = h.Close() })
	return ns, h
}

// The kernel receives each heartbeat on lo with its mark.
func TestNetnsHeartbeat(t *testing.T) {
	ns, h := newHeartbeatSocket(t)
	ns.RunInput(`table netdev t {
		chain c { type filter hook ingress device "lo" priority 0; meta protocol 0x88b5 meta mark 0x432 counter; meta protocol 0x88b5 meta mark 0x532 counter; }
	}`, "nft", "-f", "-")
	var conn *packet.Conn
	ns.Do(func() {
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		if conn, err = packet.Listen(lo, packet.Raw, 0x88b5, nil); err != nil {
			t.Fatal(err)
		}
	})
	defer conn.Close()
	for _, mark := range []uint32{0x432, 0x532, 0x532} {
		if err := h.SendHeartbeat(mark); err != nil {
			t.Fatal(err)
		}
	}
	frame := make([]byte, 100)
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		n, _, err := conn.ReadFrom(frame)
		if err != nil {
			t.Fatal(err)
		}
		want := append(make([]byte, 12), 0x88, 0xb5)
		want = append(want, "kube-vrrp-vip"...)
		want = append(want, make([]byte, 60-len(want))...)
		if !bytes.Equal(frame[:n], want) {
			t.Errorf("got % x, want % x", frame[:n], want)
		}
	}
	rules := ns.Run("nft", "list", "ruleset")
	for _, want := range []string{"0x00000432 counter packets 1", "0x00000532 counter packets 2"} {
		if !bytes.Contains([]byte(rules), []byte(want)) {
			t.Errorf("no %q in\n%s", want, rules)
		}
	}
}

// A heartbeat fails while lo is down.
func TestNetnsHeartbeatWithoutLoopback(t *testing.T) {
	ns, h := newHeartbeatSocket(t)
	ns.Run("ip", "link", "set", "lo", "down")
	if err := h.SendHeartbeat(1); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("lo is down: got %v, want %v", err, unix.ENETDOWN)
	}
	ns.Run("ip", "link", "set", "lo", "up")
	if err := h.SendHeartbeat(1); err != nil {
		t.Error(err)
	}
}

// A heartbeat does not allocate, because the engine's loop sends it.
func TestNetnsHeartbeatAllocatesNothing(t *testing.T) {
	_, h := newHeartbeatSocket(t)
	if n := testing.AllocsPerRun(100, func() {
		if err := h.SendHeartbeat(1); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkHeartbeat measures a heartbeat with the nftables sets that it updates.
func BenchmarkHeartbeat(b *testing.B) {
	ns, h := newHeartbeatSocket(b)
	ns.RunInput(`table netdev t {
		set alive { type mark; size 4096; flags dynamic,timeout; timeout 500ms; }
		set watched { type mark; size 4096; flags dynamic,timeout; timeout 4s; }
		chain c { type filter hook ingress device "lo" priority 0; meta protocol 0x88b5 update @alive { meta mark } update @watched { meta mark } counter drop; }
	}`, "nft", "-f", "-")
	b.ReportAllocs()
	for b.Loop() {
		if err := h.SendHeartbeat(0x432); err != nil {
			b.Fatal(err)
		}
	}
}
