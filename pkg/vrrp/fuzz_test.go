package vrrp

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzParse feeds whole packets through the codec. Whatever is accepted has
// addresses and an interval, is exactly as long as its count says, and says the
// same after another round trip; nothing allocates.
func FuzzParse(f *testing.F) {
	for _, g := range goldenPackets {
		f.Add(ipv4Packet(octets(g.payload)), false)
		p := ipv4Packet(octets(g.payload))
		source, destination := addr(g.source).As4(), addr(g.destination).As4()
		copy(p[12:], source[:])
		copy(p[16:], destination[:])
		f.Add(p, true)
	}
	for _, payload := range []string{
		base, "", "31", "3135c802000a00", "3135c802000a6429", "3135c800000a642b", "3135c8020000df5bc0000235c0000299",
		"3135c802f00aef50c0000235c0000299", "3135c802000a81eec0000235c0000299", "3135c802000adf49c0000235c0000299ffffffffffffffff",
		"2134960101011816c00002347365637265743132", "2133c80100015496c0000233", "f135c802000adf51c0000235c0000299",
	} {
		f.Add(ipv4Packet(octets(payload)), false)
		f.Add(append(ipv4Packet(octets(payload), 0x94, 4, 0, 0), 0, 0, 0), true)
	}

	f.Fuzz(func(t *testing.T, packet []byte, repair bool) {
		h, payload, d := ParseIPv4(packet)
		if d != DiscardNone {
			if payload != nil {
				t.Errorf("discarded %v with a payload", d)
			}
			return
		}
		if repair { // so that not all end at these checks
			h = groupHeader("192.0.2.9")
			payload = bytes.Clone(payload)
			if len(payload) >= fixedLength {
				payload[6], payload[7] = 0, 0
				sum := checksum(payload, 0)
				payload[6], payload[7] = byte(sum>>8), byte(sum)
			}
		}
		a := Advertisement{Addresses: make([]netip.Addr, 0, MaxAddresses)}
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
		length := fixedLength + addressLength*len(a.Addresses)
		if a.Version == V2 {
			length += authenticationLength
		}
		if len(a.Addresses) < 1 || length != len(payload) {
			t.Errorf("%d addresses in %d octets", len(a.Addresses), len(payload))
		}
		if a.Interval <= 0 || h.TTL != TTL || h.Destination != GroupIPv4 || !isHostIPv4(h.Source) {
			t.Errorf("accepted %+v with header %+v", a, h)
		}
		encoded := a.Append(nil, h.Source, h.Destination)
		var again Advertisement
		if _, d := Parse(h, encoded, &again); d != DiscardNone {
			t.Fatalf("discarded %v what was made from %+v", d, a)
		}
		if diff := cmp.Diff(a, again, cmpAddr); diff != "" {
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
