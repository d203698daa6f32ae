package conntrack

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// TestNetnsDelete names entries that are not there.
func TestNetnsDelete(t *testing.T) {
	ns := netnstest.New(t, "node")
	ns.RunInput(`
		table inet zones {
			chain out { type filter hook output priority -301; th dport 7777 ct original zone set 20000; }
			chain nat { type nat hook output priority -100; }
		}
	`, "nft", "-f", "-")
	server := ns.ListenPacket("udp", "127.0.0.1:7777")
	client, err := ns.DialContext(t.Context(), "udp", "127.0.0.1:7777")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := exchange(client, server); err != nil {
		t.Fatal(err)
	}
	all := func() (entries []Entry) {
		t.Helper()
		if err := List(func(e Entry) { entries = append(entries, e) }); err != nil {
			t.Fatal(err)
		}
		return entries
	}
	ns.Do(func() {
		want := all()
		if len(want) != 1 || want[0].Zone != 20000 || want[0].Protocol != unix.IPPROTO_UDP || want[0].Destination != netip.MustParseAddrPort("127.0.0.1:7777") {
			t.Fatalf("entries: %+v", want)
		}
		socket, err := nfnetlink.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		present := want[0]
		another := present
		id := []byte(present.ID)
		id[0]++
		another.ID = string(id)
		if err := Delete(socket, another); err != nil {
			t.Errorf("one that took the place of another: %v", err)
		}
		malformed := present
		malformed.tuple = []byte{4, 0, 1, 0}
		if err := Delete(socket, malformed); !errors.Is(err, unix.EINVAL) {
			t.Errorf("a malformed one: got %v, want %v", err, unix.EINVAL)
		}
		if got := all(); len(got) != 1 || cmp.Diff(want[0].ID, got[0].ID) != "" {
			t.Errorf("entries %+v, want %+v", got, want)
		}
		for range 2 {
			if err := Delete(socket, present); err != nil {
				t.Error(err)
			}
		}
		if got := all(); len(got) != 0 {
			t.Errorf("left: %+v", got)
		}
	})
}

// exchange sends a datagram and waits for it.
func exchange(client net.Conn, server net.PacketConn) error {
	if _, err := client.Write([]byte("hello")); err != nil {
		return err
	}
	if err := server.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, _, err := server.ReadFrom(make([]byte, 100))
	return err
}

// TestNetnsSupported is how a kernel without NF_CT_NETLINK is known from one with
// it.
func TestNetnsSupported(t *testing.T) {
	netnstest.New(t, "node").Do(func() {
		if err := Supported(); err != nil {
			t.Errorf("conntrack: %v", err)
		}
		const nobody = 200
		if err := askStatistics(nobody); !errors.Is(err, unix.EINVAL) {
			t.Errorf("a subsystem that is not there: got %v, want %v", err, unix.EINVAL)
		}
	})
}

func TestParseJunk(t *testing.T) {
	t.Parallel()
	for _, data := range [][]byte{{}, {2, 0, 0}, {2, 0, 0, 0, 9, 0}, {2, 0, 0, 0, 8, 0, 1, 0x80, 9, 0, 1, 0}} {
		if e, err := parse(netlink.Message{Data: data}); err == nil {
			t.Errorf("%v: got %+v", data, e)
		}
	}
	if e, err := parse(netlink.Message{Data: []byte{2, 0, 0, 0}}); err != nil || e.Zone != 0 || e.tuple != nil {
		t.Errorf("without attributes: got %+v, %v", e, err)
	}
}
