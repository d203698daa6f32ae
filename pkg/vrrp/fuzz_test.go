package vrrp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// packetFor puts payload into an IP packet with that header.
func packetFor(h Header, payload []byte) []byte {
	if h.Source.Is4() {
		p := ipv4Packet(payload)
		source, destination := h.Source.As4(), h.Destination.As4()
		copy(p[12:], source[:])
		copy(p[16:], destination[:])
		p[8] = h.TTL
		return p
	}
	p := ipv6Packet(payload)
	source, destination := h.Source.As16(), h.Destination.As16()
	copy(p[8:], source[:])
	copy(p[24:], destination[:])
	p[7] = h.TTL
	return p
}

// FuzzParse feeds whole packets through the codec. Whatever is accepted has
// addresses and an interval, is exactly as long as its count says, and says the
// same after another round trip; nothing allocates.
func FuzzParse(f *testing.F) {
	for _, g := range goldenPackets {
		f.Add(packetFor(Header{addr(g.source), addr(g.destination), TTL}, octets(g.payload)), false)
	}
	for _, v := range hostileVectors() {
		f.Add(v.packet, false)
		f.Add(v.packet, true)
	}
	for _, p := range codecCases() {
		f.Add(p, false)
	}

	f.Fuzz(func(t *testing.T, packet []byte, repair bool) {
		h, payload, d := ParseIP(packet)
		if d != DiscardNone {
			if payload != nil || h != (Header{}) {
				t.Errorf("discarded %v with a payload", d)
			}
			return
		}
		if repair { // so that not all end at these checks
			h = Header{addr("192.0.2.9"), GroupIPv4, TTL}
			if packet[0]>>4 == 6 {
				h = Header{addr("fe80::9"), GroupIPv6, TTL}
			}
			payload = bytes.Clone(payload)
			if len(payload) >= fixedLength {
				var pseudo uint32
				if payload[0]>>4 == 3 {
					pseudo = pseudoHeader(len(payload), h.Source, h.Destination)
				}
				payload[6], payload[7] = 0, 0
				binary.BigEndian.PutUint16(payload[6:], checksum(payload, pseudo))
			}
		}
		a := Advertisement{Addresses: make([]netip.Addr, 0, MaxAddressesIPv4)}
		var form ChecksumForm
		if n := testing.AllocsPerRun(1, func() { form, d = Parse(h, payload, &a) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		if (form == ChecksumNone) != (d != DiscardNone) {
			t.Errorf("checksum form %v, discarded %v", form, d)
		}
		if d != DiscardNone {
			if a.Version != 0 || len(a.Addresses) != 0 {
				t.Errorf("discarded %v but read %+v", d, a)
			}
			return
		}

		vrid, ok := PeekVRID(payload)
		if !ok || vrid != a.VRID {
			t.Errorf("peeked VRID %d, %v; parsed %d", vrid, ok, a.VRID)
		}
		family := FamilyOf(h.Source)
		length := fixedLength + len(a.Addresses)*addressLengthIPv4
		if family == IPv6 {
			length = fixedLength + len(a.Addresses)*addressLengthIPv6
		}
		if a.Version == V2 {
			length += authenticationLength
		}
		if len(a.Addresses) < 1 || length != len(payload) || a.Addresses[0].Is4() != (family == IPv4) {
			t.Errorf("%d addresses %v in %d octets", len(a.Addresses), a.Addresses, len(payload))
		}
		if a.Interval <= 0 || h.TTL != TTL || !isHost(h.Source, family) || h.Destination != Group(family) && !isHost(h.Destination, family) {
			t.Errorf("accepted %+v with header %+v", a, h)
		}
		if a.Version == V2 && family == IPv6 || a.Version != V2 && (a.Authentication != 0 || a.Password != (Password{})) {
			t.Errorf("accepted %+v over IPv%d", a, family)
		}
		want := a
		a.Checksum = form
		encoded := a.Append(nil, h.Source, h.Destination)
		var again Advertisement
		switch back, d := Parse(h, encoded, &again); {
		case d != DiscardNone:
			t.Fatalf("discarded %v what was made from %+v", d, a)
		case form == ChecksumMessage && back != form:
			// Unless both sums are the same.
			if pseudoHeader(len(encoded), h.Source, h.Destination)%0xffff != 0 {
				t.Errorf("checksum %v came back as %v", form, back)
			}
		}
		if diff := cmp.Diff(want, again, cmpAddr); diff != "" {
			t.Errorf("-parsed +after a round trip\n%s", diff)
		}
	})
}

// FuzzRouter makes any sequence of calls. The Router must never panic, and after
// each call be in order as checkOutput understands it.
func FuzzRouter(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x06\xff\x00\x02\x01\x64\x02\x01\x00\x05\x03\xc8\x04\xff\xff\x01\x00\x00"), true)
	f.Add([]byte("\x00\x00\x00\x02\x01\x00\x02\x01\x00\x06\xf0\x00\x06\xff\x00\x02\x02\x00\x02\x02\x50\x02\x02\xff"), false)
	f.Fuzz(func(t *testing.T, script []byte, v2 bool) {
		c := testConfig()
		if v2 {
			c.Version, c.AdvertisementInterval = V2, time.Second
		}
		r := NewRouter(c)
		var now Time
		for ; len(script) >= 3; script = script[3:] {
			x, y := script[1], script[2]
			now = now.Add(c.AdvertisementInterval * time.Duration(x) / 32)
			before := r.State()
			var out Output
			switch script[0] % 8 {
			case 0:
				out = r.Startup(now)
			case 1:
				out = r.Shutdown(now)
			case 2, 3:
				a := Advertisement{Version: c.Version, VRID: c.VRID, Priority: y, Interval: centisecond * time.Duration(1+int(x)*int(y)%4095), Addresses: c.Addresses}
				if v2 {
					a.Interval = time.Second * time.Duration(1+y%2)
				}
				out = r.Receive(now, now.Add(c.AdvertisementInterval*time.Duration(int(y)-200)/8), groupHeaderOf(netip.AddrFrom4([4]byte{192, 0, 2, x})), &a)
			case 4:
				out = r.Stalled(now, c.AdvertisementInterval*time.Duration(y)/32)
			case 5:
				c.Priority, c.Preempt = max(1, min(254, y)), x%2 == 0
				c.DownAdverts, c.TakeoverDelay = int(x%5), time.Duration(x)*time.Millisecond
				c.Source = netip.AddrFrom4([4]byte{192, 0, 2, x})
				if !v2 {
					c.AdvertisementInterval = centisecond * time.Duration(1+int(y)*int(x)%4095)
				}
				out = r.SetConfig(now, c)
			default:
				out = r.Expire(now)
				if deadline, running := r.Deadline(); running && deadline <= now {
					t.Fatalf("Deadline %v ago after Expire", now.Sub(deadline))
				}
			}
			if err := checkOutput(r, c, before, now, out); err != nil {
				t.Fatal(err)
			}
		}
	})
}
