package host_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

const lifetime = 2 * time.Second

// node is a network namespace with the link eth0, 192.0.2.1/24, that has no IPv6
// address.
type node struct {
	*netnstest.NS
	t *testing.T
}

func newNode(t *testing.T) node {
	t.Helper()
	return nodes(netnstest.NewLAN(t, 1), t)[0]
}

// nodes are the hosts of a segment.
func nodes(l *netnstest.LAN, t *testing.T) []node {
	t.Helper()
	var all []node
	for _, h := range l.Hosts {
		h.Sysctl("net.ipv6.conf.eth0.addr_gen_mode", "1")
		h.Run("ip", "-6", "addr", "flush", "dev", "eth0")
		all = append(all, node{NS: h, t: t})
	}
	return all
}

// addresses is an Addresses that is used only inside the node's namespace.
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

// vips returns virtual addresses on eth0.
func (n node) vips(addresses ...string) []host.VirtualAddress {
	n.t.Helper()
	index := n.Index("eth0")
	var vips []host.VirtualAddress
	for _, a := range addresses {
		vips = append(vips, host.VirtualAddress{Link: index, Address: netip.MustParseAddr(a)})
	}
	return vips
}

// show returns the addresses of a link as ip(8) shows them, without their
// lifetimes.
func (n node) show(link string) []string {
	n.t.Helper()
	var shown []string
	for line := range strings.SplitSeq(n.Run("ip", "addr", "show", "dev", link), "\n") {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "inet") {
			shown = append(shown, line)
		}
	}
	return shown
}

func (n node) has(link string, prefixes ...string) bool {
	n.t.Helper()
	shown := n.show(link)
	return !slices.ContainsFunc(prefixes, func(p string) bool {
		return !slices.ContainsFunc(shown, func(s string) bool { return strings.Fields(s)[1] == p })
	})
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
		{name: "IPv6 beside IPv4", want: []string{"10.4.0.50", "2001:db8::50", "2001:db8::51"}, show: []string{"10.4.0.50", "2001:db8::50", "2001:db8::51"}},
		{name: "the same again", want: []string{"10.4.0.50", "2001:db8::50", "2001:db8::51"}, show: []string{"10.4.0.50", "2001:db8::50", "2001:db8::51"}},
		{name: "replace one of each", want: []string{"2001:db8::52", "10.4.0.51", "2001:db8::51"}, show: []string{"10.4.0.51", "2001:db8::51", "2001:db8::52"}},
		{name: "link-local", want: []string{"fe80::50"}, show: []string{"fe80::50"}},
		{name: "none"},
	}
	for _, s := range steps {
		if err := a.Set(n.vips(s.want...)); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		want := []string{"inet 192.0.2.1/24 scope global eth0"}
		for _, v := range s.show {
			switch {
			case strings.HasPrefix(v, "fe80:"):
				v = "inet6 " + v + "/128 scope link nodad deprecated dynamic noprefixroute"
			case strings.Contains(v, ":"):
				v = "inet6 " + v + "/128 scope global nodad deprecated dynamic noprefixroute"
			default:
				v = "inet " + v + "/32 scope host dynamic noprefixroute eth0:vip"
			}
			want = append(want, v)
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
	vips := n.vips("192.0.2.50", "192.0.2.51", "2001:db8::50", "2001:db8::51")
	for _, do := range []string{"add", "put back", "put back again"} {
		if err := a.Set(vips); err != nil {
			t.Fatalf("%s: %v", do, err)
		}
		if !n.has("eth0", "192.0.2.50/32", "192.0.2.51/32", "2001:db8::50/128", "2001:db8::51/128") {
			t.Fatalf("%s: got %q", do, n.show("eth0"))
		}
		n.Run("ip", "addr", "del", "192.0.2.51/32", "dev", "eth0")
		n.Run("ip", "addr", "del", "2001:db8::51/128", "dev", "eth0")
	}
}

// The kernel removes addresses that are not renewed, and keeps those that are.
func TestNetnsAddressesLifetime(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	vips := n.vips("192.0.2.50", "192.0.2.51", "2001:db8::50", "2001:db8::51")
	start := time.Now()
	var renewed time.Time
	for time.Since(start) < 3*lifetime {
		renewed = time.Now()
		if err := a.Set(vips); err != nil {
			t.Fatal(err)
		}
		for time.Since(renewed) < lifetime/4 {
			if shown := n.show("eth0"); time.Since(renewed) < lifetime/2 && len(shown) != 1+len(vips) {
				t.Fatalf("%s after they were renewed there are only %q", time.Since(renewed), shown)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	expired := map[string]time.Duration{}
	eventually(t, "addresses go", func() bool {
		shown := strings.Join(n.show("eth0"), "\n")
		for name, prefix := range map[string]string{"address_expiry": "inet 192.0.2.5", "ipv6_address_expiry": "inet6 2001:db8::5"} {
			if expired[name] == 0 && !strings.Contains(shown, prefix) {
				expired[name] = time.Since(renewed)
			}
		}
		return len(expired) == 2
	})
	for name, after := range expired {
		t.Logf("measured: %s=%.2fs target=3s", name, after.Seconds())
		if after > 15*time.Second {
			t.Errorf("%s: gone %s after they were renewed for the last time", name, after)
		}
	}
}

func TestNetnsAddressesRemoveLeftovers(t *testing.T) {
	n := newNode(t)
	n.Run("ip", "link", "add", "a-name-of-15-ch", "type", "bridge")
	n.Run("ip", "addr", "add", "198.51.100.1/24", "dev", "a-name-of-15-ch")
	other := n.Index("a-name-of-15-ch")
	left := append(n.vips("192.0.2.50", "192.0.2.51"),
		host.VirtualAddress{Link: other, Address: netip.MustParseAddr("198.51.100.50")},
		host.VirtualAddress{Link: n.Index("eth0"), Address: netip.MustParseAddr("2001:db8::50")},
		host.VirtualAddress{Link: other, Address: netip.MustParseAddr("2001:db8::51")},
	)
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

// An address of an operator is neither changed nor removed, however similar it is.
func TestNetnsAddressesLeaveForeignOnesAlone(t *testing.T) {
	n := newNode(t)
	for _, args := range []string{
		"192.0.2.50/32 dev eth0",
		"192.0.2.51/24 dev eth0",
		"192.0.2.52/32 dev eth0 label eth0:vip",
		"192.0.2.53/32 dev eth0 label eth0:vip scope host",
		"192.0.2.54/32 dev eth0 valid_lft 1000 preferred_lft 1000 noprefixroute",
		"192.0.2.55/32 dev lo",
		"2001:db8::50/128 dev eth0 nodad noprefixroute",
		"2001:db8::51/64 dev eth0 nodad",
		"2001:db8::52/64 dev eth0 nodad valid_lft 1000 preferred_lft 0 noprefixroute",
		"2001:db8::53/128 dev eth0 valid_lft 1000 preferred_lft 500 noprefixroute",
		"2001:db8::54/128 dev eth0 nodad valid_lft 1000 preferred_lft 0 noprefixroute",
		"2001:db8::55/128 dev lo",
	} {
		n.Run("ip", append([]string{"addr", "add"}, strings.Fields(args)...)...)
	}
	eventually(t, "duplicate address detection ends", func() bool { return !strings.Contains(strings.Join(n.show("eth0"), "\n"), "tentative") })
	before := n.show("eth0")
	a := n.addresses()
	if found, err := a.RemoveLeftovers(); len(found) != 0 || err != nil {
		t.Errorf("leftovers: %v, %v", found, err)
	}
	foreign := n.vips("192.0.2.50", "192.0.2.51", "192.0.2.52", "192.0.2.53", "192.0.2.54", "192.0.2.1",
		"2001:db8::50", "2001:db8::51", "2001:db8::52", "2001:db8::53", "2001:db8::54")
	free := n.vips("192.0.2.55", "192.0.2.56", "2001:db8::55", "2001:db8::56")
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
	if !n.has("eth0", "192.0.2.55/32", "192.0.2.56/32", "2001:db8::55/128", "2001:db8::56/128") {
		t.Errorf("the others are not bound: %q", n.show("eth0"))
	}
	if err := a.Set(nil); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(before, n.show("eth0")); d != "" {
		t.Errorf("addresses: -before +after\n%s", d)
	}
}

// An operator who gives a virtual address another lifetime or prefix takes it over.
func TestNetnsAddressesTakenOverByAnOperator(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	vips := n.vips("192.0.2.50", "192.0.2.51", "2001:db8::50", "2001:db8::51")
	if err := a.Set(vips); err != nil {
		t.Fatal(err)
	}
	n.Run("ip", "addr", "replace", "192.0.2.50/32", "dev", "eth0")
	n.Run("ip", "addr", "add", "192.0.2.51/24", "dev", "eth0")
	// IPv6 has one address of a number on a link, whatever its prefix.
	n.Run("ip", "addr", "replace", "2001:db8::50/64", "dev", "eth0")
	n.Run("ip", "addr", "replace", "2001:db8::51/128", "dev", "eth0", "valid_lft", "1000", "preferred_lft", "1000")
	for range 2 {
		err := a.Set(vips)
		for i, e := range err.(interface{ Unwrap() []error }).Unwrap() {
			var ae *host.AddressError
			if !errors.As(e, &ae) || !errors.Is(e, host.ErrForeign) || ae.VirtualAddress != vips[i] {
				t.Errorf("error is %v, want ErrForeign of %v", e, vips[i])
			}
		}
	}
	if err := a.Set(nil); err != nil {
		t.Error(err)
	}
	if !n.has("eth0", "192.0.2.50/32", "192.0.2.51/24", "2001:db8::50/128", "2001:db8::51/128") || n.has("eth0", "192.0.2.51/32") {
		t.Errorf("got %q", n.show("eth0"))
	}
}

func TestNetnsAddressesOnALinkThatIsDeleted(t *testing.T) {
	n := newNode(t)
	a := n.addresses()
	n.Run("ip", "link", "add", "br9", "type", "bridge")
	br9 := n.Index("br9")
	gone := []host.VirtualAddress{
		{Link: br9, Address: netip.MustParseAddr("198.51.100.50")}, {Link: br9, Address: netip.MustParseAddr("2001:db8::50")},
	}
	if err := a.Set(gone); err != nil {
		t.Fatal(err)
	}
	n.Run("ip", "link", "del", "br9")
	err := a.Set(slices.Concat(n.vips("192.0.2.50", "2001:db8::50"), gone))
	for i, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		var ae *host.AddressError
		if !errors.As(e, &ae) || ae.VirtualAddress != gone[i] {
			t.Errorf("error is %v, want one of %v", e, gone[i])
		}
	}
	t.Logf("the error reads: %v", err)
	if !n.has("eth0", "192.0.2.50/32", "2001:db8::50/128") {
		t.Errorf("the other is not bound: %q", n.show("eth0"))
	}
	if err := a.Set(nil); err != nil {
		t.Errorf("nothing wanted: %v", err)
	}
}

// The kernel never selects a virtual address as a source, not even if it is the first
// one, or the only one in the destination's subnet.
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
	all := nodes(netnstest.NewLAN(t, 2), t)
	n, client := all[0], all[1]
	if err := n.addresses().Set(n.vips("192.0.2.50")); err != nil {
		t.Fatal(err)
	}
	n.answer("192.0.2.50:80")
	client.dial("192.0.2.50:80")
}

// answer accepts connections and sends each of them its source address.
func (n node) answer(address string) {
	n.t.Helper()
	server := n.Listen("tcp", address)
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().String())
			c.Close()
		}
	}()
}

// dial connects to an answer and returns the source address of the connection.
func (n node) dial(address string) netip.Addr {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	c, err := n.DialContext(ctx, "tcp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	if err != nil {
		n.t.Fatal(err)
	}
	from, err := netip.ParseAddrPort(string(said))
	if err != nil {
		n.t.Fatal(err)
	}
	return from.Addr()
}

func TestNetnsAddressesManyAtOnce(t *testing.T) {
	for name, first := range map[string]string{"255_addresses": "10.4.1.1", "255_ipv6_addresses": "2001:db8::1:1"} {
		t.Run(name, func(t *testing.T) { manyAtOnce(t, name, netip.MustParseAddr(first)) })
	}
}

func manyAtOnce(t *testing.T, name string, address netip.Addr) {
	n := newNode(t)
	a := n.addresses()
	index := n.Index("eth0")
	var vips []host.VirtualAddress
	for range 255 {
		vips = append(vips, host.VirtualAddress{Link: index, Address: address})
		address = address.Next()
	}
	for _, step := range []struct {
		name string
		want []host.VirtualAddress
	}{{"add", vips}, {"renew", vips}, {"remove", nil}} {
		start := time.Now()
		if err := a.Set(step.want); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		t.Logf("measured: %s_%s=%.1fms target=50ms", step.name, name, float64(time.Since(start).Microseconds())/1000)
		if got := len(n.show("eth0")); got != 1+len(step.want) {
			t.Errorf("%s: %d addresses, want %d", step.name, got, 1+len(step.want))
		}
	}
	// An error for each address must not overflow the receive buffer.
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
