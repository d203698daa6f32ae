package vrrp

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var cmpAddr = cmpopts.EquateComparable(netip.Addr{})

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func addrs(list ...string) []netip.Addr {
	as := make([]netip.Addr, 0, len(list))
	for _, s := range list {
		as = append(as, addr(s))
	}
	return as
}

// octets decodes hexadecimal digits; blanks separate fields for the reader.
func octets(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func groupHeader(source string) Header {
	return Header{Source: addr(source), Destination: GroupIPv4, TTL: TTL}
}

func password(s string) (p Password) {
	copy(p[:], s)
	return p
}

// goldenPackets were captured from keepalived 2.2.7 and FRR 8.4.4, except for those
// marked as computed.
var goldenPackets = []struct {
	name                string
	source, destination string
	payload             string
	want                Advertisement
	form                ChecksumForm
}{
	{
		name:   "keepalived v2",
		source: "192.0.2.1", destination: "224.0.0.18",
		payload: "2133960100018696 c0000233 0000000000000000",
		want:    Advertisement{Version: V2, VRID: 51, Priority: 150, Interval: time.Second, Addresses: addrs("192.0.2.51")},
		form:    ChecksumMessage,
	},
	{
		name:   "keepalived v2 PASS",
		source: "192.0.2.1", destination: "224.0.0.18",
		payload: "2134960101011816 c0000234 7365637265743132",
		want: Advertisement{
			Version: V2, VRID: 52, Priority: 150, Interval: time.Second, Addresses: addrs("192.0.2.52"),
			Authentication: AuthenticationSimpleTextPassword, Password: password("secret12"),
		},
		form: ChecksumMessage,
	},
	{
		name:   "keepalived v2 unicast",
		source: "192.0.2.1", destination: "192.0.2.2",
		payload: "213796010001868e c0000237 0000000000000000",
		want:    Advertisement{Version: V2, VRID: 55, Priority: 150, Interval: time.Second, Addresses: addrs("192.0.2.55")},
		form:    ChecksumMessage,
	},
	{
		name:   "keepalived v3",
		source: "192.0.2.1", destination: "224.0.0.18",
		payload: "31359602000a115a c0000235 c0000299",
		want:    Advertisement{Version: V3, VRID: 53, Priority: 150, Interval: 100 * ms, Addresses: addrs("192.0.2.53", "192.0.2.153")},
		form:    ChecksumPseudoHeader,
	},
	{
		name:   "keepalived v3 with the checksum of RFC 9568, computed",
		source: "192.0.2.1", destination: "224.0.0.18",
		payload: "31359602000ab3ee c0000235 c0000299",
		want:    Advertisement{Version: V3, VRID: 53, Priority: 150, Interval: 100 * ms, Addresses: addrs("192.0.2.53", "192.0.2.153")},
		form:    ChecksumMessage,
	},
	{
		name:   "keepalived v3 priority 0, computed",
		source: "192.0.2.1", destination: "224.0.0.18",
		payload: "31350002000aa75a c0000235 c0000299",
		want:    Advertisement{Version: V3, VRID: 53, Priority: 0, Interval: 100 * ms, Addresses: addrs("192.0.2.53", "192.0.2.153")},
		form:    ChecksumPseudoHeader,
	},
	{
		name:   "keepalived v3 priority 0 with the checksum of RFC 9568, computed",
		source: "192.0.2.1", destination: "224.0.0.18",
		payload: "31350002000a49ef c0000235 c0000299",
		want:    Advertisement{Version: V3, VRID: 53, Priority: 0, Interval: 100 * ms, Addresses: addrs("192.0.2.53", "192.0.2.153")},
		form:    ChecksumMessage,
	},
	{
		name:   "keepalived v3 unicast",
		source: "192.0.2.1", destination: "192.0.2.2",
		payload: "31389601000af202 c0000238",
		want:    Advertisement{Version: V3, VRID: 56, Priority: 150, Interval: 100 * ms, Addresses: addrs("192.0.2.56")},
		form:    ChecksumPseudoHeader,
	},
	{
		name:   "old keepalived v3 unicast, computed",
		source: "192.0.2.1", destination: "192.0.2.2",
		payload: "31389601000ad3f2 c0000238",
		want:    Advertisement{Version: V3, VRID: 56, Priority: 150, Interval: 100 * ms, Addresses: addrs("192.0.2.56")},
		form:    ChecksumGroupPseudoHeader,
	},
	{
		name:   "keepalived v3 IPv6",
		source: "fe80::1", destination: "ff02::12",
		payload: "31369602000a0dac fe800000000000000000000000000054 20010db8000000000000000000000054",
		want:    Advertisement{Version: V3, VRID: 54, Priority: 150, Interval: 100 * ms, Addresses: addrs("fe80::54", "2001:db8::54")},
		form:    ChecksumPseudoHeader,
	},
	{
		name:   "keepalived v3 IPv6 unicast",
		source: "fe80::1", destination: "fe80::2",
		payload: "31399601000a3c56 fe800000000000000000000000000057",
		want:    Advertisement{Version: V3, VRID: 57, Priority: 150, Interval: 100 * ms, Addresses: addrs("fe80::57")},
		form:    ChecksumPseudoHeader,
	},
	{
		name:   "FRR v2",
		source: "192.0.2.2", destination: "224.0.0.18",
		payload: "2147c8010001546e c0000247 0000000000000000",
		want:    Advertisement{Version: V2, VRID: 71, Priority: 200, Interval: time.Second, Addresses: addrs("192.0.2.71")},
		form:    ChecksumMessage,
	},
	{
		name:   "FRR v3",
		source: "192.0.2.2", destination: "224.0.0.18",
		payload: "3148c801000aa1d1 c0000248",
		want:    Advertisement{Version: V3, VRID: 72, Priority: 200, Interval: 100 * ms, Addresses: addrs("192.0.2.72")},
		form:    ChecksumPseudoHeader,
	},
	{
		name:   "FRR v3 IPv6",
		source: "fe80::cc5d:7f87:a93d:dc8b", destination: "ff02::12",
		payload: "3148c801000a08b4 20010db8000000000000000000000072",
		want:    Advertisement{Version: V3, VRID: 72, Priority: 200, Interval: 100 * ms, Addresses: addrs("2001:db8::72")},
		form:    ChecksumPseudoHeader,
	},
}

func TestGoldenAppend(t *testing.T) {
	t.Parallel()
	for _, tt := range goldenPackets {
		if tt.form == ChecksumGroupPseudoHeader {
			continue // It is never sent.
		}
		t.Run(tt.name, func(t *testing.T) {
			a := tt.want
			a.Checksum = tt.form
			prefix := []byte{0xde, 0xad, 0xbe}
			got := a.Append(prefix, addr(tt.source), addr(tt.destination))
			want := append([]byte{0xde, 0xad, 0xbe}, octets(tt.payload)...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if tt.form == ChecksumPseudoHeader { // the default
				a.Checksum = ChecksumNone
				if diff := cmp.Diff(want[3:], a.Append(nil, addr(tt.source), addr(tt.destination))); diff != "" {
					t.Errorf("without a form: -want +got\n%s", diff)
				}
			}
		})
	}
}

// TestRouterSendsGolden: a Router configured like the captured daemons sends the same
// octets.
func TestRouterSendsGolden(t *testing.T) {
	t.Parallel()
	for _, tt := range goldenPackets {
		if tt.form == ChecksumGroupPseudoHeader || tt.want.Priority == PriorityResign {
			continue
		}
		b := master(t, func(c *Config) {
			a, source, destination := tt.want, addr(tt.source), addr(tt.destination)
			*c = Config{
				Settings: Settings{Version: a.Version, Priority: a.Priority, AdvertisementInterval: a.Interval, Password: a.Password},
				Family:   FamilyOf(source), VRID: a.VRID, Addresses: a.Addresses, Source: source,
			}
			if destination != Group(c.Family) {
				c.Unicast, c.Peers = true, []netip.Addr{destination}
			}
			if a.Version == V3 && tt.form == ChecksumMessage {
				c.Checksum = ChecksumMessage
			}
		})
		b.untilTimer()
		out := b.r.Expire(b.now)
		if diff := cmp.Diff(octets(tt.payload), out.Send.Append(nil, addr(tt.source), addr(tt.destination))); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, diff)
		}
	}
}

// No implementation expects IPv6 without the pseudo-header, nor version 2 with it, so
// Append cannot write these forms.
func TestAppendNoOtherForm(t *testing.T) {
	t.Parallel()
	for _, tt := range goldenPackets {
		for f := range checksumForms {
			if tt.want.Version == V3 && addr(tt.source).Is4() {
				continue
			}
			a := tt.want
			a.Checksum = f
			got := a.Append(nil, addr(tt.source), addr(tt.destination))
			if diff := cmp.Diff(octets(tt.payload), got); diff != "" {
				t.Errorf("%s as %v: -want +got\n%s", tt.name, f, diff)
			}
		}
	}
}

func TestGoldenParse(t *testing.T) {
	t.Parallel()
	for _, tt := range goldenPackets {
		t.Run(tt.name, func(t *testing.T) {
			h := Header{Source: addr(tt.source), Destination: addr(tt.destination), TTL: TTL}
			// Nothing of the packet before may remain.
			got := Advertisement{
				Addresses: addrs("192.0.2.77", "192.0.2.78", "192.0.2.79"), Checksum: ChecksumMessage,
				Authentication: AuthenticationSimpleTextPassword, Password: password("leftover"),
			}
			form, d := Parse(h, octets(tt.payload), &got)
			if form != tt.form || d != DiscardNone {
				t.Errorf("got %v, discarded %v; want %v", form, d, tt.form)
			}
			if diff := cmp.Diff(tt.want, got, cmpAddr); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// base is the valid payload that the invalid ones derive from: version 3, VRID 53,
// priority 200, 10 cs, from 192.0.2.9.
const base = "3135c802000adf51c0000235c0000299"

// TestParseVectors parses the packets of broken and hostile routers.
func TestParseVectors(t *testing.T) {
	t.Parallel()
	baseAdvert := Advertisement{Version: V3, VRID: 53, Priority: 200, Interval: 100 * time.Millisecond, Addresses: addrs("192.0.2.53", "192.0.2.153")}
	with := func(change func(a *Advertisement)) *Advertisement {
		a := baseAdvert
		change(&a)
		return &a
	}
	tests := []struct {
		name    string
		header  Header
		payload string
		discard Discard
		form    ChecksumForm
		want    *Advertisement
	}{
		{name: "good", payload: base, form: ChecksumPseudoHeader, want: &baseAdvert},
		{
			name: "TTL 254", payload: base,
			header:  Header{Source: addr("192.0.2.9"), Destination: GroupIPv4, TTL: 254},
			discard: DiscardIPTTL,
		},
		{name: "bad checksum", payload: "3135c802000a1234c0000235c0000299", discard: DiscardChecksum},
		{name: "bad checksum v2", payload: "2133960100018697 c0000233 0000000000000000", discard: DiscardChecksum},
		{name: "RFC 9568 checksum", payload: "3135c802000a81eec0000235c0000299", form: ChecksumMessage, want: &baseAdvert},
		{name: "version 0", payload: "0135c802000adf51c0000235c0000299", discard: DiscardVersion},
		{name: "version 1", payload: "1135c802000adf51c0000235c0000299", discard: DiscardVersion},
		{name: "version 4", payload: "4135c802000adf51c0000235c0000299", discard: DiscardVersion},
		{name: "version 15", payload: "f135c802000adf51c0000235c0000299", discard: DiscardVersion},
		{name: "type 2", payload: "3235c802000ade51c0000235c0000299", discard: DiscardType},
		{name: "type 0", payload: "3035c802000ae051c0000235c0000299", discard: DiscardType},
		{name: "empty", payload: "", discard: DiscardPacketLength},
		{name: "1 octet", payload: "31", discard: DiscardPacketLength},
		{name: "7 octets", payload: "3135c802000a00", discard: DiscardPacketLength},
		{name: "count 2, no addresses", payload: "3135c802000a6429", discard: DiscardPacketLength},
		{name: "count too high", payload: "3135c803000adf50c0000235c0000299", discard: DiscardPacketLength},
		{name: "count too low", payload: "3135c801000adf52c0000235c0000299", discard: DiscardPacketLength},
		{name: "count 0", payload: "3135c800000a642b", discard: DiscardAddressList},
		{name: "trailing garbage", payload: "3135c802000adf49c0000235c0000299ffffffffffffffff", discard: DiscardPacketLength},
		{name: "one octet too many", payload: base + "00", discard: DiscardPacketLength},
		{name: "v3 interval 0", payload: "3135c8020000df5bc0000235c0000299", discard: DiscardAdvertisementInterval},
		{name: "reserved bits", payload: "3135c802f00aef50c0000235c0000299", form: ChecksumPseudoHeader, want: &baseAdvert},
		{
			name: "other address", payload: "3135c802000a8ed9c00002350a090909", form: ChecksumPseudoHeader,
			want: with(func(a *Advertisement) { a.Addresses = addrs("192.0.2.53", "10.9.9.9") }),
		},
		{
			name: "address owner", payload: "3135ff02000aa851c0000235c0000299", form: ChecksumPseudoHeader,
			want: with(func(a *Advertisement) { a.Priority = PriorityOwner }),
		},
		{
			name: "unknown VRID", payload: "3163c802000adf23c0000235c0000299", form: ChecksumPseudoHeader,
			want: with(func(a *Advertisement) { a.VRID = 99 }),
		},
		{
			name: "VRID 0", payload: "3100c802000adf86c0000235c0000299", form: ChecksumPseudoHeader,
			want: with(func(a *Advertisement) { a.VRID = 0 }),
		},
		{
			name: "to the group of another protocol", payload: base,
			header:  Header{Source: addr("192.0.2.9"), Destination: addr("224.0.0.5"), TTL: TTL},
			discard: DiscardWrongDestination,
		},
		{
			name: "broadcast", payload: base,
			header:  Header{Source: addr("192.0.2.9"), Destination: addr("255.255.255.255"), TTL: TTL},
			discard: DiscardWrongDestination,
		},
		{
			name: "between families", payload: base,
			header:  Header{Source: addr("fe80::9"), Destination: GroupIPv4, TTL: TTL},
			discard: DiscardSource,
		},
		{name: "source 0.0.0.0", header: groupHeader("0.0.0.0"), payload: "3135c802000aa15bc0000235c0000299", discard: DiscardSource},
		{name: "source multicast", header: groupHeader("224.0.0.18"), payload: base, discard: DiscardSource},
		{name: "source loopback", header: groupHeader("127.0.0.1"), payload: base, discard: DiscardSource},
		{name: "source broadcast", header: groupHeader("255.255.255.255"), payload: base, discard: DiscardSource},
		{
			name: "v2 on a v3 router is the Router's to discard", payload: "2135c802000191f7c0000235c00002990000000000000000", form: ChecksumMessage,
			want: with(func(a *Advertisement) { a.Version, a.Interval = V2, time.Second }),
		},
		{
			name: "v2 PASS", payload: "2134c80101018e21 c0000234 77726f6e67707721", form: ChecksumMessage,
			want: &Advertisement{
				Version: V2, VRID: 52, Priority: 200, Interval: time.Second, Addresses: addrs("192.0.2.52"),
				Authentication: AuthenticationSimpleTextPassword, Password: password("wrongpw!"),
			},
		},
		{name: "v2 unknown authentication", payload: "2134c80103015194 c0000234 0000000000000000", discard: DiscardInvalidAuthType},
		{name: "v2 interval 0", payload: "2133960100008697 c0000233 0000000000000000", discard: DiscardAdvertisementInterval},
		{name: "v2 without authentication data", payload: "2133c80100015496c0000233", discard: DiscardPacketLength},
		{
			name: "v2 authentication data of type 0 is ignored", payload: "21339601000138c8 c0000233 1234123412341732", form: ChecksumMessage,
			want: &Advertisement{Version: V2, VRID: 51, Priority: 150, Interval: time.Second, Addresses: addrs("192.0.2.51")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tt.header
			if !h.Source.IsValid() {
				h = groupHeader("192.0.2.9")
			}
			before := Advertisement{Version: V2, VRID: 1, Priority: 2, Interval: 3, Addresses: addrs("192.0.2.77")}
			got, want := before, before
			if tt.want != nil {
				want = *tt.want
			}
			form, d := Parse(h, octets(tt.payload), &got)
			if form != tt.form || d != tt.discard {
				t.Errorf("got %v, discarded %v; want %v, discarded %v", form, d, tt.form, tt.discard)
			}
			if diff := cmp.Diff(want, got, cmpAddr); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestPeekVRID(t *testing.T) {
	t.Parallel()
	for n := range fixedLength {
		if vrid, ok := PeekVRID(octets(base)[:n]); ok {
			t.Errorf("%d octets have VRID %d", n, vrid)
		}
	}
	if vrid, ok := PeekVRID(octets(base)); vrid != 53 || !ok {
		t.Errorf("VRID %d, %v; want 53", vrid, ok)
	}
}

// TestAppendInterval: an interval that the field cannot hold must not become 0,
// which would make Backups take over at once.
func TestAppendInterval(t *testing.T) {
	t.Parallel()
	tests := []struct {
		version  Version
		interval time.Duration
		want     string
	}{
		{V3, 0, "0001"},
		{V3, 10 * time.Millisecond, "0001"},
		{V3, 40950 * time.Millisecond, "0fff"},
		{V3, 40958 * time.Millisecond, "0fff"},
		{V3, time.Hour, "0fff"},
		{V2, 0, "0001"},
		{V2, time.Second, "0001"},
		{V2, 255 * time.Second, "00ff"},
		{V2, time.Hour, "00ff"},
	}
	for _, tt := range tests {
		a := Advertisement{Version: tt.version, VRID: 1, Priority: 1, Interval: tt.interval, Addresses: addrs("192.0.2.1")}
		got := hex.EncodeToString(a.Append(nil, addr("192.0.2.2"), GroupIPv4)[4:6])
		if got != tt.want {
			t.Errorf("version %d, %v: octets %s, want %s", tt.version, tt.interval, got, tt.want)
		}
	}
}

// TestMaxAddresses: the most addresses fit in the count and, with the IP header, in
// 1500 octets; one more does not.
func TestMaxAddresses(t *testing.T) {
	t.Parallel()
	const mtu, ipv4Header, ipv6Header = 1500, 20, 40
	size := func(v Version, address netip.Addr, n int) int {
		a := Advertisement{Version: v, VRID: 1, Priority: 1, Interval: time.Second, Addresses: slices.Repeat([]netip.Addr{address}, n)}
		return len(a.Append(nil, address, address))
	}
	if n := MaxAddresses(IPv4); n != 255 || size(V2, addr("192.0.2.1"), n)+ipv4Header > mtu {
		t.Errorf("IPv4: %d addresses", n)
	}
	v6 := addr("fe80::1")
	if n := MaxAddresses(IPv6); size(V3, v6, n)+ipv6Header > mtu || size(V3, v6, n+1)+ipv6Header <= mtu {
		t.Errorf("IPv6: %d addresses", n)
	}
}

// TestAppendEveryVRID: VRIDs below 16 work like others, and 255 addresses fit.
func TestAppendEveryVRID(t *testing.T) {
	t.Parallel()
	many := make([]netip.Addr, MaxAddressesIPv4)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	}
	for _, v := range []Version{V2, V3} {
		for vrid := 1; vrid <= 255; vrid++ {
			want := Advertisement{Version: v, VRID: uint8(vrid), Priority: 100, Interval: time.Second, Addresses: many[:vrid]}
			b := want.Append(nil, addr("192.0.2.1"), GroupIPv4)
			var got Advertisement
			if form, d := Parse(groupHeader("192.0.2.1"), b, &got); d != DiscardNone || form == ChecksumNone {
				t.Fatalf("version %d VRID %d: %v, discarded %v", v, vrid, form, d)
			}
			if diff := cmp.Diff(want, got, cmpAddr); diff != "" {
				t.Fatalf("version %d VRID %d: -want +got\n%s", v, vrid, diff)
			}
		}
	}
}

// TestPasswordIsHidden: no format prints the password of a configuration or of a
// received packet.
func TestPasswordIsHidden(t *testing.T) {
	t.Parallel()
	c := validationConfigs()["V2 password"]
	a := packetTo(c).Advertisement
	for _, v := range []any{c, &c, c.Settings, &c.Settings, a, &a, c.Password, &c.Password, []Password{c.Password}, map[string]any{"c": c, "a": a}} {
		var shown []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			shown = append(shown, fmt.Sprintf(verb, v))
		}
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range append(shown, string(asJSON)) {
			for _, secret := range []string{"secret", "c2VjcmV0", "7365637265743132", "0x73", "115 101", "115,101", "115, 101"} {
				if strings.Contains(s, secret) {
					t.Errorf("%T shown as %s", v, s)
				}
			}
		}
	}
	if err := (Config{Settings: Settings{Password: c.Password}}).Validate(); strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	if got := fmt.Sprint(c.Password, Password{}); got != "hidden none" {
		t.Errorf("got %q", got)
	}
}

// TestChecksum covers the sums whose representation is special: a stored 0 is
// a checksum like any other.
func TestChecksum(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		message []byte
		sum     uint32
		want    uint16
	}{
		{"nothing", nil, 0, 0xffff},
		{"RFC 1071 section 3", octets("0001f203f4f5f6f7"), 0, ^uint16(0xddf2)},
		{"odd", octets("000102"), 0, ^uint16(0x0201)},
		{"carry of the carry", octets("ffff0001"), 0xffff, ^uint16(0x0001)},
		{"all ones", octets("ffff"), 0, 0},
		{"on top", octets("0001"), 0x10000, ^uint16(2)},
	}
	for _, tt := range tests {
		if got := checksum(tt.message, tt.sum); got != tt.want {
			t.Errorf("%s: %#04x, want %#04x", tt.name, got, tt.want)
		}
	}
}

func TestChecksumZeroIsLegal(t *testing.T) {
	t.Parallel()
	// Of all last addresses, one makes the checksum 0.
	a := Advertisement{Version: V2, VRID: 51, Priority: 150, Interval: time.Second, Addresses: addrs("192.0.2.51")}
	for i := range 1 << 16 {
		a.Addresses[0] = netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		b := a.Append(nil, addr("192.0.2.1"), GroupIPv4)
		if b[6] != 0 || b[7] != 0 {
			continue
		}
		var got Advertisement
		if _, d := Parse(groupHeader("192.0.2.1"), b, &got); d != DiscardNone {
			t.Errorf("discarded %v", d)
		}
		return
	}
	t.Error("no address makes the checksum 0")
}

func TestChecksumFormString(t *testing.T) {
	t.Parallel()
	want := []string{"none", "message", "pseudoHeader", "groupPseudoHeader", "unknown"}
	var got []string
	for f := ChecksumNone; f <= checksumForms; f++ {
		got = append(got, f.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestDiscardString: every reason has a name of its own, which metrics use.
func TestDiscardString(t *testing.T) {
	t.Parallel()
	want := []string{
		"none", "packetLength", "protocol", "wrongDestination", "source", "ownSource", "unknownPeer", "ipTtl", "version", "vrId", "type",
		"addressList", "checksum", "invalidAuthType", "authTypeMismatch", "authFailure", "advertisementInterval", "initialize", "unknown",
	}
	var got []string
	for d := DiscardNone; d <= discards; d++ {
		got = append(got, d.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

type codecCase struct {
	name   string
	packet []byte
}

// codecCases are the packets to measure: few addresses, and the most.
func codecCases() []codecCase {
	list := func(f Family, n int) []netip.Addr {
		as := make([]netip.Addr, n)
		for i := range as {
			if f == IPv4 {
				as[i] = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			} else {
				as[i] = netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(i)})
			}
		}
		return as
	}
	packet := func(v Version, f Family, n int) []byte {
		a := Advertisement{Version: v, VRID: 53, Priority: 200, Interval: time.Second, Addresses: list(f, n)}
		if v == V2 {
			a.Authentication, a.Password = AuthenticationSimpleTextPassword, password("secret12")
		}
		if f == IPv4 {
			return ipv4Packet(a.Append(nil, addr("192.0.2.9"), GroupIPv4))
		}
		return ipv6Packet(a.Append(nil, addr("fe80::9"), GroupIPv6))
	}
	return []codecCase{
		{"V2/1", packet(V2, IPv4, 1)},
		{"V2/255", packet(V2, IPv4, MaxAddressesIPv4)},
		{"IPv4/1", packet(V3, IPv4, 1)},
		{"IPv4/255", packet(V3, IPv4, MaxAddressesIPv4)},
		{"IPv6/1", packet(V3, IPv6, 1)},
		{"IPv6/90", packet(V3, IPv6, MaxAddressesIPv6)},
		{"IPv6/255", packet(V3, IPv6, 255)},
	}
}

func TestCodecAllocatesNothing(t *testing.T) {
	for _, tt := range codecCases() {
		name, packet := tt.name, tt.packet
		a := Advertisement{Addresses: make([]netip.Addr, 0, MaxAddressesIPv4)}
		b := make([]byte, 0, 8192)
		h, payload, _ := ParseIP(packet)
		if _, d := Parse(h, payload, &a); d != DiscardNone {
			t.Errorf("%s: discarded %v", name, d)
		}
		bad := bytes.Clone(payload)
		bad[6]++
		for what, f := range map[string]func(){
			"ParseIP":  func() { ParseIP(packet) },
			"PeekVRID": func() { PeekVRID(payload) },
			"Parse":    func() { Parse(h, payload, &a) },
			"Parse, discarded": func() {
				if _, d := Parse(h, bad, &a); d != DiscardChecksum {
					t.Errorf("%s: discarded %v", name, d)
				}
			},
			"Append": func() { a.Append(b, h.Source, h.Destination) },
		} {
			if n := testing.AllocsPerRun(100, f); n != 0 {
				t.Errorf("%s %s: %v allocations", what, name, n)
			}
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, tt := range codecCases() {
		name, packet := tt.name, tt.packet
		b.Run(name, func(b *testing.B) {
			a := Advertisement{Addresses: make([]netip.Addr, 0, MaxAddressesIPv4)}
			b.ReportAllocs()
			for b.Loop() {
				h, payload, _ := ParseIP(packet)
				if _, d := Parse(h, payload, &a); d != DiscardNone {
					b.Fatal(d)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, tt := range codecCases() {
		name, packet := tt.name, tt.packet
		b.Run(name, func(b *testing.B) {
			var a Advertisement
			h, payload, _ := ParseIP(packet)
			if _, d := Parse(h, payload, &a); d != DiscardNone {
				b.Fatal(d)
			}
			buffer := make([]byte, 0, 8192)
			b.ReportAllocs()
			for b.Loop() {
				a.Append(buffer, h.Source, h.Destination)
			}
		})
	}
}
