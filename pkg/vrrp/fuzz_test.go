package vrrp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
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

// FuzzParse passes whole packets to the codec. An accepted packet has addresses and
// an interval, is exactly as long as its count requires, and survives a round trip;
// nothing allocates.
func FuzzParse(f *testing.F) {
	for _, g := range goldenPackets {
		f.Add(packetFor(Header{addr(g.source), addr(g.destination), TTL}, octets(g.payload)), false)
	}
	for _, v := range hostileVectors() {
		f.Add(v.packet, false)
		f.Add(v.packet, true)
	}
	for _, p := range codecCases() {
		f.Add(p.packet, false)
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

// FuzzRouter makes any sequence of calls to a router of any kind. It must never
// panic, and pass checkInvariants after each call.
func FuzzRouter(f *testing.F) {
	configs := validationConfigs()
	kinds := slices.Sorted(maps.Keys(configs))
	for kind := range kinds {
		k := byte(kind)
		f.Add([]byte("\x00\x00\x00\x06\xff\x00\x02\x01\x64\x02\x01\x00\x05\x03\xc8\x04\xff\xff\x01\x00\x00"), k)
		f.Add([]byte("\x00\x00\x00\x02\x01\x00\x02\x01\x00\x06\xf0\x00\x06\xff\x00\x02\x02\x00\x02\x02\x50\x02\x02\xff"), k)
		f.Add([]byte("\x00\x00\x00\x06\xff\x00\x03\x01\x64\x03\x21\x20\x08\x10\x05\x07\x02\x7f\x03\x05\x32\x06\x20\x00\x09\x00\x00"), k)
	}
	f.Fuzz(func(t *testing.T, script []byte, kind byte) {
		c := configs[kinds[int(kind)%len(kinds)]]
		r := NewRouter(c)
		var now Time
		for ; len(script) >= 3; script = script[3:] {
			x, y := script[1], script[2]
			now = now.Add(c.AdvertisementInterval * time.Duration(x) / 32)
			before := r.State()
			p := packetTo(c)
			p.Priority = y
			var out Output
			switch script[0] % 10 {
			case 0:
				out = r.Startup(now)
			case 1:
				out = r.Shutdown(now)
			case 2:
				// Of our kind, at any time.
				if c.Version == V3 {
					p.Interval = centisecond * time.Duration(1+int(x)*int(y)%4095)
				}
				arrived := now.Add(c.AdvertisementInterval * time.Duration(int(y)-200) / 8)
				out = r.Receive(now, arrived, p.Header, &p.Advertisement)
			case 3:
				// From another source, with another list, and wrong in one way.
				p.Source = withLast(p.Source, x)
				switch y % 4 {
				case 1:
					p.Addresses = []netip.Addr{withLast(c.Addresses[0], y)}
				case 2:
					p.Addresses = c.Addresses[1:]
				case 3:
					p.Addresses = []netip.Addr{c.Addresses[1], c.Addresses[0], withLast(c.Addresses[0], x)}
				}
				switch x % 8 {
				case 1:
					p.VRID++
				case 2:
					p.Version = V2 + V3 - p.Version
				case 3:
					p.Authentication++
				case 4:
					p.Password[x%8]++
				case 5:
					p.Destination = withLast(p.Destination, y)
				case 6:
					p.Interval = min(2*p.Interval, intervalMask*centisecond)
				}
				out = r.Receive(now, now, p.Header, &p.Advertisement)
			case 4:
				out = r.Stalled(now, c.AdvertisementInterval*time.Duration(y)/32)
			case 5:
				c.Priority, c.Preempt = max(1, min(254, y)), x%2 == 0
				c.DownAdverts, c.TakeoverDelay = int(x%5), time.Duration(x)*time.Millisecond
				c.PreemptDelay, c.AdvertsPerInterval = time.Duration(x%3)*time.Second, int(y%5)
				c.Source = withLast(c.Source, x|1)
				if c.Version == V3 {
					c.AdvertisementInterval = centisecond * time.Duration(1+int(y)*int(x)%4095)
				}
				if c.Version == V2 {
					c.Password[0], c.AdvertsPerInterval = x, 0
				} else if c.Family == IPv4 {
					c.Checksum = ChecksumForm(y % 3)
				}
				if !c.Preempt {
					c.PreemptDelay = 0
				}
				out = r.SetConfig(now, c)
			case 7:
				p.Source, p.Destination = withLast(p.Source, x), withLast(p.Destination, y)
				r.Discard(now, p.Header, Discard(x)%(discards+1))
				r.CountChecksum(ChecksumForm(y))
			case 8:
				if err := checkStatus(r, c, now); err != nil {
					t.Fatal(err)
				}
			default:
				out = r.Expire(now)
				if deadline, running := r.Deadline(); running && deadline <= now {
					t.Fatalf("Deadline %v ago after Expire", now.Sub(deadline))
				}
			}
			if err := checkInvariants(r, c, before, now, out); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// checkStatus checks the invariants of the Status.
func checkStatus(r *Router, c Config, now Time) error {
	s := r.Status()
	if n := len(s.Advertised); n < 1 || n > MaxAddresses(c.Family) {
		return fmt.Errorf("advertises %d addresses", n)
	}
	for reason := range s.Counters.Discarded {
		if !slices.Contains(discardNames[:], reason) {
			return fmt.Errorf("discarded %q", reason)
		}
	}
	seen := map[AlarmReason]bool{}
	for _, a := range r.Alarms(now) {
		if seen[a.Reason] || !a.Source.IsValid() || a.Since > now {
			return fmt.Errorf("alarm %+v", a)
		}
		seen[a.Reason] = true
	}
	return nil
}

// withLast returns a with another last octet.
func withLast(a netip.Addr, last byte) netip.Addr {
	octets := a.AsSlice()
	octets[len(octets)-1] = last
	changed, _ := netip.AddrFromSlice(octets)
	return changed
}
