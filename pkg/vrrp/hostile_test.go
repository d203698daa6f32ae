package vrrp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// vectorConfig is the virtual router that the vectors are sent to.
func vectorConfig(c *Config) {
	c.VRID = 53
	c.Addresses = addrs("192.0.2.53", "192.0.2.153")
}

// deliver brings a whole packet to the Router as the caller's loop does, and
// returns as what it was counted.
func (b *bench) deliver(p []byte) (Output, Discard) {
	h, payload, d := ParseIP(p)
	if d != DiscardNone {
		return Output{}, d
	}
	vrid, ok := PeekVRID(payload)
	if !ok {
		return Output{}, DiscardPacketLength
	}
	if vrid != b.c.VRID || FamilyOf(h.Source) != b.c.Family {
		return Output{}, DiscardVRID
	}
	var a Advertisement
	var out Output
	before := b.r.statistics.discarded
	if form, d := Parse(h, payload, &a); d != DiscardNone {
		b.r.Discard(b.now, h, d)
	} else {
		b.r.CountChecksum(form)
		out = b.r.Receive(b.now, b.now, h, &a)
	}
	for d, n := range b.r.statistics.discarded {
		if n != before[d] {
			return out, Discard(d)
		}
	}
	return out, DiscardNone
}

// hostileVector is a packet of a broken or hostile router, sent to the virtual
// router of vectorConfig.
type hostileVector struct {
	name    string
	packet  []byte
	discard Discard
	counts  string // the Router's counter that goes up, as reason or !warning
}

func hostileVectors() []hostileVector {
	from := func(source string, p []byte) []byte {
		octets := addr(source).As4()
		copy(p[12:], octets[:])
		return p
	}
	change := func(offset int, value byte) []byte {
		p := ipv4Packet(octets(base))
		p[offset] = value
		return p
	}
	payload := func(s string) []byte { return ipv4Packet(octets(s)) }
	return []hostileVector{
		{"TTL 254", change(8, 254), DiscardIPTTL, "ipTtl"},
		{"bad checksum", payload("3135c802000a1234c0000235c0000299"), DiscardChecksum, "checksum"},
		{"RFC 9568 checksum", payload("3135c802000a81eec0000235c0000299"), DiscardNone, ""},
		{"version 4", payload("4135c802000adf51c0000235c0000299"), DiscardVersion, "version"},
		{"v2 on a v3 router", payload("2135c802000191f7c0000235c00002990000000000000000"), DiscardVersion, "version"},
		{"type 2", payload("3235c802000ade51c0000235c0000299"), DiscardType, "type"},
		{"unknown VRID", payload("3163c802000adf23c0000235c0000299"), DiscardVRID, ""},
		{"VRID 0", payload("3100c802000adf86c0000235c0000299"), DiscardVRID, ""},
		{"7 octets", payload("3135c802000a00"), DiscardPacketLength, ""},
		{"no addresses", payload("3135c802000a6429"), DiscardPacketLength, "packetLength"},
		{"count too high", payload("3135c803000adf50c0000235c0000299"), DiscardPacketLength, "packetLength"},
		{"count too low", payload("3135c801000adf52c0000235c0000299"), DiscardPacketLength, "packetLength"},
		{"count 0", payload("3135c800000a642b"), DiscardAddressList, "addressList"},
		{"trailing garbage", payload("3135c802000adf49c0000235c0000299ffffffffffffffff"), DiscardPacketLength, "packetLength"},
		{"interval 0", payload("3135c8020000df5bc0000235c0000299"), DiscardAdvertisementInterval, "advertisementInterval"},
		{"reserved bits", payload("3135c802f00aef50c0000235c0000299"), DiscardNone, ""},
		{"other address", payload("3135c802000a8ed9c00002350a090909"), DiscardNone, "!addressList"},
		{"router alert", ipv4Packet(octets(base), 0x94, 4, 0, 0), DiscardNone, ""},
		{"header length 4", change(0, 0x44), DiscardPacketLength, ""},
		{"total length too long", change(3, 99), DiscardPacketLength, ""},
		{"unicast", change(16, 192), DiscardWrongDestination, "wrongDestination"},
		{"our own address", from("192.0.2.5", payload("3135c802000adf55c0000235c0000299")), DiscardOwnSource, "ownSource"},
		{"source 0.0.0.0", from("0.0.0.0", payload("3135c802000aa15bc0000235c0000299")), DiscardSource, "source"},
		{"source multicast", from("224.0.0.18", payload(base)), DiscardSource, "source"},
		{"first fragment", change(6, 0x20), DiscardPacketLength, ""},
		{"Ethernet padding", append(payload(base), make([]byte, 10)...), DiscardNone, ""},
		{"address owner", payload("3135ff02000aa851c0000235c0000299"), DiscardNone, "!addressOwner"},
	}
}

// TestHostilePackets: bad packets leave a Backup and a Master as they are,
// timer and all; odd ones work.
func TestHostilePackets(t *testing.T) {
	t.Parallel()
	for _, tt := range hostileVectors() {
		t.Run(tt.name, func(t *testing.T) {
			b := backup(t, vectorConfig)
			b.pass(100 * ms)
			left := b.r.deadline.Sub(b.now)
			out, d := b.deliver(tt.packet)
			b.do(out)
			if d != tt.discard {
				t.Errorf("discarded %v, want %v", d, tt.discard)
			}
			if d == DiscardNone {
				left = b.c.MasterDownInterval(100 * ms)
			}
			b.deadlineIn(left)
			want := Counters{}
			switch {
			case tt.counts == "":
			case tt.counts[0] == '!':
				want.Warnings = map[string]uint64{tt.counts[1:]: 1}
			default:
				want.Discarded = map[string]uint64{tt.counts: 1}
			}
			got := b.r.Status().Counters
			if diff := cmp.Diff(want, Counters{Discarded: got.Discarded, Warnings: got.Warnings}); diff != "" {
				t.Errorf("counters: -want +got\n%s", diff)
			}

			b = master(t, vectorConfig)
			out, _ = b.deliver(tt.packet)
			if d == DiscardNone {
				b.do(out, sends(100), transition(Master, Backup, ReasonHigherPriority))
			} else {
				b.do(out)
				b.deadlineIn(100 * ms)
			}
		})
	}
}

// Version 2 without authentication discards passwords, and every interval but
// its own.
func TestHostileVersion2(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		payload string
		discard Discard
	}{
		{"good", "2133c80100015496 c0000233 0000000000000000", DiscardNone},
		{"interval 2", "2133c80100025495 c0000233 0000000000000000", DiscardAdvertisementInterval},
		{"v3", "3133c801000aa1fb c0000233", DiscardVersion},
		{"PASS", "2133c8010101e617 c0000233 7365637265743132", DiscardAuthTypeMismatch},
		{"no authentication data", "2133c80100015496 c0000233", DiscardPacketLength},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := backup(t, version2, func(c *Config) { c.VRID, c.Addresses = 51, addrs("192.0.2.51") })
			p := ipv4Packet(octets(tt.payload))
			p[15] = 2 // from 192.0.2.2
			out, d := b.deliver(p)
			b.do(out)
			if d != tt.discard {
				t.Errorf("discarded %v, want %v", d, tt.discard)
			}
		})
	}
}

// A stranger with a full list costs a sort and no more, and is warned about.
func TestHostileAddressList(t *testing.T) {
	t.Parallel()
	many := make([]netip.Addr, MaxAddressesIPv4)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(255 - i)})
	}
	b := backup(t, func(c *Config) { c.Addresses = many })
	reversed := make([]netip.Addr, MaxAddressesIPv4)
	for i := range reversed {
		reversed[i] = many[MaxAddressesIPv4-1-i]
	}
	b.do(b.hears(9, 200, func(a *Advertisement) { a.Addresses = reversed }))
	if got := b.r.Status().Counters.Warnings; got != nil {
		t.Errorf("warnings %v for another order", got)
	}
	reversed[7] = addr("10.0.1.1")
	b.do(b.hears(9, 200, func(a *Advertisement) { a.Addresses = reversed }))
	if got := b.r.Status().Counters.Warnings["addressList"]; got != 1 {
		t.Errorf("%d warnings, want 1", got)
	}
}

// One forged advertisement must not keep the addresses down for two minutes.
func TestHostileLongestInterval(t *testing.T) {
	t.Parallel()
	b := master(t, vectorConfig)
	a := Advertisement{Version: V3, VRID: 53, Priority: 255, Interval: 40950 * ms, Addresses: b.c.Addresses}
	out, d := b.deliver(ipv4Packet(a.Append(nil, addr("192.0.2.9"), GroupIPv4)))
	b.do(out, sends(100), lasting(40950*ms), transition(Master, Backup, ReasonHigherPriority))
	if d != DiscardNone {
		t.Errorf("discarded %v", d)
	}
	if got := b.r.deadline.Sub(b.now); got > 4*time.Second {
		t.Errorf("takes over after %v", got)
	}
}
