package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

// testConfig returns the Config of most tests: 192.0.2.5 with priority 100 and
// interval 100 ms, so that Skew_Time is 60.9375 ms.
func testConfig() Config {
	return Config{
		Settings:  Settings{Version: V3, Priority: 100, AdvertisementInterval: 100 * ms, Preempt: true},
		Family:    IPv4,
		VRID:      50,
		Addresses: addrs("192.0.2.50", "192.0.2.51"),
		Source:    addr("192.0.2.5"),
	}
}

// routerTest drives one Router and checks its Outputs.
type routerTest struct {
	t   *testing.T
	r   *Router
	c   Config
	now Time
}

// newRouterTest returns a Router in Initialize. The clock starts at an arbitrary instant
// on which no test may depend.
func newRouterTest(t *testing.T, changes ...func(c *Config)) *routerTest {
	t.Helper()
	c := testConfig()
	for _, change := range changes {
		change(&c)
	}
	return &routerTest{t: t, r: NewRouter(c), c: c, now: -1e12}
}

// backup returns a routerTest whose Router is Backup since now.
func backup(t *testing.T, changes ...func(c *Config)) *routerTest {
	t.Helper()
	b := newRouterTest(t, changes...)
	b.checkOutput(b.r.Startup(b.now), transition(Initialize, Backup, ReasonStartup))
	return b
}

// master returns a routerTest whose Router is Master since now.
func master(t *testing.T, changes ...func(c *Config)) *routerTest {
	t.Helper()
	b := backup(t, changes...)
	b.untilTimer()
	b.checkOutput(b.r.Expire(b.now), sends(b.c.Priority), transition(Backup, Master, ReasonMasterDown))
	return b
}

func nopreempt(c *Config) { c.Preempt = false }

func version2(c *Config) { c.Version, c.AdvertisementInterval = V2, time.Second }

// want changes the Output that is expected.
type want func(b *routerTest, out *Output)

func transition(from, to State, why Reason) want {
	return func(_ *routerTest, out *Output) { out.Transition = &Transition{from, to, why} }
}

func sends(priority uint8) want {
	return func(b *routerTest, out *Output) {
		out.Send = &Advertisement{
			Version: b.c.Version, VRID: b.c.VRID, Priority: priority, Interval: b.c.AdvertisementInterval, Addresses: b.c.Addresses,
			Checksum: b.c.Checksum, Authentication: b.c.authentication(), Password: b.c.Password,
		}
	}
}

// withInterval changes the interval of what is sent.
func withInterval(d time.Duration) want {
	return func(_ *routerTest, out *Output) { out.Send.Interval = d }
}

func announces() want {
	return func(_ *routerTest, out *Output) { out.Announce = true }
}

// checkOutput checks that an Output is the zero one with the changes of wants.
func (b *routerTest) checkOutput(got Output, wants ...want) {
	b.t.Helper()
	var expected Output
	for _, w := range wants {
		w(b, &expected)
	}
	if diff := cmp.Diff(expected, got, cmpAddr); diff != "" {
		b.t.Errorf("output: -want +got\n%s", diff)
	}
}

// receive passes the Router an advertisement of our own list from 192.0.2.host.
func (b *routerTest) receive(host byte, priority uint8, changes ...func(a *Advertisement)) Output {
	a := Advertisement{
		Version: b.c.Version, VRID: b.c.VRID, Priority: priority, Interval: b.c.AdvertisementInterval, Addresses: slices.Clone(b.c.Addresses),
		Authentication: b.c.authentication(), Password: b.c.Password,
	}
	for _, change := range changes {
		change(&a)
	}
	return b.r.Receive(b.now, b.now, groupHeaderOf(hostAddr(host)), &a)
}

func advertisedInterval(d time.Duration) func(a *Advertisement) {
	return func(a *Advertisement) { a.Interval = d }
}

// pass advances the clock by d.
func (b *routerTest) pass(d time.Duration) { b.now = b.now.Add(d) }

// untilTimer advances the clock to the deadline of the timer.
func (b *routerTest) untilTimer() { b.now = b.r.deadline }

// checkDeadline checks how long from now the timer fires.
func (b *routerTest) checkDeadline(want time.Duration) {
	b.t.Helper()
	if got := b.r.deadline.Sub(b.now); got != want {
		b.t.Errorf("timer fires in %v, want %v", got, want)
	}
	if wake, running := b.r.Deadline(); !running || wake > b.r.deadline {
		b.t.Errorf("timer runs %v, Deadline in %v", running, wake.Sub(b.now))
	}
}

func (b *routerTest) checkState(want State) {
	b.t.Helper()
	if got := b.r.State(); got != want {
		b.t.Errorf("state %v, want %v", got, want)
	}
}

// checkInvariants checks the invariants that hold after every call. It runs millions
// of times.
func checkInvariants(r *Router, c Config, before State, now Time, out Output) error {
	after := r.State()
	deadline, running := r.Deadline()
	if running != (after != Initialize) {
		return fmt.Errorf("timer runs %v in %v", running, after)
	}
	if after == Master && deadline > now.Add(c.adverTimer()) {
		return fmt.Errorf("the timer of a Master fires in %v", deadline.Sub(now))
	}
	if (out.Transition == nil) != (before == after) {
		return fmt.Errorf("from %v to %v with transition %v", before, after, out.Transition)
	}
	if tr := out.Transition; tr != nil && (tr.From != before || tr.To != after || tr.Reason == "") {
		return fmt.Errorf("from %v to %v with transition %+v", before, after, *tr)
	}
	if before != Master && after == Master && out.Send == nil {
		return errors.New("became Master without an advertisement")
	}
	if (before == Master && after == Initialize) != (out.Send != nil && out.Send.Priority == PriorityResign) {
		return fmt.Errorf("from %v to %v, sent %+v", before, after, out.Send)
	}
	if out.Send != nil {
		var again Advertisement
		h := Header{c.Source, Group(c.Family), TTL}
		if c.Unicast {
			h.Destination = c.Peers[0]
		}
		if _, d := Parse(h, out.Send.Append(nil, h.Source, h.Destination), &again); d != DiscardNone {
			return fmt.Errorf("sent %+v, to be discarded %v", *out.Send, d)
		}
		if sent := *out.Send; !sameAdvertisement(sent, again) {
			return fmt.Errorf("sent %+v, to be read as %+v", sent, again)
		}
	}
	return nil
}

func groupHeaderOf(source netip.Addr) Header { return Header{source, GroupIPv4, TTL} }

func hostAddr(host byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, host}) }

func sameAdvertisement(a, b Advertisement) bool {
	return a.Version == b.Version && a.VRID == b.VRID && a.Priority == b.Priority && a.Interval == b.Interval &&
		slices.Equal(a.Addresses, b.Addresses) && a.Authentication == b.Authentication && a.Password == b.Password
}
