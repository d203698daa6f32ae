package lan

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// frameMAC is the source of an Ethernet frame.
var frameMAC = MAC{2, 0, 0, 0, 0, 5}

// TestNeighborMessage compares each message with its frame, in both directions.
func TestNeighborMessage(t *testing.T) {
	t.Parallel()
	linkLocal, zero := netip.MustParseAddr("fe80::54"), netip.IPv6Unspecified()
	allNodes, solicited := netip.MustParseAddr("ff02::1"), netip.MustParseAddr("ff02::1:ff00:100")
	tests := []struct {
		name        string
		built, want neighborMessage
		frame       string
		// claimed is the address that the sender claims, if any.
		claimed netip.Addr
	}{
		{
			// As keepalived sends it.
			name:  "advertisement of a host",
			built: unsolicitedAdvertisement(testMAC, linkLocal, false),
			want: neighborMessage{
				source: linkLocal, destination: allNodes, typ: 136, override: true, target: linkLocal,
				linkLayerAddr: testMAC, hasLinkLayerAddr: true,
			},
			frame: `333300000001 020000000004 86dd 60000000 0020 3a ff
				fe800000000000000000000000000054 ff020000000000000000000000000001
				8800 56f2 20000000 fe800000000000000000000000000054 0201 020000000004`,
			claimed: linkLocal,
		},
		{
			name:  "advertisement of a router",
			built: unsolicitedAdvertisement(testMAC, linkLocal, true),
			want: neighborMessage{
				source: linkLocal, destination: allNodes, typ: 136, router: true, override: true, target: linkLocal,
				linkLayerAddr: testMAC, hasLinkLayerAddr: true,
			},
			frame: `333300000001 020000000004 86dd 60000000 0020 3a ff
				fe800000000000000000000000000054 ff020000000000000000000000000001
				8800 d6f1 a0000000 fe800000000000000000000000000054 0201 020000000004`,
			claimed: linkLocal,
		},
		{
			name:  "duplicate address detection",
			built: neighborSolicitation(testMAC, netip.Addr{}, testIP6),
			want:  neighborMessage{source: zero, destination: solicited, typ: 135, target: testIP6},
			frame: `3333ff000100 020000000004 86dd 60000000 0018 3a ff
				00000000000000000000000000000000 ff0200000000000000000001ff000100
				8700 4aef 00000000 20010db8000000000000000000000100`,
		},
		{
			name:  "solicitation",
			built: neighborSolicitation(testMAC, netip.MustParseAddr("fe80::1"), testIP6),
			want: neighborMessage{
				source: netip.MustParseAddr("fe80::1"), destination: solicited, typ: 135, target: testIP6,
				linkLayerAddr: testMAC, hasLinkLayerAddr: true,
			},
			frame: `3333ff000100 020000000004 86dd 60000000 0020 3a ff
				fe800000000000000000000000000001 ff0200000000000000000001ff000100
				8700 4960 00000000 20010db8000000000000000000000100 0101 020000000004`,
			claimed: netip.MustParseAddr("fe80::1"),
		},
	}
	for _, tt := range tests {
		if tt.built != tt.want {
			t.Errorf("%s: built %+v, want %+v", tt.name, tt.built, tt.want)
		}
		frame := tt.want.appendFrame([]byte("before"), testMAC)
		if d := cmp.Diff(hex.Dump(append([]byte("before"), unhex(t, tt.frame)...)), hex.Dump(frame)); d != "" {
			t.Errorf("%s: append: -want +got\n%s", tt.name, d)
		}
		if got, ok := parseNeighborMessage(withoutEthernet(unhex(t, tt.frame))); !ok || got != tt.want {
			t.Errorf("%s: parsed %+v, %t, want %+v", tt.name, got, ok, tt.want)
		}
		ip, mac, ok := tt.want.claim(frameMAC)
		if ok != tt.claimed.IsValid() || ok && (ip != tt.claimed || mac != testMAC) {
			t.Errorf("%s: %s claims %s: %t, want %s", tt.name, mac, ip, ok, tt.claimed)
		}
	}
}

// TestParseNeighborMessage parses messages that this program does not send.
func TestParseNeighborMessage(t *testing.T) {
	t.Parallel()
	advertisement := unsolicitedAdvertisement(testMAC, testIP6, false).append(nil)
	solicitation := neighborSolicitation(testMAC, testIP6, netip.MustParseAddr("2001:db8::1")).append(nil)
	nonce := append(changed(advertisement, 5, 40), 14, 1, 1, 2, 3, 4, 5, 6) // RFC 3971 section 5.3.2
	for _, tt := range []struct {
		name   string
		packet []byte
		want   MAC
		ok     bool
	}{
		{"advertisement", advertisement, testMAC, true},
		{"advertisement without option", changed(advertisement[:64], 5, 24), frameMAC, true},
		{"advertisement with another option", nonce, testMAC, true},
		{"padded advertisement", append(bytes.Clone(advertisement), 0, 0, 0), testMAC, true},
		{"solicitation from the address", solicitation, testMAC, true},
		{"short", advertisement[:63], MAC{}, false},
		{"empty", nil, MAC{}, false},
		{"payload length too small", changed(advertisement, 5, 23), MAC{}, false},
		{"forwarded by a router", changed(advertisement, 7, 254), MAC{}, false},
		{"UDP", changed(advertisement, 6, 17), MAC{}, false},
		{"router advertisement", changed(advertisement, 40, 134), MAC{}, false},
		{"code", changed(advertisement, 41, 1), MAC{}, false},
		{"IPv4", changed(advertisement, 0, 0x45), MAC{}, false},
		{"option of length 0", changed(advertisement, 65, 0), MAC{}, false},
		{"option that ends behind the packet", changed(advertisement, 65, 2), frameMAC, true},
	} {
		m, ok := parseNeighborMessage(tt.packet)
		ip, mac, claims := m.claim(frameMAC)
		if ok != tt.ok || ok && (!claims || ip != testIP6 || mac != tt.want) {
			t.Errorf("%s: parsed %+v, %t; %s claims %s, want %s", tt.name, m, ok, mac, ip, tt.want)
		}
	}
}

// FuzzParseNeighborMessage checks that the parser reads nothing beyond the packet,
// that a claim is never of the unspecified address, and that an appended message
// parses as itself.
func FuzzParseNeighborMessage(f *testing.F) {
	f.Add(unsolicitedAdvertisement(testMAC, testIP6, true).append(nil))
	f.Add(neighborSolicitation(testMAC, testIP6, testIP6).append(nil))
	f.Add(neighborSolicitation(testMAC, netip.Addr{}, testIP6).append(nil))
	f.Add(changed(unsolicitedAdvertisement(testMAC, testIP6, true).append(nil), 65, 255))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parseNeighborMessage(slices.Clip(b))
		if !ok {
			return
		}
		if ip, _, claims := m.claim(frameMAC); claims && (!ip.Is6() || ip.IsUnspecified()) {
			t.Errorf("%+v claims %s", m, ip)
		}
		if again, ok := parseNeighborMessage(m.append(nil)); !ok || again != m {
			t.Errorf("parsed %+v, then %+v, %t", m, again, ok)
		}
	})
}
