package host

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// littleEndian skips a test whose golden bytes are of the other kind.
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

func TestAddressMessages(t *testing.T) {
	littleEndian(t)
	vip := labeled{VirtualAddress{Link: 3, Address: netip.MustParseAddr("10.4.0.50")}, "eth0:vip"}
	const start = `
		02 20 00 fe 03000000            AF_INET /32 flags scope=host link
		0800 0200 0a040032              IFA_LOCAL
		0800 0100 0a040032              IFA_ADDRESS
		0d00 0300 657468303a76697000 000000   IFA_LABEL "eth0:vip"`
	const lease = `
		0800 0800 00020000              IFA_FLAGS noprefixroute
		1400 0600 02000000 02000000 00000000 00000000   IFA_CACHEINFO preferred valid created updated
		0500 0b00 fb 000000             IFA_PROTO`
	tests := []struct {
		name  string
		got   func() (uint16, uint16, []byte)
		typ   uint16
		flags uint16
		data  string
	}{
		{
			name: "add",
			got: func() (uint16, uint16, []byte) {
				m := newAddress(vip, 2, false)
				return uint16(m.Header.Type), uint16(m.Header.Flags), m.Data
			},
			typ: unix.RTM_NEWADDR, flags: unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_EXCL, data: start + lease,
		},
		{
			name: "renew",
			got: func() (uint16, uint16, []byte) {
				m := newAddress(vip, 2, true)
				return uint16(m.Header.Type), uint16(m.Header.Flags), m.Data
			},
			typ: unix.RTM_NEWADDR, flags: unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_REPLACE, data: start + lease,
		},
		{
			name: "remove",
			got: func() (uint16, uint16, []byte) {
				m := deleteAddress(vip)
				return uint16(m.Header.Type), uint16(m.Header.Flags), m.Data
			},
			typ: unix.RTM_DELADDR, flags: unix.NLM_F_REQUEST, data: start,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			typ, flags, data := tt.got()
			if typ != tt.typ || flags != tt.flags {
				t.Errorf("type %d, flags %#x, want %d, %#x", typ, flags, tt.typ, tt.flags)
			}
			if d := cmp.Diff(hex.Dump(unhex(t, withoutNotes(tt.data))), hex.Dump(data)); d != "" {
				t.Errorf("data: -want +got\n%s", d)
			}
		})
	}
}

// withoutNotes cuts each line off where the notes begin, at three blanks.
func withoutNotes(text string) string {
	var b strings.Builder
	for _, line := range strings.Split(text, "\n") {
		bytes, _, _ := strings.Cut(strings.TrimSpace(line), "   ")
		b.WriteString(bytes + "\n")
	}
	return b.String()
}

func TestParseAddress(t *testing.T) {
	vip := labeled{VirtualAddress{Link: 3, Address: netip.MustParseAddr("10.4.0.50")}, "eth0:vip"}
	ours := newAddress(vip, 2, false).Data
	flags := func(f uint32) []byte { return binary.NativeEndian.AppendUint32(nil, f) }
	// address is one on link 3 with an address, a label and flags.
	address := func(bits, scope uint8, label string, f uint32, more ...byte) []byte {
		b := appendAddressHeader(nil, 3, bits, scope)
		b = appendAttribute(b, unix.IFA_LOCAL, []byte{10, 4, 0, 50})
		b = appendAttribute(b, unix.IFA_LABEL, append([]byte(label), 0))
		return append(appendAttribute(b, unix.IFA_FLAGS, flags(f)), more...)
	}
	mark := appendAttribute(nil, attributeProtocol, []byte{protocol})
	kernel := appendAttribute(nil, attributeProtocol, []byte{2})
	single := netip.MustParsePrefix("10.4.0.50/32")
	tests := []struct {
		name string
		data []byte
		want Address
	}{
		{"what we ask for", ours, Address{Prefix: single, Ours: true, Scope: 254, Label: "eth0:vip"}},
		{"the mark without our label", address(32, 254, "eth0", unix.IFA_F_NOPREFIXROUTE, mark...), Address{Prefix: single, Ours: true, Scope: 254, Label: "eth0"}},
		{"our label where the kernel keeps no mark", address(32, 254, "eth0:vip", 0), Address{Prefix: single, Ours: true, Scope: 254, Label: "eth0:vip"}},
		{"our label with another mark", address(32, 254, "eth0:vip", 0, kernel...), Address{Prefix: single, Scope: 254, Label: "eth0:vip"}},
		{"our label with another scope", address(32, 0, "eth0:vip", 0), Address{Prefix: single, Label: "eth0:vip"}},
		{"our mark, made permanent", address(32, 254, "eth0:vip", unix.IFA_F_PERMANENT, mark...), Address{Prefix: single, Permanent: true, Scope: 254, Label: "eth0:vip"}},
		{"our mark on a subnet", address(24, 254, "eth0", 0, mark...), Address{Prefix: netip.MustParsePrefix("10.4.0.50/24"), Scope: 254, Label: "eth0"}},
		{"an operator's", address(24, 0, "eth0", unix.IFA_F_PERMANENT), Address{Prefix: netip.MustParsePrefix("10.4.0.50/24"), Permanent: true, Label: "eth0"}},
		{"secondary", address(24, 0, "eth0", unix.IFA_F_PERMANENT|unix.IFA_F_SECONDARY), Address{Prefix: netip.MustParsePrefix("10.4.0.50/24"), Permanent: true, Secondary: true, Label: "eth0"}},
		{"of a point-to-point link", appendAttribute(address(32, 0, "ppp0", unix.IFA_F_PERMANENT), unix.IFA_ADDRESS, []byte{10, 0, 0, 1}), Address{Prefix: single, Permanent: true, Label: "ppp0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			link, got, ok, err := parseAddress(tt.data)
			if err != nil || !ok || link != 3 {
				t.Fatalf("link %d, ok %t, error %v", link, ok, err)
			}
			if d := cmp.Diff(tt.want, got, comparePrefixes); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

func TestParseLink(t *testing.T) {
	message := func(family uint8, flags uint32) []byte {
		b := listLinks(7)
		b[0] = family
		binary.NativeEndian.PutUint32(b[8:], flags)
		b = appendAttribute(b, unix.IFLA_IFNAME, []byte("eth1\x00"))
		b = appendAttribute(b, unix.IFLA_ADDRESS, []byte{2, 0, 0, 0, 0, 1})
		return appendAttribute(b, unix.IFLA_LINKINFO, appendAttribute(nil, unix.IFLA_INFO_KIND, []byte("veth\x00")))
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	tests := []struct {
		name string
		data []byte
		ok   bool
		want Link
	}{
		{
			"down", message(0, unix.IFF_MULTICAST), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Multicast: true, Kind: "veth"},
		},
		{
			"up without a carrier", message(0, unix.IFF_UP|unix.IFF_MULTICAST), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Up: true, Multicast: true, Kind: "veth"},
		},
		{
			"up", message(0, unix.IFF_UP|unix.IFF_LOWER_UP|unix.IFF_MULTICAST), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Up: true, Running: true, Multicast: true, Kind: "veth"},
		},
		{
			"loopback", message(0, unix.IFF_UP|unix.IFF_LOWER_UP|unix.IFF_LOOPBACK), true,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Up: true, Running: true, Loopback: true, Kind: "veth"},
		},
		{
			"what a bridge says of its port", message(unix.AF_BRIDGE, 0), false,
			Link{Index: 7, Name: "eth1", HardwareAddr: mac, Kind: "veth"},
		},
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

func FuzzParse(f *testing.F) {
	vip := labeled{VirtualAddress{Link: 3, Address: netip.MustParseAddr("10.4.0.50")}, "eth0:vip"}
	f.Add(newAddress(vip, 2, false).Data)
	f.Add(appendAttribute(listLinks(7), unix.IFLA_LINKINFO, appendAttribute(nil, unix.IFLA_INFO_KIND, []byte("veth\x00"))))
	f.Add([]byte{})
	f.Add(make([]byte, unix.SizeofIfInfomsg))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, a, ok, err := parseAddress(b); ok && (err != nil || !a.Prefix.IsValid()) {
			t.Errorf("address %v, error %v", a, err)
		}
		if _, ok, err := parseLink(b); ok && err != nil {
			t.Errorf("link with error %v", err)
		}
	})
}
