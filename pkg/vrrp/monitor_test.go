package vrrp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// monitorTest is a Monitor and a clock.
type monitorTest struct {
	Monitor
	t   *testing.T
	now Time
}

func newMonitorTest(t *testing.T) *monitorTest { return &monitorTest{t: t, now: -1e12} }

// unknownRouter returns the advertisement of 192.0.2.9, which is no member, for the
// VRID of testConfig.
func unknownRouter(changes ...func(a *Advertisement)) Advertisement {
	a := Advertisement{Version: V3, VRID: 50, Priority: 100, Interval: 100 * ms, Addresses: addrs("192.0.2.7", "192.0.2.8")}
	for _, change := range changes {
		change(&a)
	}
	return a
}

// receive observes an advertisement.
func (p *monitorTest) receive(source string, a Advertisement) {
	h := Header{addr(source), Group(FamilyOf(addr(source))), TTL}
	p.Observe(p.now, h, a.Append(nil, h.Source, h.Destination))
}

// receiveN observes n advertisements, one per interval. The time is then that of the
// last.
func (p *monitorTest) receiveN(n int, source string, a Advertisement) {
	for i := range n {
		if i > 0 {
			p.pass(a.Interval)
		}
		p.receive(source, a)
	}
}

func (p *monitorTest) pass(d time.Duration) { p.now = p.now.Add(d) }

// checkConflict checks the result of Conflict for a Config.
func (p *monitorTest) checkConflict(c Config, source, detail string) {
	p.t.Helper()
	with, why, found := p.Conflict(p.now, c)
	if !found {
		with.Source = netip.Addr{}
	}
	got := ""
	if found {
		got = with.Source.String()
	}
	if got != source || why != detail {
		p.t.Errorf("conflict with %q: %q, want %q: %q", got, why, source, detail)
	}
}

func TestMonitorConflict(t *testing.T) {
	t.Parallel()
	v2 := func(a *Advertisement) { a.Version, a.Interval = V2, time.Second }
	password := func(s string) func(a *Advertisement) {
		return func(a *Advertisement) {
			a.Authentication = AuthenticationSimpleTextPassword
			copy(a.Password[:], s)
		}
	}
	ours := func(a *Advertisement) { a.Addresses = testConfig().Addresses }
	secret := func(c *Config) { version2(c); copy(c.Password[:], "secret12") }
	unicast := func(c *Config) { c.Unicast, c.Peers = true, addrs("192.0.2.8") }
	tests := []struct {
		name   string
		change func(c *Config)
		sent   Advertisement
		want   string // empty: no conflict
	}{
		{"other addresses", func(*Config) {}, unknownRouter(), "addresses 192.0.2.7, 192.0.2.8"},
		{"other version", func(*Config) {}, unknownRouter(v2, ours), "VRRPv2"},
		{"other version the other way", version2, unknownRouter(ours), "VRRPv3"},
		{"our addresses", func(*Config) {}, unknownRouter(ours), ""},
		{"one of our addresses", func(*Config) {}, unknownRouter(func(a *Advertisement) { a.Addresses = addrs("192.0.2.7", "192.0.2.51") }), ""},
		{"no password", secret, unknownRouter(v2, ours), "authentication type 0"},
		{"other password", secret, unknownRouter(v2, ours, password("secret13")), "another password"},
		{"our password", secret, unknownRouter(v2, ours, password("secret12")), ""},
		{"our password, other addresses", secret, unknownRouter(v2, password("secret12")), "addresses 192.0.2.7, 192.0.2.8"},
		{"password", version2, unknownRouter(v2, ours, password("secret12")), "authentication type 1"},
		{"other VRID", func(c *Config) { c.VRID = 51 }, unknownRouter(), ""},
		{"a peer", func(c *Config) { c.Peers = addrs("192.0.2.8", "192.0.2.9") }, unknownRouter(), ""},
		{"unicast, other addresses", unicast, unknownRouter(), ""},
		{"unicast, other version and addresses", unicast, unknownRouter(v2), ""},
		{"unicast, other version", unicast, unknownRouter(v2, ours), "VRRPv2"},
		{"ourselves", func(c *Config) { c.Source = addr("192.0.2.9") }, unknownRouter(), ""},
		{
			"other family",
			func(c *Config) {
				c.Family, c.Source, c.Addresses = IPv6, addr("fe80::5"), addrs("fe80::50")
			},
			unknownRouter(), "",
		},
		{
			"many addresses", func(*Config) {},
			unknownRouter(func(a *Advertisement) {
				a.Addresses = addrs("192.0.2.6", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.7")
			}),
			"addresses 192.0.2.6, 192.0.2.1, 192.0.2.2, 192.0.2.3 and 2 more",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := testConfig()
			tt.change(&c)
			p := newMonitorTest(t)
			p.receiveN(3, "192.0.2.9", tt.sent)
			source := ""
			if tt.want != "" {
				source = "192.0.2.9"
			}
			p.checkConflict(c, source, tt.want)
		})
	}
}

// A conflict begins with three advertisements over two intervals, and ends three
// Master_Down_Intervals after the last.
func TestMonitorConflictTakesTime(t *testing.T) {
	t.Parallel()
	const other = "addresses 192.0.2.7, 192.0.2.8"
	c := testConfig()
	a := unknownRouter()
	p := newMonitorTest(t)
	p.receive("192.0.2.10", a)
	p.pass(200 * ms)
	p.receive("192.0.2.10", a)
	p.checkConflict(c, "", "")
	p.receiveN(2, "192.0.2.9", a)
	p.checkConflict(c, "", "")
	p.receive("192.0.2.9", a) // too soon: it is the second over again
	p.checkConflict(c, "", "")
	p.pass(100 * ms)
	p.receive("192.0.2.9", a)
	p.checkConflict(c, "192.0.2.9", other)
	with, _, _ := p.Conflict(p.now, c)
	want := ObservedRouter{IPv4, 50, V3, addr("192.0.2.9"), 100, 100 * ms, a.Addresses, p.now.Add(-200 * ms), p.now, 4}
	if diff := cmp.Diff(want, with, cmpAddr); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	p.pass(3 * 360937500)
	p.checkConflict(c, "192.0.2.9", other)
	p.pass(1)
	p.checkConflict(c, "", "")
	p.receive("192.0.2.9", a)
	p.checkConflict(c, "192.0.2.9", other)

	// Two packets from an hour ago do not count.
	p.pass(time.Hour)
	p.receive("192.0.2.9", a)
	p.checkConflict(c, "", "")
}

// A single forged packet does not turn a good router into a conflict, and a conflict
// is not older than the list that causes it.
func TestMonitorConflictIsNoStrayPacket(t *testing.T) {
	t.Parallel()
	c := testConfig()
	p := newMonitorTest(t)
	good := unknownRouter(func(a *Advertisement) { a.Addresses = c.Addresses })
	p.receiveN(10, "192.0.2.9", good)
	p.receive("192.0.2.9", unknownRouter())
	p.checkConflict(c, "", "")
	p.receiveN(2, "192.0.2.9", good)
	p.receiveN(2, "192.0.2.9", unknownRouter())
	p.checkConflict(c, "", "")
	p.receiveN(2, "192.0.2.9", unknownRouter())
	p.checkConflict(c, "192.0.2.9", "addresses 192.0.2.7, 192.0.2.8")

	// A resignation does not count as a change.
	p.receive("192.0.2.9", unknownRouter(func(a *Advertisement) { a.Priority = 0 }))
	p.checkConflict(c, "192.0.2.9", "addresses 192.0.2.7, 192.0.2.8")
}

// Of several conflicting routers Conflict always returns the same.
func TestMonitorConflictOfSeveral(t *testing.T) {
	t.Parallel()
	p := newMonitorTest(t)
	for range 3 {
		for host := 20; host > 10; host-- {
			p.receive(fmt.Sprintf("192.0.2.%d", host), unknownRouter())
		}
		p.pass(100 * ms)
	}
	for range 20 {
		p.checkConflict(testConfig(), "192.0.2.11", "addresses 192.0.2.7, 192.0.2.8")
	}
}

// An interval of two minutes is bounded: otherwise a few forged packets would make a
// conflict last that long.
func TestMonitorLongInterval(t *testing.T) {
	t.Parallel()
	p := newMonitorTest(t)
	a := unknownRouter(func(a *Advertisement) { a.Interval = 40 * time.Second })
	p.receive("192.0.2.9", a)
	p.pass(10 * time.Second)
	p.receive("192.0.2.9", a)
	p.pass(10 * time.Second)
	p.receive("192.0.2.9", a)
	p.checkConflict(testConfig(), "192.0.2.9", "addresses 192.0.2.7, 192.0.2.8")
	p.pass(3 * 36093750 * time.Microsecond)
	p.checkConflict(testConfig(), "192.0.2.9", "addresses 192.0.2.7, 192.0.2.8")
	if got := p.Routers(p.now); len(got) != 1 || got[0].Interval != 40*time.Second {
		t.Errorf("heard %v", got)
	}
	p.pass(1)
	p.checkConflict(testConfig(), "", "")
	if got := p.Routers(p.now); len(got) != 0 {
		t.Errorf("heard %v", got)
	}
}

func TestMonitorHeard(t *testing.T) {
	t.Parallel()
	p := newMonitorTest(t)
	if got := p.Routers(p.now); got != nil {
		t.Errorf("heard %v at first", got)
	}
	start := p.now
	vrid := func(v uint8) func(a *Advertisement) { return func(a *Advertisement) { a.VRID = v } }
	ipv6 := unknownRouter(func(a *Advertisement) { a.Addresses = addrs("fe80::7", "2001:db8::7") })
	p.receive("fe80::9", ipv6)
	p.receive("192.0.2.10", unknownRouter())
	p.receive("192.0.2.9", unknownRouter())
	p.receive("192.0.2.9", unknownRouter(vrid(3)))
	p.pass(time.Minute)
	p.receive("192.0.2.9", unknownRouter(vrid(3), func(a *Advertisement) { a.Priority, a.Addresses = 7, addrs("192.0.2.1") }))
	want := []ObservedRouter{
		{IPv4, 3, V3, addr("192.0.2.9"), 7, 100 * ms, addrs("192.0.2.1"), start, p.now, 2},
		{IPv4, 50, V3, addr("192.0.2.9"), 100, 100 * ms, addrs("192.0.2.7", "192.0.2.8"), start, start, 1},
		{IPv4, 50, V3, addr("192.0.2.10"), 100, 100 * ms, addrs("192.0.2.7", "192.0.2.8"), start, start, 1},
		{IPv6, 50, V3, addr("fe80::9"), 100, 100 * ms, addrs("fe80::7", "2001:db8::7"), start, start, 1},
	}
	if diff := cmp.Diff(want, p.Routers(p.now), cmpAddr); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	p.pass(1)
	if diff := cmp.Diff(want[:1], p.Routers(p.now), cmpAddr); diff != "" {
		t.Errorf("after a minute: -want +got\n%s", diff)
	}
}

// A Monitor observes every advertisement, even one that no Router accepts.
func TestMonitorReadLeniently(t *testing.T) {
	t.Parallel()
	group := groupHeader("192.0.2.9")
	tests := []struct {
		name    string
		header  Header
		payload string
		noted   bool
	}{
		{"good", group, base, true},
		{"bad checksum", group, "3135c802000a1234c0000235c0000299", true},
		{"interval 0", group, "3135c8020000df5bc0000235c0000299", true},
		{"unicast", Header{group.Source, addr("192.0.2.1"), TTL}, base, true},
		{"trailing garbage", group, base + "ffff", true},
		{"v2", group, "2133c80100015496c0000233 0000000000000000", true},
		{"v2 with AH", group, "2133c80100025495c0000233 0000000000000000", true},
		{"v2 without authentication data", group, "2133c80100015496c0000233", true},
		{"v2 with half a password", group, "2133c80101015496c0000233 7365", true},
		{"v2 over IPv6", Header{addr("fe80::9"), GroupIPv6, TTL}, "2133c80100015496 fe800000000000000000000000000007", true},
		{"7 octets", group, "3135c802000adf", false},
		{"count too high", group, "3135c803000adf50c0000235c0000299", false},
		{"count 0", group, "3135c800000a642b", false},
		{"version 4", group, "4135c802000adf51c0000235c0000299", false},
		{"type 2", group, "3235c802000ade51c0000235c0000299", false},
		{"TTL 254", Header{group.Source, GroupIPv4, 254}, base, false},
		{"source 0.0.0.0", groupHeader("0.0.0.0"), base, false},
		{"no source", Header{netip.Addr{}, GroupIPv4, TTL}, base, false},
		{"IPv6 cut", Header{addr("fe80::9"), GroupIPv6, TTL}, "3133c80100015496 fe8000000000000000000000000000", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newMonitorTest(t)
			p.Observe(p.now, tt.header, octets(tt.payload))
			if got := len(p.Routers(p.now)); (got == 1) != tt.noted {
				t.Errorf("%d noted, want noted %v", got, tt.noted)
			}
		})
	}
}

// A flood of senders is forgotten after a minute, and does not displace the senders
// observed before.
func TestMonitorFlood(t *testing.T) {
	t.Parallel()
	p := newMonitorTest(t)
	slow := unknownRouter(func(a *Advertisement) { a.Interval = 10 * time.Second })
	p.receive("192.0.2.9", slow)
	flood := func() {
		for i := range 100_000 {
			p.receive(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String(), unknownRouter())
		}
	}
	flood()
	if got := len(p.seen[50]); got != maxObservedPerVRID {
		t.Errorf("%d remembered, want %d", got, maxObservedPerVRID)
	}
	p.pass(10 * time.Second)
	p.receive("192.0.2.9", slow)
	p.receive("192.0.2.10", unknownRouter())
	if got := p.Routers(p.now); got[len(got)-1].Source != addr("192.0.2.9") || got[len(got)-1].Count != 2 {
		t.Errorf("last %+v, want 192.0.2.9 twice, and no new sender", got[len(got)-1])
	}
	p.pass(time.Minute)
	p.receive("192.0.2.9", slow)
	p.receive("192.0.2.10", unknownRouter())
	if got := p.Routers(p.now); len(got) != 2 || len(p.seen[50]) != 2 {
		t.Errorf("heard %v, remember %d; want two", got, len(p.seen[50]))
	}
	p.pass(5 * time.Minute)
	p.receive("192.0.2.9", unknownRouter(func(a *Advertisement) { a.VRID = 51 }))
	if len(p.seen) != 1 {
		t.Errorf("remember %d VRIDs, want one", len(p.seen))
	}
}

// Members of every VRID, as at a site with many virtual routers, leave room for
// another router with one of these VRIDs.
func TestMonitorEveryVRID(t *testing.T) {
	t.Parallel()
	p := newMonitorTest(t)
	for vrid := range 255 {
		for _, source := range []string{"192.0.2.8", "192.0.2.10"} {
			p.receive(source, unknownRouter(func(a *Advertisement) { a.VRID = uint8(vrid + 1) }))
		}
	}
	p.receiveN(3, "192.0.2.7", unknownRouter(func(a *Advertisement) { a.VRID = 200 }))
	p.receive("192.0.2.7", unknownRouter(func(a *Advertisement) { a.VRID = 201 }))
	c := testConfig()
	c.VRID = 200
	p.checkConflict(c, "192.0.2.7", "addresses 192.0.2.7, 192.0.2.8")
	if got := p.RoutersWithVRID(p.now, 200); len(got) != 3 || got[0].VRID != 200 || got[2].Source != addr("192.0.2.10") {
		t.Errorf("heard %+v for VRID 200, want three", got)
	}
	if got := p.Routers(p.now); len(got) != 2*255+2 {
		t.Errorf("heard %d, want 512", len(got))
	}
}

func TestMonitorAllocateNothing(t *testing.T) {
	p := newMonitorTest(t)
	h := groupHeader("192.0.2.9")
	one, two := unknownRouter(), unknownRouter(func(a *Advertisement) { a.Addresses = addrs("192.0.2.1") })
	packets := [][]byte{one.Append(nil, h.Source, h.Destination), two.Append(nil, h.Source, h.Destination)}
	for i := range 2 * maxObservedPerVRID {
		p.Observe(p.now, groupHeaderOf(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})), packets[0])
	}
	known, refused := groupHeader("10.0.0.1"), groupHeader("10.1.0.1")
	for name, f := range map[string]func(){
		"known":   func() { p.pass(ms); p.Observe(p.now, known, packets[0]); p.Observe(p.now, known, packets[1]) },
		"refused": func() { p.Observe(p.now, refused, packets[0]) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
