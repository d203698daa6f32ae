package host_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// A virtual address is recognized without its mark, as on a kernel before 5.18. An
// address of a DHCPv6 client is not, even when its lease ends.
func TestNetnsAddressesWithoutMark(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	// removed reports whether an address is taken for a leftover before its lifetime
	// ends.
	removed := func(args string) (found []host.VirtualAddress) {
		eventually(t, "an address that has not ended", func() bool {
			start := time.Now()
			n.Run("ip", append([]string{"addr", "replace"}, strings.Fields(args)...)...)
			var err error
			if found, err = a.RemoveLeftovers(); err != nil {
				t.Fatal(err)
			}
			return time.Since(start) < lifetime
		})
		return found
	}
	if found := removed("2001:db8::50/128 dev eth0 nodad noprefixroute valid_lft 2 preferred_lft 0"); !slices.Equal(found, n.vips("2001:db8::50")) {
		t.Errorf("virtual address: removed %v", found)
	}
	for _, args := range []string{
		"2001:db8::51/128 dev eth0 noprefixroute valid_lft 2 preferred_lft 0",
		"2001:db8::52/128 dev eth0 noprefixroute valid_lft 2 preferred_lft 2",
		"2001:db8::53/128 dev eth0 nodad valid_lft 2 preferred_lft 0",
		"2001:db8::54/64 dev eth0 nodad noprefixroute valid_lft 2 preferred_lft 0",
	} {
		if found := removed(args); len(found) != 0 {
			t.Errorf("%s: removed %v", args, found)
		}
	}
}

// An interface without IPv6 does not affect IPv4, and the error names the cause.
func TestNetnsAddressesIPv6Disabled(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	vips := n.vips("192.0.2.50", "2001:db8::50", "192.0.2.51")
	if err := a.Set(vips); err != nil {
		t.Fatal(err)
	}
	n.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "1")
	for range 2 {
		err := a.Set(vips)
		var ae *host.AddressError
		if errs := err.(interface{ Unwrap() []error }).Unwrap(); len(errs) != 1 || !errors.As(errs[0], &ae) || ae.VirtualAddress != vips[1] {
			t.Fatalf("error is %v, want one of %v", err, vips[1])
		}
		const want = "add 2001:db8::50/128 to eth0: IPv6 is disabled on the interface (disable_ipv6)"
		if ae.Error() != want {
			t.Errorf("error is %q, want %q", ae, want)
		}
		if !n.has("eth0", "192.0.2.50/32", "192.0.2.51/32") {
			t.Errorf("the others are not bound: %q", n.show("eth0"))
		}
	}
	if err := a.Set(nil); err != nil {
		t.Errorf("nothing wanted: %v", err)
	}
	n.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "0")
	if err := a.Set(vips); err != nil || !n.has("eth0", "192.0.2.50/32", "192.0.2.51/32", "2001:db8::50/128") {
		t.Errorf("enabled again: %v, %q", err, n.show("eth0"))
	}
}

// A neighbor gets its answer at once: no address waits for duplicate address detection,
// which takes a second.
func TestNetnsIPv6VirtualAddressIsReachableAtOnce(t *testing.T) {
	all := nodes(netnstest.NewLAN(t, 2), t)
	n, client := all[0], all[1]
	n.Run("ip", "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	client.Run("ip", "addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad")
	n.answer("[::]:80")
	client.dial("[2001:db8::1]:80") // The way to the node is known from here on.
	a := n.addresses()
	var worst time.Duration
	for _, vip := range []string{"2001:db8::50", "2001:db8::51", "2001:db8::52"} {
		start := time.Now()
		if err := a.Set(n.vips(vip)); err != nil {
			t.Fatal(err)
		}
		client.dial("[" + vip + "]:80")
		worst = max(worst, time.Since(start))
	}
	t.Logf("measured: ipv6_address_reachable_worst=%.1fms target=50ms", float64(worst.Microseconds())/1000)
	if worst > 5*time.Second {
		t.Errorf("reachable after %s", worst)
	}
}

// The source of a connection is never a virtual address as long as there is another
// global address, on any link, older or newer.
func TestNetnsIPv6VirtualAddressIsNoSource(t *testing.T) {
	all := nodes(netnstest.NewLAN(t, 2), t)
	n, peer := all[0], all[1]
	peer.Run("ip", "addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad")
	peer.Run("ip", "addr", "add", "2001:db8:7::2/64", "dev", "eth0", "nodad")
	peer.Run("ip", "route", "add", "default", "via", "2001:db8::1")
	peer.answer("[::]:80")
	n.Run("ip", "addr", "add", "fe80::1/64", "dev", "eth0", "nodad")
	a := n.addresses()
	vips := n.vips("2001:db8::50", "2001:db8:7::50", "fe80::50")
	set := func() {
		t.Helper()
		if err := a.Set(vips); err != nil {
			t.Fatal(err)
		}
	}
	// source returns the source of a datagram to address.
	source := func(address string) netip.Addr {
		t.Helper()
		var c net.Conn
		var err error
		n.Do(func() { c, err = net.Dial("udp6", address) })
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return netip.MustParseAddrPort(c.LocalAddr().String()).Addr().WithZone("")
	}
	check := func(when string, own ...string) {
		t.Helper()
		set()
		for _, to := range []string{"[2001:db8::2]:80", "[2001:db8:7::2]:80"} {
			if from := n.dial(to); !slices.Contains(own, from.String()) {
				t.Errorf("%s: the connection to %s comes from %s, want one of %s", when, to, from, own)
			}
		}
		for _, to := range []string{"[2001:db8:8::2]:9", "[fe80::2%eth0]:9", "[ff02::12%eth0]:9", "[ff02::1%eth0]:9"} {
			want := own
			if !strings.HasPrefix(to, "[2001:") {
				want = []string{"fe80::1"}
			}
			if from := source(to); !slices.Contains(want, from.String()) {
				t.Errorf("%s: a datagram to %s comes from %s, want one of %s", when, to, from, want)
			}
		}
	}

	n.Run("ip", "route", "add", "default", "via", "2001:db8::2", "dev", "eth0", "onlink")
	n.Run("ip", "route", "add", "2001:db8:7::/64", "dev", "eth0")
	n.Run("ip", "addr", "add", "2001:db8:9::1/128", "dev", "lo", "nodad")
	n.Run("ip", "route", "add", "2001:db8::/64", "dev", "eth0")
	peer.Run("ip", "route", "add", "2001:db8:9::1", "via", "fe80::1", "dev", "eth0")
	check("the only other one is on lo", "2001:db8:9::1")
	n.Run("ip", "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	check("the other one is newer", "2001:db8::1")
	if err := a.Set(nil); err != nil {
		t.Fatal(err)
	}
	check("the other one is older", "2001:db8::1")
}

// A snapshot has the state of duplicate address detection, even if nothing else changes.
func TestNetnsWatchDuplicateAddressDetection(t *testing.T) {
	all := nodes(netnstest.NewLAN(t, 2), t)
	n, other := all[0], all[1]
	other.Run("ip", "addr", "add", "2001:db8::9/64", "dev", "eth0", "nodad")
	n.Sysctl("net.ipv6.conf.eth0.dad_transmits", "3")
	n.Run("ip", "addr", "add", "2001:db8::8/64", "dev", "eth0")
	w := n.watch()
	if a := w.address("2001:db8::8/64"); !a.Tentative {
		t.Errorf("at first there is %+v, want it tentative", a)
	}
	eventually(t, "detection ends", func() bool {
		a := w.address("2001:db8::8/64")
		return a.Prefix.IsValid() && !a.Tentative
	})

	n.Run("ip", "addr", "add", "2001:db8::9/64", "dev", "eth0")
	eventually(t, "the duplicate is found", func() bool { return strings.Contains(n.Run("ip", "addr", "show", "dev", "eth0"), "dadfailed") })
	eventually(t, "the duplicate is seen", func() bool { return w.address("2001:db8::9/64").Tentative })

	// The kernel's own link-local address, the source of advertisements.
	n.Sysctl("net.ipv6.conf.eth0.addr_gen_mode", "0")
	linkLocal := func() host.Address {
		for _, a := range w.link("eth0").Addresses {
			if a.Scope() == unix.RT_SCOPE_LINK && a.Prefix.Addr().Is6() {
				return a
			}
		}
		return host.Address{}
	}
	eventually(t, "a link-local address", func() bool {
		a := linkLocal()
		return a.Prefix.IsValid() && !a.Tentative && a.Permanent() && !a.Owned
	})
}
