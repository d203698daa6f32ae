package lan

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	testMAC = MAC{2, 0, 0, 0, 0, 4}
	testIP4 = netip.MustParseAddr("192.0.2.100")
	testIP6 = netip.MustParseAddr("2001:db8::100")
)

// withoutEthernet returns a frame as a socket of type SOCK_DGRAM receives it.
func withoutEthernet(frame []byte) []byte { return frame[ethernetHeaderLen:] }

// changed returns a copy of b with other bytes from an offset on.
func changed(b []byte, offset int, value ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[offset:], value)
	return b
}

// TestARP compares each packet with its frame, in both directions.
func TestARP(t *testing.T) {
	t.Parallel()
	zero := netip.IPv4Unspecified()
	tests := []struct {
		name        string
		built, want arpPacket
		frame       string
		claims      bool
	}{
		{
			// As keepalived sends it.
			name:   "gratuitous request",
			built:  gratuitousARP(testMAC, testIP4, arpRequest),
			want:   arpPacket{1, testMAC, testIP4, broadcast, testIP4},
			frame:  "ffffffffffff 020000000004 0806 0001 0800 06 04 0001 020000000004 c0000264 ffffffffffff c0000264",
			claims: true,
		},
		{
			name:   "gratuitous reply",
			built:  gratuitousARP(testMAC, testIP4, arpReply),
			want:   arpPacket{2, testMAC, testIP4, testMAC, testIP4},
			frame:  "ffffffffffff 020000000004 0806 0001 0800 06 04 0002 020000000004 c0000264 020000000004 c0000264",
			claims: true,
		},
		{
			name:  "probe",
			built: arpProbe(testMAC, testIP4),
			want:  arpPacket{1, testMAC, zero, MAC{}, testIP4},
			frame: "ffffffffffff 020000000004 0806 0001 0800 06 04 0001 020000000004 00000000 000000000000 c0000264",
		},
	}
	for _, tt := range tests {
		if tt.built != tt.want {
			t.Errorf("%s: built %+v, want %+v", tt.name, tt.built, tt.want)
		}
		frame := tt.want.appendFrame([]byte("before"))
		if d := cmp.Diff(hex.Dump(append([]byte("before"), unhex(t, tt.frame)...)), hex.Dump(frame)); d != "" {
			t.Errorf("%s: append: -want +got\n%s", tt.name, d)
		}
		if got, ok := parseARP(withoutEthernet(unhex(t, tt.frame))); !ok || got != tt.want {
			t.Errorf("%s: parsed %+v, %t, want %+v", tt.name, got, ok, tt.want)
		}
		ip, mac, ok := tt.want.claim()
		if ok != tt.claims || ok && (ip != testIP4 || mac != testMAC) {
			t.Errorf("%s: %s claims %s: %t, want %t", tt.name, mac, ip, ok, tt.claims)
		}
	}
}

// TestParseARP parses packets that this program does not send.
func TestParseARP(t *testing.T) {
	t.Parallel()
	request := gratuitousARP(testMAC, testIP4, arpRequest).append(nil)
	for _, tt := range []struct {
		name   string
		packet []byte
		ok     bool
	}{
		{"padded", append(bytes.Clone(request), make([]byte, 18)...), true},
		{"request for another address", changed(request, 24, 192, 0, 2, 1), true},
		{"short", request[:27], false},
		{"empty", nil, false},
		{"other hardware", changed(request, 0, 0, 6), false},
		{"other protocol", changed(request, 2, 0x86, 0xdd), false},
		{"other hardware length", changed(request, 4, 8), false},
		{"other protocol length", changed(request, 5, 16), false},
		{"reverse ARP", changed(request, 6, 0, 3), false},
	} {
		p, ok := parseARP(tt.packet)
		ip, mac, claims := p.claim()
		if ok != tt.ok || ok && (!claims || ip != testIP4 || mac != testMAC) {
			t.Errorf("%s: parsed %+v, %t, want %t", tt.name, p, ok, tt.ok)
		}
	}
}

// FuzzParseARP checks that the parser reads nothing beyond the packet, that a
// claim is never of the unspecified address, and that an appended packet parses as
// itself.
func FuzzParseARP(f *testing.F) {
	f.Add(gratuitousARP(testMAC, testIP4, arpRequest).append(nil))
	f.Add(gratuitousARP(testMAC, testIP4, arpReply).append(nil))
	f.Add(arpProbe(testMAC, testIP4).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parseARP(slices.Clip(b))
		if !ok {
			return
		}
		if ip, _, claims := p.claim(); claims && (!ip.Is4() || ip.IsUnspecified()) {
			t.Errorf("%+v claims %s", p, ip)
		}
		if again, ok := parseARP(p.append(nil)); !ok || again != p {
			t.Errorf("parsed %+v, then %+v, %t", p, again, ok)
		}
	})
}
