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

// ipv6Packet puts payload into an IPv6 packet from fe80::9 to the group.
func ipv6Packet(payload []byte) []byte {
	p := octets("6c000000 0000 70 ff fe800000000000000000000000000009 ff020000000000000000000000000012")
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	return append(p, payload...)
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
		{name: "IPv6 that is too short", packet: change(0, 0x65), discard: DiscardPacketLength},
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
			h, payload, d := ParseIP(tt.packet)
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

func TestParseIPv6(t *testing.T) {
	t.Parallel()
	const payload = "3136c801000a0c5e fe800000000000000000000000000054"
	good := func() []byte { return ipv6Packet(octets(payload)) }
	change := func(offset int, value byte) []byte {
		p := good()
		p[offset] = value
		return p
	}
	wantHeader := Header{addr("fe80::9"), GroupIPv6, TTL}
	tests := []struct {
		name    string
		packet  []byte
		discard Discard
		header  Header
		payload string
	}{
		{name: "good", packet: good(), header: wantHeader, payload: payload},
		{name: "Ethernet padding", packet: append(good(), make([]byte, 10)...), header: wantHeader, payload: payload},
		{name: "traffic class and flow label", packet: change(1, 0x5a), header: wantHeader, payload: payload},
		{name: "other hop limit is Parse's to discard", packet: change(7, 64), header: Header{wantHeader.Source, GroupIPv6, 64}, payload: payload},
		{name: "no payload", packet: ipv6Packet(nil), header: wantHeader},
		{name: "payload length shorter", packet: change(5, 8), header: wantHeader, payload: payload[:16]},
		{name: "39 octets", packet: good()[:39], discard: DiscardPacketLength},
		{name: "1 octet", packet: good()[:1], discard: DiscardPacketLength},
		{name: "version 5", packet: change(0, 0x55), discard: DiscardPacketLength},
		{name: "payload length beyond the packet", packet: change(5, 25), discard: DiscardPacketLength},
		{name: "payload length 65535", packet: func() []byte { p := change(4, 255); p[5] = 255; return p }(), discard: DiscardPacketLength},
		{name: "truncated", packet: good()[:50], discard: DiscardPacketLength},
		{name: "hop-by-hop options", packet: change(6, 0), discard: DiscardProtocol},
		{name: "fragment", packet: change(6, 44), discard: DiscardProtocol},
		{name: "authentication header", packet: change(6, 51), discard: DiscardProtocol},
		{name: "TCP", packet: change(6, 6), discard: DiscardProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, payload, d := ParseIP(tt.packet)
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
