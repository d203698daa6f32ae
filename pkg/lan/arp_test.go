package lan

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAppendGratuitousARP(t *testing.T) {
	t.Parallel()
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	vip := netip.MustParseAddr("192.0.2.53")
	tests := []struct {
		name string
		op   uint16
		want string
	}{
		{
			// As keepalived sends it.
			"request", ARPRequest,
			"ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000235 ffffffffffff c0000235",
		},
		{
			"reply", ARPReply,
			"ffffffffffff 020000000001 0806 0001 0800 06 04 0002 020000000001 c0000235 020000000001 c0000235",
		},
	}
	for _, tt := range tests {
		got := AppendGratuitousARP([]byte("before"), mac, vip, tt.op)
		if d := cmp.Diff(hex.Dump(append([]byte("before"), unhex(t, tt.want)...)), hex.Dump(got)); d != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, d)
		}
	}
}

func TestParseARP(t *testing.T) {
	request := withoutEthernet(AppendGratuitousARP(nil, claimMAC[:], claimVIP, ARPRequest))
	for _, test := range []struct {
		name   string
		packet []byte
		ok     bool
	}{
		{"gratuitous request", request, true},
		{"gratuitous reply", withoutEthernet(AppendGratuitousARP(nil, claimMAC[:], claimVIP, ARPReply)), true},
		{"padded", append(bytes.Clone(request), make([]byte, 18)...), true},
		{"question of somebody who has it", changed(request, 24, 192, 0, 2, 1), true},
		{"probe", withoutEthernet(AppendARPProbe(nil, claimMAC[:], claimVIP)), false},
		{"short", request[:27], false},
		{"empty", nil, false},
		{"other hardware", changed(request, 0, 0, 6), false},
		{"other protocol", changed(request, 2, 0x86, 0xdd), false},
		{"other hardware length", changed(request, 4, 8), false},
		{"other protocol length", changed(request, 5, 16), false},
		{"reverse ARP", changed(request, 6, 0, 3), false},
	} {
		address, mac, ok := parseARP(test.packet)
		if ok != test.ok || ok && (address != claimVIP || mac != claimMAC) {
			t.Errorf("%s: %s is claimed by %s: %t", test.name, address, mac, ok)
		}
	}
}
