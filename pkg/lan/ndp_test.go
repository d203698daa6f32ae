package lan

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	claimMAC  = MAC{2, 0, 0, 0, 0, 4}
	frameMAC  = MAC{2, 0, 0, 0, 0, 5}
	claimVIP  = netip.MustParseAddr("192.0.2.100")
	claimVIP6 = netip.MustParseAddr("2001:db8::100")
)

// withoutEthernet is a frame as a socket that takes the Ethernet header off has it.
func withoutEthernet(frame []byte) []byte { return frame[14:] }

// changed is b with other bytes from an offset on.
func changed(b []byte, offset int, value ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[offset:], value)
	return b
}

func TestParseNeighbor(t *testing.T) {
	advertisement := withoutEthernet(AppendUnsolicitedNA(nil, claimMAC[:], claimVIP6, false))
	solicitation := withoutEthernet(AppendNeighborSolicitation(nil, claimMAC[:], claimVIP6, netip.MustParseAddr("2001:db8::1")))
	other := append(changed(advertisement, 5, 40), 14, 1, 1, 2, 3, 4, 5, 6) // A nonce (RFC 3971).
	for _, test := range []struct {
		name   string
		packet []byte
		want   MAC
		ok     bool
	}{
		{"advertisement", advertisement, claimMAC, true},
		{"advertisement without option", changed(advertisement[:64], 5, 24), frameMAC, true},
		{"advertisement with another option", other, claimMAC, true},
		{"advertisement with something behind it", append(bytes.Clone(advertisement), 0, 0, 0), claimMAC, true},
		{"solicitation from the address", solicitation, claimMAC, true},
		{"duplicate address detection", withoutEthernet(AppendNeighborSolicitation(nil, claimMAC[:], netip.Addr{}, claimVIP6)), MAC{}, false},
		{"short", advertisement[:63], MAC{}, false},
		{"empty", nil, MAC{}, false},
		{"of a length that is too short", changed(advertisement, 5, 23), MAC{}, false},
		{"from behind a router", changed(advertisement, 7, 254), MAC{}, false},
		{"UDP", changed(advertisement, 6, 17), MAC{}, false},
		{"router advertisement", changed(advertisement, 40, 134), MAC{}, false},
		{"code", changed(advertisement, 41, 1), MAC{}, false},
		{"IPv4", changed(advertisement, 0, 0x45), MAC{}, false},
		{"option of no length", changed(advertisement, 65, 0), MAC{}, false},
		{"option that ends behind the packet", changed(advertisement, 65, 2), frameMAC, true},
	} {
		address, mac, ok := parseNeighbor(test.packet, frameMAC)
		if ok != test.ok || ok && (address != claimVIP6 || mac != test.want) {
			t.Errorf("%s: %s is claimed by %s: %t", test.name, address, mac, ok)
		}
	}
}

// FuzzParseClaim: whatever a host on the LAN sends, nothing is read beyond it, and
// no claim is of no address.
func FuzzParseClaim(f *testing.F) {
	f.Add(withoutEthernet(AppendGratuitousARP(nil, claimMAC[:], claimVIP, ARPRequest)))
	f.Add(withoutEthernet(AppendARPProbe(nil, claimMAC[:], claimVIP)))
	f.Add(withoutEthernet(AppendUnsolicitedNA(nil, claimMAC[:], claimVIP6, true)))
	f.Add(withoutEthernet(AppendNeighborSolicitation(nil, claimMAC[:], claimVIP6, claimVIP6)))
	f.Add(changed(withoutEthernet(AppendUnsolicitedNA(nil, claimMAC[:], claimVIP6, true)), 65, 255))
	f.Fuzz(func(t *testing.T, b []byte) {
		if address, _, ok := parseARP(slices.Clip(b)); ok && (!address.Is4() || address.IsUnspecified()) {
			t.Errorf("ARP claims %s", address)
		}
		if address, _, ok := parseNeighbor(slices.Clip(b), frameMAC); ok && (!address.Is6() || address.IsUnspecified()) {
			t.Errorf("ND claims %s", address)
		}
	})
}

// The frames that ask, byte by byte.
func TestProbes(t *testing.T) {
	for _, test := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"ARP probe", AppendARPProbe(nil, net.HardwareAddr(claimMAC[:]), claimVIP), `
			ffffffffffff 020000000004 0806 0001 0800 06 04 0001
			020000000004 00000000 000000000000 c0000264`},
		{"duplicate address detection", AppendNeighborSolicitation(nil, net.HardwareAddr(claimMAC[:]), netip.Addr{}, claimVIP6), `
			3333ff000100 020000000004 86dd 60000000 0018 3a ff
			00000000000000000000000000000000 ff0200000000000000000001ff000100
			8700 4aef 00000000 20010db8000000000000000000000100`},
		{"solicitation", AppendNeighborSolicitation(nil, net.HardwareAddr(claimMAC[:]), netip.MustParseAddr("fe80::1"), claimVIP6), `
			3333ff000100 020000000004 86dd 60000000 0020 3a ff
			fe800000000000000000000000000001 ff0200000000000000000001ff000100
			8700 4960 00000000 20010db8000000000000000000000100 0101 020000000004`},
	} {
		want := strings.Join(strings.Fields(test.want), "")
		if got := hex.EncodeToString(test.frame); got != want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, want)
		}
	}
}

func TestAppendUnsolicitedNA(t *testing.T) {
	t.Parallel()
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	tests := []struct {
		name, vip string
		router    bool
		want      string
	}{
		{
			// As keepalived sends it.
			"host", "fe80::54", false,
			`333300000001 020000000001 86dd 60000000 0020 3a ff
			fe800000000000000000000000000054 ff020000000000000000000000000001
			8800 56f5 20000000 fe800000000000000000000000000054 0201 020000000001`,
		},
		{
			"router", "fe80::54", true,
			`333300000001 020000000001 86dd 60000000 0020 3a ff
			fe800000000000000000000000000054 ff020000000000000000000000000001
			8800 d6f4 a0000000 fe800000000000000000000000000054 0201 020000000001`,
		},
	}
	for _, tt := range tests {
		got := AppendUnsolicitedNA([]byte("before"), mac, netip.MustParseAddr(tt.vip), tt.router)
		if d := cmp.Diff(hex.Dump(append([]byte("before"), unhex(t, tt.want)...)), hex.Dump(got)); d != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, d)
		}
	}
}
