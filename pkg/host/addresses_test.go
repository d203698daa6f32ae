package host_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/internal/netnstest"
)

const lifetime = 2 * time.Second

// node is a network namespace with the link eth0, 192.0.2.1/24.
type node struct {
	*netnstest.NS
	t *testing.T
}

func newNode(t *testing.T) node {
	t.Helper()
	return node{NS: netnstest.NewLAN(t, 1).Hosts[0], t: t}
}

// addresses is an Addresses that is used inside the node's namespace only.
type addresses struct {
	node
	a *host.Addresses
}

func (n node) addresses() addresses {
	n.t.Helper()
	var a *host.Addresses
	var err error
	n.Do(func() { a, err = host.NewAddresses(lifetime) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		if err := a.Close(); err != nil {
			n.t.Errorf("close: %v", err)
		}
	})
	return addresses{n, a}
}

func (a addresses) Set(want []host.VirtualAddress) (err error) {
	a.Do(func() { err = a.a.Set(want) })
	return err
}

func (a addresses) RemoveLeftovers() (found []host.VirtualAddress, err error) {
	a.Do(func() { found, err = a.a.RemoveLeftovers() })
	return found, err
}

// vips are virtual addresses on eth0.
func (n node) vips(addresses ...string) []host.VirtualAddress {
	n.t.Helper()
	index := n.Index("eth0")
	var vips []host.VirtualAddress
	for _, a := range addresses {
		vips = append(vips, host.VirtualAddress{Link: index, Address: netip.MustParseAddr(a)})
	}
	return vips
}

// show returns the IPv4 addresses of a link as ip(8) shows them, without their
// lifetimes.
func (n node) show(link string) []string {
	n.t.Helper()
	var shown []string
	for line := range strings.SplitSeq(n.Run("ip", "-4", "addr", "show", "dev", link), "\n") {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "inet ") {
			shown = append(shown, line)
		}
	}
	return shown
}

func (n node) has(link, prefix string) bool {
	n.t.Helper()
	return slices.ContainsFunc(n.show(link), func(s string) bool { return strings.HasPrefix(s, "inet "+prefix+" ") })
}

// eventually polls until f is true, and fails the test after a minute.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestNetnsAddressesSet(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	steps := []struct {
		name string
		want []string
		show []string
	}{
		{name: "add two", want: []string{"192.0.2.50", "10.4.0.50"}, show: []string{"192.0.2.50", "10.4.0.50"}},
		{name: "the same again", want: []string{"192.0.2.50", "10.4.0.50"}, show: []string{"192.0.2.50", "10.4.0.50"}},
		{name: "one twice", want: []string{"192.0.2.50", "192.0.2.50", "10.4.0.50"}, show: []string{"192.0.2.50", "10.4.0.50"}},
		{name: "replace one", want: []string{"10.4.0.50", "10.4.0.51"}, show: []string{"10.4.0.50", "10.4.0.51"}},
		{name: "none"},
	}
	for _, s := range steps {
		if err := a.Set(n.vips(s.want...)); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		want := []string{"inet 192.0.2.1/24 scope global eth0"}
		for _, v := range s.show {
			want = append(want, "inet "+v+"/32 scope host dynamic noprefixroute eth0:vip")
		}
		slices.Sort(want)
		got := n.show("eth0")
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", s.name, d)
		}
	}
}

func TestNetnsAddressesSetPutsBackWhatWasRemoved(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	vips := n.vips("192.0.2.50", "192.0.2.51")
	for _, do := range []string{"add", "put back", "put back again"} {
		if err := a.Set(vips); err != nil {
			t.Fatalf("%s: %v", do, err)
		}
		if !n.has("eth0", "192.0.2.50/32") || !n.has("eth0", "192.0.2.51/32") {
			t.Fatalf("%s: got %q", do, n.show("eth0"))
		}
		n.Run("ip", "addr", "del", "192.0.2.51/32", "dev", "eth0")
	}
}

// The kernel takes away what nobody renews, and nothing that is renewed.
func TestNetnsAddressesLifetime(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	vips := n.vips("192.0.2.50", "192.0.2.51")
	start := time.Now()
	var renewed time.Time
	for time.Since(start) < 3*lifetime {
		renewed = time.Now()
		if err := a.Set(vips); err != nil {
			t.Fatal(err)
		}
		for time.Since(renewed) < lifetime/4 {
			if time.Since(renewed) < lifetime/2 && !n.has("eth0", "192.0.2.50/32") {
				t.Fatalf("gone %s after it was renewed", time.Since(renewed))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	eventually(t, "addresses go", func() bool {
		return !n.has("eth0", "192.0.2.50/32") && !n.has("eth0", "192.0.2.51/32")
	})
	expired := time.Since(renewed)
	t.Logf("measured: address_expiry=%.2fs target=3s", expired.Seconds())
	if expired > 15*time.Second {
		t.Errorf("addresses went %s after they were renewed for the last time", expired)
	}
}

func TestNetnsAddressesRemoveLeftovers(t *testing.T) {
	n := newNode(t)
	n.Run("ip", "link", "add", "a-name-of-15-ch", "type", "bridge")
	n.Run("ip", "addr", "add", "198.51.100.1/24", "dev", "a-name-of-15-ch")
	left := append(n.vips("192.0.2.50", "192.0.2.51"), host.VirtualAddress{
		Link: n.Index("a-name-of-15-ch"), Address: netip.MustParseAddr("198.51.100.50"),
	})
	if err := n.addresses().Set(left); err != nil {
		t.Fatal(err)
	}
	a := n.addresses()
	found, err := a.RemoveLeftovers()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(found, func(a, b host.VirtualAddress) int { return a.Address.Compare(b.Address) })
	if d := cmp.Diff(left, found, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("found: -want +got\n%s", d)
	}
	for link, want := range map[string]string{
		"eth0":            "inet 192.0.2.1/24 scope global eth0",
		"a-name-of-15-ch": "inet 198.51.100.1/24 scope global a-name-of-15-ch",
	} {
		if d := cmp.Diff([]string{want}, n.show(link)); d != "" {
			t.Errorf("%s: -want +got\n%s", link, d)
		}
	}
	if found, err := a.RemoveLeftovers(); len(found) != 0 || err != nil {
		t.Errorf("once more: %v, %v", found, err)
	}
}

// What an operator has configured is neither changed nor removed, whatever it
// looks like.
func TestNetnsAddressesLeaveForeignOnesAlone(t *testing.T) {
	n := newNode(t)
	for _, args := range []string{
		"192.0.2.50/32 dev eth0",
		"192.0.2.51/24 dev eth0",
		"192.0.2.52/32 dev eth0 label eth0:vip",
		"192.0.2.53/32 dev eth0 label eth0:vip scope host",
		"192.0.2.54/32 dev eth0 valid_lft 1000 preferred_lft 1000 noprefixroute",
		"192.0.2.55/32 dev lo",
	} {
		n.Run("ip", append([]string{"addr", "add"}, strings.Fields(args)...)...)
	}
	before := n.show("eth0")
	a := n.addresses()
	if found, err := a.RemoveLeftovers(); len(found) != 0 || err != nil {
		t.Errorf("leftovers: %v, %v", found, err)
	}
	foreign := n.vips("192.0.2.50", "192.0.2.51", "192.0.2.52", "192.0.2.53", "192.0.2.54", "192.0.2.1")
	free := n.vips("192.0.2.55", "192.0.2.56")
	err := a.Set(slices.Concat(foreign, free))
	var failed []host.VirtualAddress
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		var ae *host.AddressError
		if !errors.As(e, &ae) || !errors.Is(e, host.ErrForeign) {
			t.Errorf("error is %#v, want an *AddressError of ErrForeign", e)
			continue
		}
		failed = append(failed, ae.VirtualAddress)
	}
	if d := cmp.Diff(foreign, failed, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("failed: -want +got\n%s", d)
	}
	t.Logf("the error reads:\n%v", err)
	if !n.has("eth0", "192.0.2.55/32") || !n.has("eth0", "192.0.2.56/32") {
		t.Errorf("the others are not bound: %q", n.show("eth0"))
	}
	if err := a.Set(nil); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(before, n.show("eth0")); d != "" {
		t.Errorf("addresses: -before +after\n%s", d)
	}
}

// Who makes our address his own, by giving it another lifetime or a prefix,
// keeps it.
func TestNetnsAddressesTakenOverByAnOperator(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	vips := n.vips("192.0.2.50", "192.0.2.51")
	if err := a.Set(vips); err != nil {
		t.Fatal(err)
	}
	n.Run("ip", "addr", "replace", "192.0.2.50/32", "dev", "eth0")
	n.Run("ip", "addr", "add", "192.0.2.51/24", "dev", "eth0")
	for range 2 {
		if err := a.Set(vips); !errors.Is(err, host.ErrForeign) {
			t.Errorf("error is %v, want ErrForeign", err)
		}
	}
	if err := a.Set(nil); err != nil {
		t.Error(err)
	}
	if !n.has("eth0", "192.0.2.50/32") || !n.has("eth0", "192.0.2.51/24") || n.has("eth0", "192.0.2.51/32") {
		t.Errorf("got %q", n.show("eth0"))
	}
}

func TestNetnsAddressesOnALinkThatIsDeleted(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	n.Run("ip", "link", "add", "br9", "type", "bridge")
	gone := []host.VirtualAddress{{Link: n.Index("br9"), Address: netip.MustParseAddr("198.51.100.50")}}
	if err := a.Set(gone); err != nil {
		t.Fatal(err)
	}
	n.Run("ip", "link", "del", "br9")
	err := a.Set(append(n.vips("192.0.2.50"), gone...))
	var ae *host.AddressError
	if !errors.As(err, &ae) || ae.VirtualAddress != gone[0] {
		t.Errorf("error is %v, want one of %v", err, gone[0])
	}
	t.Logf("the error reads: %v", err)
	if !n.has("eth0", "192.0.2.50/32") {
		t.Errorf("the other is not bound: %q", n.show("eth0"))
	}
	if err := a.Set(nil); err != nil {
		t.Errorf("nothing wanted: %v", err)
	}
}

// The kernel never chooses a virtual address as a source by itself, not even
// if it is the first one, or the only one in the destination's subnet.
func TestNetnsVirtualAddressIsNoSource(t *testing.T) {
	n := newNode(t)
	n.Run("ip", "addr", "flush", "dev", "eth0")
	a := n.addresses()
	if err := a.Set(n.vips("192.0.2.50", "10.4.0.50")); err != nil {
		t.Fatal(err)
	}
	n.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
	n.Run("ip", "route", "add", "default", "via", "192.0.2.254", "dev", "eth0")
	n.Run("ip", "route", "add", "10.4.0.0/24", "dev", "eth0")
	for _, to := range []string{
		"192.0.2.7", "10.4.0.7", "203.0.113.5", "224.0.0.18 oif eth0", "239.1.1.1 oif eth0", "255.255.255.255 oif eth0",
	} {
		route := n.Run("ip", append([]string{"-o", "route", "get"}, strings.Fields(to)...)...)
		if !strings.Contains(route, " src 192.0.2.1 ") {
			t.Errorf("to %s: %s", to, route)
		}
	}
}

// A neighbor reaches a virtual address although its scope is host.
func TestNetnsVirtualAddressIsReachable(t *testing.T) {
	l := netnstest.NewLAN(t, 2)
	n := node{NS: l.Hosts[0], t: t}
	if err := n.addresses().Set(n.vips("192.0.2.50")); err != nil {
		t.Fatal(err)
	}
	server := l.Hosts[0].Listen("tcp", "192.0.2.50:80")
	go func() {
		if c, err := server.Accept(); err == nil {
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := l.Hosts[1].DialContext(ctx, "tcp", "192.0.2.50:80")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestNetnsAddressesManyAtOnce(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	index := n.Index("eth0")
	var vips []host.VirtualAddress
	for i := range 255 {
		vips = append(vips, host.VirtualAddress{Link: index, Address: netip.AddrFrom4([4]byte{10, 4, 1, byte(i + 1)})})
	}
	for _, step := range []struct {
		name string
		want []host.VirtualAddress
	}{{"add", vips}, {"renew", vips}, {"remove", nil}} {
		start := time.Now()
		if err := a.Set(step.want); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		t.Logf("measured: %s_255_addresses=%.1fms target=50ms", step.name, float64(time.Since(start).Microseconds())/1000)
		if got := len(n.show("eth0")); got != 1+len(step.want) {
			t.Errorf("%s: %d addresses, want %d", step.name, got, 1+len(step.want))
		}
	}
	// A failure for each of them must not overrun the socket.
	n.Run("ip", "link", "add", "br9", "type", "bridge")
	gone := n.Index("br9")
	n.Run("ip", "link", "del", "br9")
	for i := range vips {
		vips[i].Link = gone
	}
	err := a.Set(vips)
	if got := len(err.(interface{ Unwrap() []error }).Unwrap()); got != len(vips) {
		t.Errorf("%d errors, want %d", got, len(vips))
	}
}
