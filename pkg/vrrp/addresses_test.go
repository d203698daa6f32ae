package vrrp

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// addressList changes the addresses of an advertisement.
func addressList(as ...string) func(a *Advertisement) {
	return func(a *Advertisement) { a.Addresses = addrs(as...) }
}

// withAddresses changes the addresses of what is sent.
func withAddresses(as ...string) want {
	return func(_ *routerTest, out *Output) { out.Send.Addresses = addrs(as...) }
}

// peers makes 192.0.2.1 and 192.0.2.2 known members.
func peers(c *Config) { c.Peers = addrs("192.0.2.2", "192.0.2.1") }

// checkAdvertisedList checks which list the Status says is advertised, and whose it is.
func (b *routerTest) checkAdvertisedList(source string, as ...string) {
	b.t.Helper()
	s := b.r.Status()
	got := ""
	if s.AdvertisingListOf.IsValid() {
		got = s.AdvertisingListOf.String()
	}
	want := addrs(as...)
	if len(as) == 0 {
		want = b.c.Addresses
	}
	if got != source || !slices.Equal(s.Advertised, want) {
		b.t.Errorf("advertises %v, the list of %q; want %v, of %q", s.Advertised, got, want, source)
	}
}

// takeOver lets a Backup become Master.
func (b *routerTest) takeOver(why Reason, wants ...want) {
	b.t.Helper()
	b.untilTimer()
	b.checkOutput(b.r.Expire(b.now), append([]want{sends(b.c.Priority), transition(Backup, Master, why)}, wants...)...)
}

// A Backup adopts the Master's list, and later sends it in every advertisement.
func TestAdoptListAsBackup(t *testing.T) {
	t.Parallel()
	b := backup(t, peers)
	b.checkOutput(b.receive(9, 200, addressList("192.0.2.51")))
	b.checkAdvertisedList("192.0.2.9", "192.0.2.51")
	b.takeOver(ReasonMasterDown, withAddresses("192.0.2.51"))
	b.untilTimer()
	b.checkOutput(b.r.Expire(b.now), sends(100), withAddresses("192.0.2.51"))
	b.pass(ms)
	b.checkOutput(b.receive(1, 0, addressList("192.0.2.51")), sends(100), withAddresses("192.0.2.51"), announces())
	b.checkOutput(b.receive(1, 50, addressList("192.0.2.51")), sends(100), withAddresses("192.0.2.51"), announces())
	b.checkOutput(b.r.Shutdown(b.now), sends(0), withAddresses("192.0.2.51"), transition(Master, Initialize, ReasonShutdown))
}

// A Backup also adopts the list of a Master that resigns, of one of lower priority,
// and of a peer that has adopted it itself.
func TestAdoptListEveryMaster(t *testing.T) {
	t.Parallel()
	for name, hears := range map[string]func(b *routerTest) Output{
		"resigning": func(b *routerTest) Output { return b.receive(9, 0, addressList("192.0.2.51")) },
		"lower":     func(b *routerTest) Output { return b.receive(9, 50, addressList("192.0.2.51")) },
		"peer":      func(b *routerTest) Output { return b.receive(1, 200, addressList("192.0.2.51")) },
	} {
		t.Run(name, func(t *testing.T) {
			b := backup(t, peers)
			b.checkOutput(hears(b))
			b.takeOver(b.r.promoteReason, withAddresses("192.0.2.51"))
		})
	}
}

// A Master adopts the list before it answers: the other Master would discard an
// answer with another list.
func TestAdoptListAsMaster(t *testing.T) {
	t.Parallel()
	b := master(t, peers)
	b.checkOutput(b.receive(9, 50, addressList("192.0.2.51")), sends(100), withAddresses("192.0.2.51"), announces())
	b.pass(100 * ms)
	b.checkOutput(b.receive(10, 50, addressList("192.0.2.50")), sends(100), withAddresses("192.0.2.50"), announces())
	b.checkAdvertisedList("192.0.2.10", "192.0.2.50")
	b.pass(100 * ms)
	b.checkOutput(b.receive(1, 50, addressList("192.0.2.51")), sends(100), withAddresses("192.0.2.51"), announces())
	b.checkAdvertisedList("192.0.2.1", "192.0.2.51")
	b.checkOutput(b.receive(9, 0, addressList("192.0.2.50")), announces())
	b.untilTimer()
	b.checkOutput(b.r.Expire(b.now), sends(100), withAddresses("192.0.2.50"))
	b.checkOutput(b.receive(9, 200, addressList("192.0.2.51")), sends(100), withAddresses("192.0.2.51"), transition(Master, Backup, ReasonHigherPriority))
}

// An adopted list keeps its order.
func TestAdoptListOrder(t *testing.T) {
	t.Parallel()
	b := backup(t, func(c *Config) { c.Addresses = addrs("192.0.2.50", "192.0.2.51", "192.0.2.52", "192.0.2.53") })
	b.checkOutput(b.receive(9, 200, addressList("192.0.2.52", "192.0.2.50", "192.0.2.51")))
	b.takeOver(ReasonMasterDown, withAddresses("192.0.2.52", "192.0.2.50", "192.0.2.51"))
}

// A list that is not a subset of ours is not adopted, and does not replace the
// adopted list.
func TestAdoptListOnlyPart(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]func(a *Advertisement){
		"disjoint":    addressList("192.0.2.52"),
		"overlapping": addressList("192.0.2.51", "192.0.2.52"),
		"superset":    addressList("192.0.2.50", "192.0.2.51", "192.0.2.52"),
		"twice":       addressList("192.0.2.51", "192.0.2.51"),
		"our number":  addressList("192.0.2.51", "192.0.2.53"),
	} {
		t.Run(name, func(t *testing.T) {
			b := backup(t)
			b.checkOutput(b.receive(9, 200, other))
			b.checkAdvertisedList("")
			b.checkOutput(b.receive(9, 200, addressList("192.0.2.51")))
			b.checkOutput(b.receive(9, 200, other))
			b.checkAdvertisedList("192.0.2.9", "192.0.2.51")
		})
	}
}

// Our full list, in any order, ends the adoption.
func TestAdoptListUntilWholeList(t *testing.T) {
	t.Parallel()
	part, whole := addressList("192.0.2.51"), addressList("192.0.2.51", "192.0.2.50")
	tests := []struct {
		name    string
		start   func(t *testing.T, changes ...func(c *Config)) *routerTest
		changes []func(c *Config)
		hears   func(b *routerTest)
		ends    bool
	}{
		{"Backup, unknown router", backup, []func(c *Config){peers}, func(b *routerTest) { b.receive(9, 200, whole) }, true},
		{"Backup, peer", backup, []func(c *Config){peers}, func(b *routerTest) { b.receive(1, 200, whole) }, true},
		{"Backup, no peers known", backup, nil, func(b *routerTest) { b.receive(1, 200, whole) }, true},
		{"Master, unknown router", master, []func(c *Config){peers}, func(b *routerTest) { b.receive(9, 50, whole) }, true},
		{"Master, better peer", master, []func(c *Config){peers}, func(b *routerTest) { b.receive(1, 200, whole) }, true},
		{"Master, no peers known", master, nil, func(b *routerTest) { b.receive(9, 50, whole) }, true},
		{
			"Master, peer that does not yield", master,
			[]func(c *Config){peers},
			func(b *routerTest) {
				for range 4 {
					b.pass(100 * ms)
					b.receive(1, 50, whole)
				}
			},
			true,
		},
		// The peer will yield, and may not know of the adopted list yet.
		{"Master, peer", master, []func(c *Config){peers}, func(b *routerTest) { b.receive(1, 50, whole) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.start(t, tt.changes...)
			b.receive(9, 99, part)
			b.checkAdvertisedList("192.0.2.9", "192.0.2.51")
			tt.hears(b)
			if tt.ends {
				b.checkAdvertisedList("")
			} else {
				b.checkAdvertisedList("192.0.2.9", "192.0.2.51")
			}
		})
	}
}

// A keepalived in Backup sends nothing. So a Master keeps its list for a day after it
// was last heard.
func TestAdoptListForADay(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	b := master(t, peers)
	b.checkOutput(b.receive(9, 50, addressList("192.0.2.51")), sends(100), withAddresses("192.0.2.51"), announces())
	b.pass(day)
	b.checkOutput(b.r.Expire(b.now), sends(100), withAddresses("192.0.2.51"))
	// The unknown router is heard again: another day. A peer does not renew it.
	b.checkOutput(b.receive(9, 0, addressList("192.0.2.51")), announces())
	b.pass(day)
	b.checkOutput(b.receive(1, 50, addressList("192.0.2.51")), sends(100), withAddresses("192.0.2.51"), announces())
	b.checkAdvertisedList("192.0.2.9", "192.0.2.51")
	b.pass(100 * ms)
	b.checkOutput(b.r.Expire(b.now), sends(100))
	b.checkAdvertisedList("")
}

// A Backup keeps the list as long as its Master advertises it, and for a day after
// the Master has gone.
func TestAdoptListAsBackupForLonger(t *testing.T) {
	t.Parallel()
	b := backup(t, peers)
	b.checkOutput(b.receive(9, 200, addressList("192.0.2.51")))
	for range 100 {
		b.pass(time.Hour)
		b.checkOutput(b.receive(1, 200, addressList("192.0.2.51")))
	}
	b.checkAdvertisedList("192.0.2.9", "192.0.2.51")
	b.takeOver(ReasonMasterDown, withAddresses("192.0.2.51"))
	b.pass(24*time.Hour - 361*ms)
	b.checkOutput(b.r.Expire(b.now), sends(100), withAddresses("192.0.2.51"))
	b.pass(time.Second)
	b.checkOutput(b.r.Expire(b.now), sends(100))
}

func TestAdoptListSetConfig(t *testing.T) {
	t.Parallel()
	addresses := func(as ...string) func(c *Config) { return func(c *Config) { c.Addresses = addrs(as...) } }
	b := master(t, peers)
	b.checkOutput(b.receive(9, 50, addressList("192.0.2.51")), sends(100), withAddresses("192.0.2.51"), announces())
	// The advertisement does not change.
	b.checkOutput(b.set(addresses("192.0.2.50", "192.0.2.51", "192.0.2.52")))
	b.checkAdvertisedList("192.0.2.9", "192.0.2.51")
	b.checkOutput(b.set(addresses("192.0.2.51")))
	b.checkAdvertisedList("")
	b.checkOutput(b.set(addresses("192.0.2.50", "192.0.2.51")))
	b.checkAdvertisedList("192.0.2.9", "192.0.2.51")
	// The adopted list is no longer a subset: it is dropped for good.
	b.checkOutput(b.set(addresses("192.0.2.50")), sends(100))
	b.checkOutput(b.set(addresses("192.0.2.51", "192.0.2.50")), sends(100))
	b.checkAdvertisedList("")
	b.checkState(Master)
}

// The list of an unknown router that had our full list is adopted when ours grows: a
// keepalived would become Master at once. A peer will have the same change, and any
// router may be a peer if none are known.
func TestAdoptListWhenListGrows(t *testing.T) {
	t.Parallel()
	whole := addressList("192.0.2.51", "192.0.2.50")
	grow := func(c *Config) { c.Addresses = append(addrs("192.0.2.52"), c.Addresses...) }

	b := backup(t, peers)
	b.checkOutput(b.receive(9, 200, whole))
	b.checkOutput(b.receive(1, 200))
	b.checkAdvertisedList("")
	b.takeOver(ReasonMasterDown)
	b.checkOutput(b.set(grow), sends(100), withAddresses("192.0.2.51", "192.0.2.50"))
	b.checkAdvertisedList("192.0.2.9", "192.0.2.51", "192.0.2.50")

	for _, changes := range [][]func(c *Config){{peers}, nil} {
		b = backup(t, changes...)
		b.checkOutput(b.receive(1, 200, whole))
		b.takeOver(ReasonMasterDown)
		b.checkOutput(b.set(grow), sends(100))
		b.checkAdvertisedList("")
	}

	// A peer that was only the last to learn of a change.
	for _, changes := range [][]func(c *Config){{peers}, nil} {
		b = backup(t, changes...)
		b.checkOutput(b.receive(1, 200, addressList("192.0.2.50")))
		b.checkOutput(b.set(func(c *Config) { c.Addresses = addrs("192.0.2.50") }))
		b.checkOutput(b.receive(1, 200))
		b.takeOver(ReasonMasterDown)
		b.checkOutput(b.set(grow), sends(100))
		b.checkAdvertisedList("")
	}

	b = backup(t, peers)
	b.checkOutput(b.receive(9, 200))
	b.takeOver(ReasonMasterDown)
	b.pass(25 * time.Hour)
	// The list is dropped even before the next advertisement.
	b.checkOutput(b.set(grow), sends(100))
	b.checkAdvertisedList("")
}

// Addresses that do not fit are held and not advertised. The lists of others are
// compared with the advertised ones.
func TestMoreAddressesThanFit(t *testing.T) {
	t.Parallel()
	many := func(f Family, n int) []netip.Addr {
		as := make([]netip.Addr, n)
		for i := range as {
			// The order of the list is not that of the addresses.
			k := (i*7 + 3) % n
			if f == IPv6 {
				as[i] = netip.AddrFrom16([16]byte{0xfe, 0x80, 14: byte(k >> 8), 15: byte(k)})
			} else {
				as[i] = netip.AddrFrom4([4]byte{10, 0, byte(k >> 8), byte(k)})
			}
		}
		if f == IPv4 {
			as[len(as)-1] = addr("10.0.9.9")
		} else {
			as[0] = addr("fe80::9:9")
		}
		return as
	}
	for _, tt := range []struct {
		family Family
		fit    int
	}{{IPv4, 255}, {IPv6, 90}} {
		c := testConfig()
		c.Family, c.Addresses = tt.family, many(tt.family, 1000)
		source := addr("192.0.2.9")
		if tt.family == IPv6 {
			c.Source, source = addr("fe80::5"), addr("fe80::9:1")
		}
		c.Addresses = slices.DeleteFunc(c.Addresses, netip.Addr.IsUnspecified)
		b := &routerTest{t: t, r: NewRouter(c), c: c}
		b.r.Startup(b.now)
		fit := c.Addresses[:tt.fit]
		if diff := cmp.Diff(fit, b.r.Status().Advertised, cmpAddr); diff != "" {
			t.Errorf("advertised: -want +got\n%s", diff)
		}
		hears := func(as []netip.Addr) uint64 {
			before := b.r.statistics.warnings[warningAddressList]
			a := Advertisement{Version: V3, VRID: 50, Priority: 200, Interval: 100 * ms, Addresses: as}
			b.checkOutput(b.r.Receive(b.now, b.now, Header{source, Group(tt.family), TTL}, &a))
			return b.r.statistics.warnings[warningAddressList] - before
		}
		reversed := slices.Clone(fit)
		slices.Reverse(reversed)
		if hears(fit) != 0 || hears(reversed) != 0 {
			t.Errorf("family %d: warned about what we advertise", tt.family)
		}
		if hears(c.Addresses[1:tt.fit+1]) != 1 {
			t.Errorf("family %d: not warned about other addresses of ours", tt.family)
		}
		if diff := cmp.Diff(c.Addresses[1:tt.fit+1], b.r.Status().Advertised, cmpAddr); diff != "" {
			t.Errorf("adopted: -want +got\n%s", diff)
		}
		if hears(reversed); b.r.Status().AdvertisingListOf.IsValid() {
			t.Errorf("family %d: list still adopted", tt.family)
		}
		if hears(c.Addresses[:tt.fit+1]); b.r.Status().AdvertisingListOf.IsValid() {
			t.Errorf("family %d: adopts more than fits", tt.family)
		}
		b.untilTimer()
		out := b.r.Expire(b.now)
		if diff := cmp.Diff(fit, out.Send.Addresses, cmpAddr); diff != "" {
			t.Errorf("sent: -want +got\n%s", diff)
		}
		if err := checkInvariants(b.r, c, Backup, b.now, out); err != nil {
			t.Error(err)
		}
	}
}

// Lists that change with each packet allocate nothing either.
func TestAdoptListAllocatesNothing(t *testing.T) {
	b := backup(t, peers)
	m := master(t, peers)
	lists := [][]netip.Addr{addrs("192.0.2.50"), addrs("192.0.2.51"), addrs("192.0.2.51", "192.0.2.50"), addrs("192.0.2.9")}
	a := Advertisement{Version: V3, VRID: 50, Priority: 50, Interval: 100 * ms, Addresses: b.c.Addresses}
	if n := testing.AllocsPerRun(1, func() {
		b.r.Receive(b.now, b.now, groupHeaderOf(hostAddr(1)), &a)
		a.Addresses = lists[0]
	}); n != 0 {
		t.Errorf("the first that is adopted: %v allocations", n)
	}
	for name, x := range map[string]*routerTest{"Backup": b, "Master": m} {
		i := 0
		if n := testing.AllocsPerRun(100, func() {
			a.Addresses = lists[i%len(lists)]
			i++
			x.r.Receive(x.now, x.now, groupHeaderOf(hostAddr(9)), &a)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
