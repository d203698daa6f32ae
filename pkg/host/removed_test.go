package host_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/host"
)

func (a addresses) removed() (all []host.VirtualAddress) {
	a.Do(func() { all = a.a.Removed() })
	return all
}

// Removed returns each address that another program has removed once. It returns no
// other address: not one that was released, was never bound, or went with its link or
// its lifetime.
func TestNetnsRemoved(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	index := n.Index("eth0")
	vips := n.vips("192.0.2.50", "192.0.2.51", "2001:db8::50", "2001:db8::51")
	set := func(what string, want []host.VirtualAddress, removed ...host.VirtualAddress) {
		t.Helper()
		if err := a.Set(want); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := a.removed(); !slices.Equal(got, removed) {
			t.Errorf("%s: got %v, want %v", what, got, removed)
		}
		if got := len(n.show("eth0")); got != 1+len(want) {
			t.Errorf("%s: %d addresses, want %d", what, got, 1+len(want))
		}
	}
	set("the first time", vips)
	set("renewed", vips)
	n.Run("ip", "addr", "del", "192.0.2.51/32", "dev", "eth0")
	n.Run("ip", "addr", "del", "2001:db8::50/128", "dev", "eth0")
	set("two removed", vips, vips[1], vips[2])
	set("bound again", vips)
	n.Run("ip", "-4", "addr", "flush", "dev", "eth0", "label", "eth0:vip")
	set("flushed", vips, vips[0], vips[1])
	n.Run("ip", "addr", "del", "192.0.2.50/32", "dev", "eth0")
	set("removed and no longer wanted", vips[1:])
	set("wanted again", vips)
	set("released", vips[:2])
	set("wanted again", vips)

	// The kernel removes IPv6 addresses when the link is set down.
	n.Run("ip", "link", "set", "eth0", "down")
	err := a.Set(vips[:2])
	if got := a.removed(); err != nil || len(got) != 0 {
		t.Errorf("set down: error %v, got %v", err, got)
	}
	n.Run("ip", "link", "set", "eth0", "up")
	set("set up again", vips)

	eventually(t, "the lifetime ends", func() bool { return len(n.show("eth0")) == 1 })
	set("after a stall", vips)

	n.Run("ip", "link", "del", "eth0")
	_ = a.Set(vips) // It fails.
	if got := a.removed(); len(got) != 0 {
		t.Errorf("deleted with the link %d: got %v", index, got)
	}
}

// Another program removes a thousand addresses at once.
func TestNetnsManyRemoved(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	vips := manyVIPs(n, 1000)
	if err := a.Set(vips); err != nil {
		t.Fatal(err)
	}
	n.Run("ip", "addr", "flush", "dev", "eth0", "label", "eth0:vip")
	start := time.Now()
	if err := a.Set(vips); err != nil {
		t.Fatal(err)
	}
	t.Logf("measured: put_back_1000_addresses=%.1fms target=100ms", float64(time.Since(start).Microseconds())/1000)
	if d := cmp.Diff(len(vips), len(a.removed())); d != "" {
		t.Errorf("got: -want +got\n%s", d)
	}
}

// manyVIPs returns n virtual addresses on eth0.
func manyVIPs(node node, n int) (vips []host.VirtualAddress) {
	index, address := node.Index("eth0"), node.vips("10.4.1.1")[0].Address
	for range n {
		vips = append(vips, host.VirtualAddress{Link: index, Address: address})
		address = address.Next()
	}
	return vips
}
