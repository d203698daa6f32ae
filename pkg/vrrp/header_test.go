package vrrp

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ipv4Packet puts payload into an IPv4 packet from 192.0.2.9 to the group, with
// options that must fill whole words.
func ipv4Packet(payload []byte, options ...byte) []byte {
	p := append(octets("45c00000 00000000 ff700000 c0000209 e0000012"), options...)
	p[0] = 0x40 | byte(len(p)/4)
	p = append(p, payload...)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return p
}

func TestParseIPv4(t *testing.T) {
	t.Parallel()
	good := func() []byte { return ipv4Packet(octets(base)) }
	change := func(offset int, value byte) []byte {
		p := good()
		p[offset] = value
		return p
	}
	wantHeader := groupHeader("192.0.2.9")
	tests := []struct {
		name    string
		packet  []byte
		discard Discard
		header  Header
		payload string
	}{
		{name: "good", packet: good(), header: wantHeader, payload: base},
		{name: "Ethernet padding", packet: append(good(), make([]byte, 10)...), header: wantHeader, payload: base},
		{name: "router alert", packet: ipv4Packet(octets(base), 0x94, 4, 0, 0), header: wantHeader, payload: base},
		{name: "40 octets of options", packet: ipv4Packet(octets(base), make([]byte, 40)...), header: wantHeader, payload: base},
		{name: "don't fragment", packet: change(6, 0x40), header: wantHeader, payload: base},
		{name: "other TTL is Parse's to discard", packet: change(8, 1), header: Header{wantHeader.Source, wantHeader.Destination, 1}, payload: base},
		{name: "no payload", packet: ipv4Packet(nil), header: wantHeader},
		{name: "empty", discard: DiscardPacketLength},
		{name: "19 octets", packet: good()[:19], discard: DiscardPacketLength},
		{name: "IPv6", packet: change(0, 0x65), discard: DiscardPacketLength},
		{name: "header length 4", packet: change(0, 0x44), discard: DiscardPacketLength},
		{name: "header length 0", packet: change(0, 0x40), discard: DiscardPacketLength},
		{name: "header beyond the total length", packet: change(0, 0x4f), discard: DiscardPacketLength},
		{name: "total length beyond the packet", packet: change(3, 37), discard: DiscardPacketLength},
		{name: "total length below the header", packet: change(3, 19), discard: DiscardPacketLength},
		{name: "total length 0", packet: change(3, 0), discard: DiscardPacketLength},
		{name: "truncated", packet: good()[:30], discard: DiscardPacketLength},
		{name: "first fragment", packet: change(6, 0x20), discard: DiscardPacketLength},
		{name: "last fragment", packet: change(7, 1), discard: DiscardPacketLength},
		{name: "TCP", packet: change(9, 6), discard: DiscardProtocol},
		{name: "TCP fragment", packet: func() []byte { p := change(9, 6); p[6] = 0x20; return p }(), discard: DiscardProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, payload, d := ParseIPv4(tt.packet)
			if d != tt.discard {
				t.Errorf("discarded %v, want %v", d, tt.discard)
			}
			if diff := cmp.Diff(tt.header, h, cmpAddr); diff != "" {
				t.Errorf("header: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(string(octets(tt.payload)), string(payload)); diff != "" {
				t.Errorf("payload: -want +got\n%s", diff)
			}
		})
	}
}
