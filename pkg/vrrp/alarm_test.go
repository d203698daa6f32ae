package vrrp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// checkAlarms checks the current alarms.
func (b *routerTest) checkAlarms(want ...Alarm) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.r.Alarms(b.now), cmpAddr); diff != "" {
		b.t.Errorf("alarms: -want +got\n%s", diff)
	}
}

// downInterval is the Master_Down_Interval of testConfig.
const downInterval = 360937500 * time.Nanosecond

func TestAlarmIncompatiblePeer(t *testing.T) {
	t.Parallel()
	b := backup(t)
	discard := func(host byte, d Discard) { b.r.Discard(b.now, groupHeaderOf(hostAddr(host)), d) }
	discard(9, DiscardChecksum)
	b.checkAlarms()
	for range 10 {
		discard(9, DiscardChecksum) // not yet two intervals
	}
	b.checkAlarms()
	b.pass(200*ms - 1)
	discard(9, DiscardChecksum)
	b.checkAlarms()
	b.pass(1)
	discard(9, DiscardChecksum)
	alarm := Alarm{AlarmIncompatiblePeer, addr("192.0.2.9"), "checksum", b.now}
	b.checkAlarms(alarm)

	// The Detail is the current one, Since is that of the first.
	b.pass(time.Second)
	discard(9, DiscardType)
	alarm.Detail = "type"
	b.checkAlarms(alarm)

	// Another source does not replace it while it lasts. The sender's interval
	// is not known and counts as 1 s.
	const hold = 3 * (3*time.Second + 609375*time.Microsecond)
	b.pass(hold)
	discard(10, DiscardChecksum)
	b.checkAlarms(alarm)
	b.pass(1)
	b.checkAlarms()
	discard(9, DiscardType)
	b.checkAlarms()
}

// Two packets are not enough, however long they are apart, and neither are
// three of which the first is long ago, or from different sources.
func TestAlarmIsNoStrayPacket(t *testing.T) {
	t.Parallel()
	b := backup(t)
	discard := func(host byte) { b.r.Discard(b.now, groupHeaderOf(hostAddr(host)), DiscardChecksum) }
	for range 10 {
		discard(9)
		b.pass(5 * time.Second)
		discard(9)
		b.checkAlarms()
		b.pass(11 * time.Second)
	}
	for host := byte(10); host < 40; host++ {
		discard(host)
		b.pass(100 * ms)
		b.checkAlarms()
	}
}

// The reasons to discard a packet that raise the alarm, and those that do not.
func TestAlarmIncompatiblePeerReasons(t *testing.T) {
	t.Parallel()
	none := map[Discard]bool{
		DiscardNone: true, DiscardProtocol: true, DiscardSource: true, DiscardIPTTL: true, DiscardVRID: true,
		DiscardInitialize: true, DiscardOwnSource: true,
	}
	for d := range discards {
		b := backup(t)
		for range 3 {
			b.r.Discard(b.now, groupHeaderOf(hostAddr(9)), d)
			b.pass(100 * ms)
		}
		got := b.r.Alarms(b.now)
		found := len(got) == 1 && got[0].Reason == AlarmIncompatiblePeer && got[0].Detail == d.String()
		if found == none[d] {
			t.Errorf("%v: alarms %v", d, got)
		}
	}
}

// A time to live other than 255 raises the alarm only for a unicast peer.
func TestAlarmTTLOfUnicastPeer(t *testing.T) {
	t.Parallel()
	peers := func(c *Config) { c.Unicast, c.Peers = true, []netip.Addr{hostAddr(9)} }
	for host, want := range map[byte]bool{9: true, 10: false} {
		b := backup(t, peers)
		h := Header{Source: hostAddr(host), Destination: b.c.Source, TTL: 64}
		for range 3 {
			b.r.Discard(b.now, h, DiscardIPTTL)
			b.pass(100 * ms)
		}
		got := b.r.Alarms(b.now)
		found := len(got) == 1 && got[0].Reason == AlarmIncompatiblePeer && got[0].Source == h.Source && got[0].Detail == "ipTtl"
		if found != want {
			t.Errorf("%s: alarms %v", h.Source, got)
		}
	}
}

// The same with whole packets.
func TestAlarmIncompatiblePackets(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(c *Config)
		packet Advertisement
		to     netip.Addr
		want   string
	}{
		"version": {
			func(*Config) {},
			Advertisement{Version: V2, VRID: 50, Priority: 200, Interval: time.Second, Addresses: testConfig().Addresses},
			GroupIPv4, "version",
		},
		"version 2 interval": {
			version2,
			Advertisement{Version: V2, VRID: 50, Priority: 200, Interval: 2 * time.Second, Addresses: testConfig().Addresses},
			GroupIPv4, "advertisementInterval",
		},
		"password": {
			version2,
			Advertisement{
				Version: V2, VRID: 50, Priority: 200, Interval: time.Second, Addresses: testConfig().Addresses,
				Authentication: AuthenticationSimpleTextPassword,
			},
			GroupIPv4, "authTypeMismatch",
		},
		"unicast": {
			func(*Config) {},
			Advertisement{Version: V3, VRID: 50, Priority: 200, Interval: time.Second, Addresses: testConfig().Addresses},
			testConfig().Source, "wrongDestination",
		},
		"unknown peer": {
			func(c *Config) { c.Unicast, c.Peers = true, addrs("192.0.2.1") },
			Advertisement{Version: V3, VRID: 50, Priority: 200, Interval: time.Second, Addresses: testConfig().Addresses},
			testConfig().Source, "unknownPeer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := backup(t, tt.change)
			for range 3 {
				b.checkOutput(b.r.Receive(b.now, b.now, Header{addr("192.0.2.9"), tt.to, TTL}, &tt.packet))
				b.pass(time.Second)
			}
			b.checkAlarms(Alarm{AlarmIncompatiblePeer, addr("192.0.2.9"), tt.want, b.now.Add(-time.Second)})
		})
	}
}

func TestAlarmOwnSource(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.checkOutput(b.receive(5, 200))
	alarm := Alarm{AlarmOwnSource, addr("192.0.2.5"), "", b.now}
	b.checkAlarms(alarm)
	b.pass(time.Second)
	b.r.Discard(b.now, groupHeaderOf(hostAddr(5)), DiscardOwnSource)
	b.checkAlarms(alarm)
	b.pass(time.Minute)
	b.checkAlarms()
}

// Another Master stays Master beside us.
func TestAlarmSplitBrain(t *testing.T) {
	t.Parallel()
	b := master(t)
	lower := func(interval time.Duration) {
		t.Helper()
		b.receive(9, 99, advertisedInterval(interval))
		b.checkState(Master)
	}
	for range 4 {
		lower(100 * ms)
		b.checkAlarms()
		b.pass(100 * ms)
	}
	lower(100 * ms)
	alarm := Alarm{AlarmSplitBrain, addr("192.0.2.9"), "priority 99", b.now}
	b.checkAlarms(alarm)
	b.pass(3 * downInterval)
	b.checkAlarms(alarm)
	b.pass(1)
	b.checkAlarms()

	// The alarm requires three of the sender's own intervals.
	for range 4 {
		lower(200 * ms)
		b.checkAlarms()
		b.pass(200 * ms)
	}
	lower(200 * ms)
	alarm.Since = b.now
	b.checkAlarms(alarm)

	// The alarm ends when there is one Master.
	b.checkOutput(b.receive(9, 101), sends(100), transition(Master, Backup, ReasonHigherPriority))
	b.checkAlarms()

	// A Master that yields to an answer raises no alarm.
	b = master(t)
	for range 3 {
		lower(100 * ms)
		lower(100 * ms)
		b.pass(2 * time.Second)
		b.checkAlarms()
	}
}

// The same for a Master with our priority and a lower address. In version 2 it gets
// no answer.
func TestAlarmSplitBrainEqual(t *testing.T) {
	t.Parallel()
	for _, version := range []func(c *Config){func(*Config) {}, version2} {
		b := master(t, version)
		for range 4 {
			b.receive(4, 100)
			b.checkAlarms()
			b.pass(b.c.AdvertisementInterval * 4 / 5)
		}
		b.receive(4, 100)
		b.checkAlarms(Alarm{AlarmSplitBrain, addr("192.0.2.4"), "priority 100", b.now})
	}
}

// Another Master does not yield despite many answers.
func TestAlarmPeerDeaf(t *testing.T) {
	t.Parallel()
	b := master(t)
	start := b.now
	for b.now.Sub(start) <= 5*downInterval {
		b.receive(9, 99)
		for _, a := range b.r.Alarms(b.now) {
			if a.Reason == AlarmPeerDeaf {
				t.Fatalf("deaf after %v", b.now.Sub(start))
			}
		}
		b.pass(100 * ms)
	}
	b.receive(9, 99)
	b.checkAlarms(
		Alarm{AlarmSplitBrain, addr("192.0.2.9"), "priority 99", start.Add(400 * ms)},
		Alarm{AlarmPeerDeaf, addr("192.0.2.9"), "priority 99", b.now},
	)
	b.checkOutput(b.receive(9, 101), sends(100), transition(Master, Backup, ReasonHigherPriority))
	b.checkAlarms()

	// A Master that comes back now and then, because advertisements are lost, is
	// not deaf.
	b = master(t)
	for range 4 {
		b.receive(9, 99)
		b.receive(9, 99)
		b.pass(time.Second)
	}
	for _, a := range b.r.Alarms(b.now) {
		if a.Reason == AlarmPeerDeaf {
			t.Error("deaf after eight advertisements")
		}
	}
}

func TestAlarmAddressList(t *testing.T) {
	t.Parallel()
	b := backup(t, peers, func(c *Config) { c.Addresses = addrs("192.0.2.50", "192.0.2.51") })
	b.receive(9, 200, addressList("192.0.2.50", "192.0.2.52"))
	b.pass(100 * ms)
	b.receive(9, 200, addressList("192.0.2.50", "192.0.2.52"))
	b.checkAlarms()
	b.pass(100 * ms)
	b.receive(9, 200, addressList("192.0.2.50", "192.0.2.52"))
	alarm := Alarm{AlarmAddressList, addr("192.0.2.9"), "192.0.2.50, 192.0.2.52 instead of 192.0.2.50, 192.0.2.51", b.now}
	b.checkAlarms(alarm)

	// The length of the Detail is bounded.
	b.set(func(c *Config) {
		c.Addresses = addrs("192.0.2.50", "192.0.2.51", "192.0.2.53", "192.0.2.54", "192.0.2.55", "192.0.2.56")
	})
	b.receive(9, 200, func(a *Advertisement) { a.Addresses = make([]netip.Addr, 0, 255) }, func(a *Advertisement) {
		for i := range 255 {
			a.Addresses = append(a.Addresses, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
		}
	})
	alarm.Detail = "10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3 and 251 more instead of " +
		"192.0.2.50, 192.0.2.51, 192.0.2.53, 192.0.2.54 and 2 more"
	b.checkAlarms(alarm)

	// A subset of our list is adopted, and raises no alarm.
	b.pass(3 * downInterval)
	b.receive(9, 200, addressList("192.0.2.50"))
	b.checkAlarms(alarm)
	b.pass(1)
	b.checkAlarms()
}

// Members learn of a change one after another.
func TestAlarmAddressListOfPeer(t *testing.T) {
	t.Parallel()
	// Without known peers, as over IPv6, any router may be one.
	for _, changes := range [][]func(c *Config){{peers}, nil} {
		b := backup(t, changes...)
		start := b.now
		for b.now.Sub(start) < 3*time.Second {
			b.receive(1, 200, addressList("192.0.2.50", "192.0.2.51", "192.0.2.52"))
			b.checkAlarms()
			b.pass(100 * ms)
		}
		b.receive(1, 200, addressList("192.0.2.50", "192.0.2.51", "192.0.2.52"))
		b.checkAlarms(Alarm{
			AlarmAddressList, addr("192.0.2.1"), "192.0.2.50, 192.0.2.51, 192.0.2.52 instead of 192.0.2.50, 192.0.2.51", b.now,
		})
	}
}

func TestAlarmAddressOwner(t *testing.T) {
	t.Parallel()
	b := backup(t, peers)
	for range 10 {
		b.receive(1, 255)
		b.checkAlarms()
		b.pass(100 * ms)
	}
	b.receive(9, 255)
	b.pass(100 * ms)
	b.receive(9, 255)
	b.checkAlarms()
	b.pass(100 * ms)
	b.receive(9, 255)
	b.checkAlarms(Alarm{AlarmAddressOwner, addr("192.0.2.9"), "", b.now})
	b.pass(3*downInterval + 1)
	b.checkAlarms()
}

// The bound on a learned interval also limits how long an alarm lasts.
func TestAlarmLongInterval(t *testing.T) {
	t.Parallel()
	b := backup(t)
	for range 3 {
		b.receive(9, 255, advertisedInterval(40950*ms))
		b.pass(time.Second)
	}
	b.checkAlarms(Alarm{AlarmAddressOwner, addr("192.0.2.9"), "", b.now.Add(-time.Second)})
	b.pass(3 * 3609375 * time.Microsecond)
	b.checkAlarms()
}

// A flood makes alarms allocate nothing.
func TestAlarmAllocatesNothing(t *testing.T) {
	m := master(t, peers)
	a := Advertisement{Version: V3, VRID: 50, Priority: 50, Interval: 100 * ms, Addresses: addrs("192.0.2.66")}
	i := byte(0)
	for name, f := range map[string]func(){
		"advertisements": func() { m.r.Receive(m.now, m.now, groupHeaderOf(hostAddr(100+i%100)), &a) },
		"discards":       func() { m.r.Discard(m.now, groupHeaderOf(hostAddr(100+i%100)), DiscardChecksum) },
		"no alarms":      func() { b := m.r.Alarms(m.now); _ = b },
	} {
		if n := testing.AllocsPerRun(100, func() { i++; f() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
