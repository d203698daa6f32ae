package lab

import (
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// What keepalived 2.2.7 and FRR 8.4 have sent.
func TestParseVRRP(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, source, destination, payload string
		want                               VRRP
	}{
		{
			"v2", "192.0.2.1", "224.0.0.18", "2133960100018696 c0000233 0000000000000000",
			VRRP{Version: 2, VRID: 51, Priority: 150, Interval: time.Second, Addresses: addrs("192.0.2.51"), Checksum: ChecksumMessage},
		},
		{
			"v2 with a password", "192.0.2.1", "224.0.0.18", "2134960101011816 c0000234 7365637265743132",
			VRRP{Version: 2, VRID: 52, Priority: 150, Interval: time.Second, AuthType: 1, Password: "secret12", Addresses: addrs("192.0.2.52"), Checksum: ChecksumMessage},
		},
		{
			"v3", "192.0.2.1", "224.0.0.18", "31359602000a115a c0000235 c0000299",
			VRRP{Version: 3, VRID: 53, Priority: 150, Interval: 100 * time.Millisecond, Addresses: addrs("192.0.2.53", "192.0.2.153"), Checksum: ChecksumPseudoHeader},
		},
		{
			"v3 of RFC 9568", "192.0.2.1", "224.0.0.18", "31359602000ab3ee c0000235 c0000299",
			VRRP{Version: 3, VRID: 53, Priority: 150, Interval: 100 * time.Millisecond, Addresses: addrs("192.0.2.53", "192.0.2.153"), Checksum: ChecksumMessage},
		},
		{
			"v3 with a wrong checksum", "192.0.2.1", "224.0.0.18", "31359602000a1234 c0000235 c0000299",
			VRRP{Version: 3, VRID: 53, Priority: 150, Interval: 100 * time.Millisecond, Addresses: addrs("192.0.2.53", "192.0.2.153"), Checksum: ChecksumWrong},
		},
		{
			"release", "192.0.2.1", "224.0.0.18", "31350002000aa75a c0000235 c0000299",
			VRRP{Version: 3, VRID: 53, Interval: 100 * time.Millisecond, Addresses: addrs("192.0.2.53", "192.0.2.153"), Checksum: ChecksumPseudoHeader},
		},
		{
			"v3 unicast", "192.0.2.1", "192.0.2.2", "31389601000af202 c0000238",
			VRRP{Version: 3, VRID: 56, Priority: 150, Interval: 100 * time.Millisecond, Addresses: addrs("192.0.2.56"), Checksum: ChecksumPseudoHeader},
		},
		{
			"IPv6", "fe80::1", "ff02::12", "31369602000a0dac fe800000000000000000000000000054 20010db8000000000000000000000054",
			VRRP{Version: 3, VRID: 54, Priority: 150, Interval: 100 * time.Millisecond, Addresses: addrs("fe80::54", "2001:db8::54"), Checksum: ChecksumPseudoHeader},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := VRRP{Source: netip.MustParseAddr(tt.source), Destination: netip.MustParseAddr(tt.destination)}
			tt.want.Source, tt.want.Destination = got.Source, got.Destination
			b, err := hex.DecodeString(strings.ReplaceAll(tt.payload, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			got.parse(b)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			for n := range b {
				v := VRRP{Source: got.Source, Destination: got.Destination}
				if v.parse(b[:n]); v.Malformed == "" {
					t.Errorf("%d of %d bytes are taken for a message", n, len(b))
				}
			}
		})
	}
}

// keepalived's announcements, as whole frames.
func TestParseNeighbor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, frame string
		want        Neighbor
	}{
		{
			"gratuitous ARP", "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000235 ffffffffffff c0000235",
			Neighbor{Address: addrs("192.0.2.53")[0], To: addrs("192.0.2.53")[0], MAC: "02:00:00:00:00:01", Gratuitous: true},
		},
		{
			"ARP reply", "0200000000fa 020000000001 0806 0001 0800 06 04 0002 020000000001 c0000235 0200000000fa c00002fa",
			Neighbor{Answer: true, Address: addrs("192.0.2.53")[0], To: addrs("192.0.2.250")[0], MAC: "02:00:00:00:00:01"},
		},
		{
			"unsolicited advertisement", "333300000001 020000000001 86dd 60000000 0020 3a ff fe800000000000000000000000000054 ff020000000000000000000000000001 8800 56f5 20000000 fe800000000000000000000000000054 0201 020000000001",
			Neighbor{Answer: true, Address: addrs("fe80::54")[0], To: addrs("ff02::1")[0], MAC: "02:00:00:00:00:01", Gratuitous: true},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := hex.DecodeString(strings.ReplaceAll(tt.frame, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			p, ok := parsePacket(b)
			if !ok || p.Neighbor == nil || *p.Neighbor != tt.want {
				t.Errorf("got %+v, want %+v", p.Neighbor, tt.want)
			}
			for n := range b {
				parsePacket(b[:n])
			}
		})
	}
}

func TestHolding(t *testing.T) {
	t.Parallel()
	a, begin := addrs("192.0.2.100")[0], time.Now()
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	r := newRecorder()
	r.bindings = []Binding{
		{at(0), 0, a, true},
		{at(20), 1, a, true},
		{at(25), 0, a, false},
		{at(30), 1, addrs("192.0.2.101")[0], true},
		{at(50), 1, a, false},
		{at(57), 2, a, true},
		{at(60), 2, a, false},
	}
	for _, tt := range []struct {
		from, to int
		want     Holding
	}{
		{0, 10, Holding{}},
		{0, 50, Holding{Several: 5 * time.Millisecond}},
		{-5, 55, Holding{None: 10 * time.Millisecond, LongestNone: 5 * time.Millisecond, Several: 5 * time.Millisecond}},
		{22, 100, Holding{None: 47 * time.Millisecond, LongestNone: 40 * time.Millisecond, Several: 3 * time.Millisecond}},
	} {
		if got := r.Holding(a, at(tt.from), at(tt.to)); got != tt.want {
			t.Errorf("%d to %d: got %+v, want %+v", tt.from, tt.to, got, tt.want)
		}
	}
	if got := r.Holders(a); len(got) != 0 {
		t.Errorf("holders %v, want none", got)
	}
}

func addrs(list ...string) []netip.Addr {
	var a []netip.Addr
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}
