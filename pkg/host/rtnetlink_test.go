package host

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// littleEndian skips a test with little-endian golden bytes on other machines.
func littleEndian(t *testing.T) {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the bytes in this test are little-endian")
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// data returns a request without its header.
func data(r *nl.NetlinkRequest) []byte { return r.Serialize()[unix.SizeofNlMsghdr:] }

func attribute(typ int, value string) []byte { return nl.NewRtAttr(typ, []byte(value)).Serialize() }

func linkHeader(index int) []byte {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	return slices.Clone(header.Serialize())
}

func TestAddressMessages(t *testing.T) {
	littleEndian(t)
	vip := addressWithLabel{VirtualAddress{Link: 3, Address: netip.MustParseAddr("10.4.0.50")}, "eth0:vip"}
	const start = `
		02 20 00 fe 03000000            AF_INET /32 flags scope=host link
		0800 0200 0a040032              IFA_LOCAL
		0800 0100 0a040032              IFA_ADDRESS
		0d00 0300 657468303a76697000 000000   IFA_LABEL "eth0:vip"`
	const lease = `
		0800 0800 00020000              IFA_FLAGS noprefixroute
		1400 0600 02000000 02000000 00000000 00000000   IFA_CACHEINFO preferred valid created updated
		0500 0b00 fb 000000             IFA_PROTO`
	vip6 := addressWithLabel{VirtualAddress: VirtualAddress{Link: 3, Address: netip.MustParseAddr("2001:db8::50")}}
	const start6 = `
		0a 80 00 00 03000000            AF_INET6 /128 flags scope link
		1400 0200 20010db8 00000000 00000000 00000050   IFA_LOCAL
		1400 0100 20010db8 00000000 00000000 00000050   IFA_ADDRESS`
	const lease6 = `
		0800 0800 02020000              IFA_FLAGS noprefixroute nodad
		1400 0600 00000000 02000000 00000000 00000000   IFA_CACHEINFO preferred valid created updated
		0500 0b00 fb 000000             IFA_PROTO`
	tests := []struct {
		name  string
		got   *nl.NetlinkRequest
		typ   uint16
		flags uint16
		data  string
	}{
		{
			name: "add", got: newAddress(vip, 2, false),
			typ: unix.RTM_NEWADDR, flags: unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_EXCL, data: start + lease,
		},
		{
			name: "renew", got: newAddress(vip, 2, true),
			typ: unix.RTM_NEWADDR, flags: unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_REPLACE, data: start + lease,
		},
		{
			name: "remove", got: deleteAddress(vip),
			typ: unix.RTM_DELADDR, flags: unix.NLM_F_REQUEST, data: start,
		},
		{
			name: "add IPv6", got: newAddress(vip6, 2, false),
			typ: unix.RTM_NEWADDR, flags: unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_EXCL, data: start6 + lease6,
		},
		{
			name: "renew IPv6", got: newAddress(vip6, 2, true),
			typ: unix.RTM_NEWADDR, flags: unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_REPLACE, data: start6 + lease6,
		},
		{
			name: "remove IPv6", got: deleteAddress(vip6),
			typ: unix.RTM_DELADDR, flags: unix.NLM_F_REQUEST, data: start6,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.got.Type != tt.typ || tt.got.Flags != tt.flags {
				t.Errorf("type %d, flags %#x, want %d, %#x", tt.got.Type, tt.got.Flags, tt.typ, tt.flags)
			}
			if d := cmp.Diff(hex.Dump(unhex(t, withoutNotes(tt.data))), hex.Dump(data(tt.got))); d != "" {
				t.Errorf("data: -want +got\n%s", d)
			}
		})
	}
}

// withoutNotes removes the notes from each line, which follow three spaces.
func withoutNotes(text string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		bytes, _, _ := strings.Cut(strings.TrimSpace(line), "   ")
		b.WriteString(bytes + "\n")
	}
	return b.String()
}

func TestParseAddress(t *testing.T) {
	vip := addressWithLabel{VirtualAddress{Link: 3, Address: netip.MustParseAddr("10.4.0.50")}, "eth0:vip"}
	request := data(newAddress(vip, 2, false))
	// address returns a message about an IPv4 address with a label and flags on link 3.
	address := func(bits, scope uint8, label string, f uint32, more ...byte) []byte {
		header := nl.NewIfAddrmsg(unix.AF_INET)
		header.Index, header.Prefixlen, header.Scope = 3, bits, scope
		return slices.Concat(
			header.Serialize(),
			attribute(unix.IFA_LOCAL, "\x0a\x04\x00\x32"),
			attribute(unix.IFA_LABEL, label+"\x00"),
			attribute(unix.IFA_FLAGS, string(nl.Uint32Attr(f))),
			more,
		)
	}
	mark := attribute(attributeProtocol, "\xfb")
	kernel := attribute(attributeProtocol, "\x02")
	single := netip.MustParsePrefix("10.4.0.50/32")

	vip6 := addressWithLabel{VirtualAddress: VirtualAddress{Link: 3, Address: netip.MustParseAddr("2001:db8::50")}}
	// virtual are the kernel's flags of an IPv6 virtual address.
	const virtual = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_DEPRECATED
	// address6 returns a message about an IPv6 address with flags and the rest of its
	// lifetime on link 3.
	address6 := func(bits uint8, f, valid uint32, more ...byte) []byte {
		header := nl.NewIfAddrmsg(unix.AF_INET6)
		header.Index, header.Prefixlen = 3, bits
		return slices.Concat(
			header.Serialize(),
			attribute(unix.IFA_ADDRESS, string(vip6.Address.AsSlice())),
			attribute(unix.IFA_CACHEINFO, "\x00\x00\x00\x00"+string(nl.Uint32Attr(valid))+"\x00\x00\x00\x00\x00\x00\x00\x00"),
			attribute(unix.IFA_FLAGS, string(nl.Uint32Attr(f))),
			more,
		)
	}
	single6, subnet6 := netip.MustParsePrefix("2001:db8::50/128"), netip.MustParsePrefix("2001:db8::50/64")
	tests := []struct {
		name string
		data []byte
		want Address
	}{
		{"as requested", request, Address{Prefix: single, Owned: true, scope: 254, label: "eth0:vip"}},
		{"the mark with another label", address(32, 254, "eth0", unix.IFA_F_NOPREFIXROUTE, mark...), Address{Prefix: single, Owned: true, scope: 254, label: "eth0"}},
		{"the label, on a kernel without marks", address(32, 254, "eth0:vip", 0), Address{Prefix: single, Owned: true, scope: 254, label: "eth0:vip"}},
		{"the label with another mark", address(32, 254, "eth0:vip", 0, kernel...), Address{Prefix: single, scope: 254, label: "eth0:vip"}},
		{"the label with another scope", address(32, 0, "eth0:vip", 0), Address{Prefix: single, label: "eth0:vip"}},
		{"the mark, made permanent", address(32, 254, "eth0:vip", unix.IFA_F_PERMANENT, mark...), Address{Prefix: single, permanent: true, scope: 254, label: "eth0:vip"}},
		{"the mark on a subnet", address(24, 254, "eth0", 0, mark...), Address{Prefix: netip.MustParsePrefix("10.4.0.50/24"), scope: 254, label: "eth0"}},
		{"an operator's", address(24, 0, "eth0", unix.IFA_F_PERMANENT), Address{Prefix: netip.MustParsePrefix("10.4.0.50/24"), permanent: true, label: "eth0"}},
		{"secondary", address(24, 0, "eth0", unix.IFA_F_PERMANENT|unix.IFA_F_SECONDARY), Address{Prefix: netip.MustParsePrefix("10.4.0.50/24"), permanent: true, Secondary: true, label: "eth0"}},
		{"of a point-to-point link", address(32, 0, "ppp0", unix.IFA_F_PERMANENT, attribute(unix.IFA_ADDRESS, "\x0a\x00\x00\x01")...), Address{Prefix: single, permanent: true, label: "ppp0"}},

		{"IPv6, as requested", data(newAddress(vip6, 2, false)), Address{Prefix: single6, Owned: true}},
		{"IPv6, the mark", address6(128, virtual, 1, mark...), Address{Prefix: single6, Owned: true}},
		{"IPv6, the mark with a longer lifetime", address6(128, virtual, 100, mark...), Address{Prefix: single6, Owned: true}},
		{"IPv6, the mark, made permanent", address6(128, virtual|unix.IFA_F_PERMANENT, forever, mark...), Address{Prefix: single6, permanent: true}},
		{"IPv6, the mark on a subnet", address6(64, virtual, 2, mark...), Address{Prefix: subnet6}},
		{"IPv6, on a kernel without marks", address6(128, virtual, 2), Address{Prefix: single6, Owned: true}},
		{"IPv6, with another mark", address6(128, virtual, 2, kernel...), Address{Prefix: single6}},
		{"IPv6, no mark and a longer lifetime", address6(128, virtual, 3), Address{Prefix: single6}},
		{"IPv6, no mark and no lifetime", address6(128, virtual, forever), Address{Prefix: single6}},
		{"IPv6, no mark on a subnet", address6(64, virtual, 2), Address{Prefix: subnet6}},
		{"DHCPv6, about to end", address6(128, virtual&^unix.IFA_F_NODAD, 1), Address{Prefix: single6}},
		{"SLAAC, about to end", address6(128, virtual&^unix.IFA_F_NOPREFIXROUTE&^unix.IFA_F_NODAD, 1), Address{Prefix: single6}},
		{"an operator's, still preferred", address6(128, virtual&^unix.IFA_F_DEPRECATED, 2), Address{Prefix: single6}},
		{"an operator's, with a prefix route", address6(128, virtual&^unix.IFA_F_NOPREFIXROUTE, 2), Address{Prefix: single6}},
		{"IPv6, temporary", address6(64, unix.IFA_F_TEMPORARY, 100), Address{Prefix: subnet6}},
		{"IPv6, tentative", address6(64, unix.IFA_F_TENTATIVE, 100), Address{Prefix: subnet6, Tentative: true}},
		{"IPv6, optimistic", address6(64, unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC, 100), Address{Prefix: subnet6}},
		{"IPv6, duplicate", address6(64, unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC|unix.IFA_F_DADFAILED, 100), Address{Prefix: subnet6, Tentative: true}},
		{"IPv6, of a point-to-point link", address6(128, unix.IFA_F_PERMANENT, forever, attribute(unix.IFA_LOCAL, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x51")...), Address{Prefix: netip.MustParsePrefix("2001:db8::51/128"), permanent: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			link, got, ok, err := parseAddress(tt.data)
			if err != nil || !ok || link != 3 {
				t.Fatalf("link %d, ok %t, error %v", link, ok, err)
			}
			if d := cmp.Diff(tt.want, got, comparePrefixes, cmp.AllowUnexported(Address{})); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

func TestParseLink(t *testing.T) {
	message := func(family uint8, flags uint32, more ...byte) []byte {
		header := nl.NewIfInfomsg(int(family))
		header.Index, header.Flags = 7, flags
		return slices.Concat(
			header.Serialize(),
			attribute(unix.IFLA_IFNAME, "eth1\x00"),
			attribute(unix.IFLA_ADDRESS, "\x02\x00\x00\x00\x00\x01"),
			more,
		)
	}
	kind := func(kind string) []byte {
		return attribute(unix.IFLA_LINKINFO, string(attribute(unix.IFLA_INFO_KIND, kind+"\x00")))
	}
	// stacked returns a message about a link on top of link 5, with data of its kind.
	stacked := func(kind string, data []byte) []byte {
		return slices.Concat(attribute(unix.IFLA_LINK, "\x05\x00\x00\x00"), attribute(unix.IFLA_LINKINFO,
			string(slices.Concat(attribute(unix.IFLA_INFO_KIND, kind+"\x00"), attribute(unix.IFLA_INFO_DATA, string(data))))))
	}
	const up = unix.IFF_UP | unix.IFF_LOWER_UP | unix.IFF_MULTICAST
	veth := kind("veth")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	tests := []struct {
		name string
		data []byte
		ok   bool
		want Link
	}{
		{
			"down", message(0, unix.IFF_MULTICAST, veth...), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Multicast: true, Kind: "veth"},
		},
		{
			"up without a carrier", message(0, unix.IFF_UP|unix.IFF_MULTICAST, veth...), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Up: true, Multicast: true, Kind: "veth"},
		},
		{
			"up", message(0, unix.IFF_UP|unix.IFF_LOWER_UP|unix.IFF_MULTICAST, veth...), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Up: true, Running: true, Multicast: true, Kind: "veth"},
		},
		{
			"loopback", message(0, unix.IFF_UP|unix.IFF_LOWER_UP|unix.IFF_LOOPBACK, veth...), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Up: true, Running: true, Loopback: true, Kind: "veth"},
		},
		{
			"hardware", message(0, unix.IFF_MULTICAST), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Multicast: true},
		},
		{
			"dummy", message(0, unix.IFF_NOARP, kind("dummy")...), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Kind: "dummy"},
		},
		{
			"VLAN", message(0, up, stacked("vlan", attribute(unix.IFLA_VLAN_ID, "\x64\x00"))...), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Up: true, Running: true, Multicast: true, Kind: "vlan"},
		},
		{
			"VLAN whose lower link has no carrier", message(0, up&^unix.IFF_LOWER_UP, stacked("vlan", attribute(unix.IFLA_VLAN_ID, "\x64\x00"))...), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Up: true, Multicast: true, Kind: "vlan"},
		},
		{
			"bond", message(0, up|unix.IFF_MASTER, stacked("bond", attribute(unix.IFLA_BOND_MODE, "\x01"))...), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Up: true, Running: true, Multicast: true, Kind: "bond"},
		},
		{
			"member of a bond", message(0, up|unix.IFF_SLAVE, attribute(unix.IFLA_MASTER, "\x09\x00\x00\x00")...), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Up: true, Running: true, Multicast: true},
		},
		{
			"an unknown kind", message(0, 0, kind("other")...), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Kind: "other"},
		},
		{"a bridge port", message(unix.AF_BRIDGE, 0, veth...), false, Link{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok, err := parseLink(tt.data)
			if err != nil || ok != tt.ok {
				t.Fatalf("ok %t, error %v", ok, err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

func TestLabel(t *testing.T) {
	for link, want := range map[string]string{
		"e":               "e:vip",
		"eth0":            "eth0:vip",
		"eleven-char":     "eleven-char:vip",
		"twelve-chars":    "twelve-chars:vi",
		"thirteen-chrs":   "thirteen-chrs:v",
		"fourteen-chars":  "fourteen-chars:",
		"fifteen-letters": "fifteen-letter:",
		"":                "",
	} {
		got := label(link)
		if got != want {
			t.Errorf("label(%q) = %q, want %q", link, got, want)
		}
		if link != "" && !isLabel(got) {
			t.Errorf("isLabel(%q) = false", got)
		}
	}
	for _, l := range []string{"", "eth0", "fifteen-letters", "eth0:", "eth0:v", "eth0:vips", "eth0:1", "fourteen-chars"} {
		if isLabel(l) {
			t.Errorf("isLabel(%q) = true", l)
		}
	}
}

func TestParseMalformed(t *testing.T) {
	vip := addressWithLabel{VirtualAddress{Link: 3, Address: netip.MustParseAddr("10.4.0.50")}, "eth0:vip"}
	whole := data(newAddress(vip, 2, false))
	whole6 := data(newAddress(addressWithLabel{VirtualAddress: VirtualAddress{Link: 3, Address: netip.MustParseAddr("2001:db8::50")}}, 2, false))
	long := slices.Clone(whole)
	long[unix.SizeofIfAddrmsg] = 200
	for name, b := range map[string][]byte{
		"empty":             {},
		"half a header":     whole[:4],
		"half a word":       whole[:len(whole)-1],
		"half an attribute": whole[:len(whole)-4],
		"a long attribute":  long,
		"no address":        whole[:unix.SizeofIfAddrmsg],
		"short flags":       append(slices.Clone(whole), attribute(unix.IFA_FLAGS, "")...),
		"short protocol":    append(slices.Clone(whole), attribute(attributeProtocol, "")...),
		"half an address":   append(slices.Clone(whole), attribute(unix.IFA_LOCAL, "\x0a\x04")...),
		"short lifetime":    append(slices.Clone(whole), attribute(unix.IFA_CACHEINFO, "\x00\x00\x00\x00")...),
		"no IPv6 address":   append([]byte{unix.AF_INET6, 0}, whole6[2:unix.SizeofIfAddrmsg]...),
		"IPv6 in IPv4":      append(slices.Clone(whole), attribute(unix.IFA_LOCAL, string(make([]byte, 16)))...),
		"a long prefix":     append([]byte{unix.AF_INET, 33}, whole[2:]...),
		"a longer prefix":   append([]byte{unix.AF_INET6, 129}, whole6[2:]...),
		"IPv4 in IPv6":      append(slices.Clone(whole6), attribute(unix.IFA_LOCAL, "\x0a\x04\x00\x32")...),
	} {
		if _, a, ok, err := parseAddress(b); ok || err == nil {
			t.Errorf("%s: address %+v, ok %t, error %v", name, a, ok, err)
		}
	}
	for name, b := range map[string][]byte{
		"empty":             {},
		"half a header":     linkHeader(7)[:12],
		"half a word":       append(linkHeader(7), 0),
		"half an attribute": append(linkHeader(7), attribute(unix.IFLA_IFNAME, "eth0")[:4]...),
	} {
		if l, ok, err := parseLink(b); ok || err == nil {
			t.Errorf("%s: link %+v, ok %t, error %v", name, l, ok, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	vip := addressWithLabel{VirtualAddress{Link: 3, Address: netip.MustParseAddr("10.4.0.50")}, "eth0:vip"}
	f.Add(data(newAddress(vip, 2, false)))
	f.Add(data(deleteAddress(vip)))
	f.Add(data(newAddress(addressWithLabel{VirtualAddress: VirtualAddress{Link: 3, Address: netip.MustParseAddr("2001:db8::50")}}, 2, true)))
	f.Add([]byte{})
	f.Add(make([]byte, unix.SizeofIfInfomsg))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, a, ok, err := parseAddress(b); ok && (err != nil || !a.Prefix.IsValid()) {
			t.Errorf("address %v, error %v", a, err)
		}
	})
}
