package conflict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/vrrp"
)

// The VIPs a, b, c are on link 2.
var (
	vipA = Address{2, netip.MustParseAddr("192.0.2.100")}
	vipB = Address{2, netip.MustParseAddr("192.0.2.101")}
	vip6 = Address{2, netip.MustParseAddr("2001:db8::100")}

	printer = MAC{2, 0xff, 0, 0, 0, 1}
	peer    = MAC{2, 0, 0, 0, 0, 1}
)

// detectorTest runs a Detector on a virtual clock and writes down its output.
type detectorTest struct {
	d        Detector
	settings Settings
	vips     []VIP
	now      vrrp.Time
	log      []string
}

const epoch = vrrp.Time(time.Hour)

func newTest(vips ...Address) *detectorTest {
	t := &detectorTest{d: NewDetector(), now: epoch, settings: Settings{VRID: 50, MasterDownInterval: 400 * time.Millisecond}}
	for _, a := range vips {
		t.vips = append(t.vips, VIP{Address: a, LinkUp: true})
	}
	t.configure()
	return t
}

func (t *detectorTest) configure() {
	t.d.Configure(t.now, t.settings, slices.Clone(t.vips), nil)
}

func (t *detectorTest) printf(format string, args ...any) {
	at := time.Duration(t.now - epoch).Round(time.Millisecond)
	t.log = append(t.log, fmt.Sprintf("%v ", at)+fmt.Sprintf(format, args...))
}

// run lets d pass and calls Expire whenever it is due.
func (t *detectorTest) run(d time.Duration) *detectorTest {
	end := t.now.Add(d)
	for t.d.Deadline() <= end {
		t.now = max(t.now, t.d.Deadline())
		out := t.d.Expire(t.now)
		for _, p := range out.Probes {
			held := ""
			if p.Held {
				held = " held"
			}
			t.printf("probe%s %s", held, p.IP)
		}
		if out.Bind {
			t.printf("bind")
		}
	}
	t.now = end
	return t
}

func (t *detectorTest) claim(a Address, mac MAC) *detectorTest {
	if r := t.d.HeardClaim(t.now, a, mac); r != None {
		t.printf("%s", [...]string{"", "announce again", "defend"}[r])
	}
	return t
}

func (t *detectorTest) states() string {
	var all []string
	for i := range t.vips {
		all = append(all, [...]string{"unknown", "in use", "available"}[t.d.State(i)])
	}
	return strings.Join(all, ", ")
}

// check compares what was written down since the last check.
func (t *detectorTest) check(tb testing.TB, states string, want ...string) {
	tb.Helper()
	if diff := cmp.Diff(want, t.log); diff != "" {
		tb.Errorf("-want +got\n%s", diff)
	}
	if got := t.states(); got != states {
		tb.Errorf("VIPs are %s, want %s", got, states)
	}
	t.log = nil
}

// RFC 5227 section 2.1.1, RFC 4862 section 5.4: before a VIP is used for the first
// time it is probed, and available without a reply.
func TestProbedOnce(t *testing.T) {
	t.Parallel()
	d := newTest(vipA, vip6)
	if ready, _ := d.d.Ready(); ready || d.d.Deadline() != vrrp.Never {
		t.Error("ready, or a deadline, before the router is to start")
	}
	d.d.Begin(d.now.Add(time.Second))
	d.run(time.Minute).check(t, "available, available",
		"1s probe 192.0.2.100", "1s probe 2001:db8::100",
		"1.02s probe 192.0.2.100", "1.02s probe 2001:db8::100",
		"1.04s probe 192.0.2.100", "1.04s probe 2001:db8::100")
	if ready, _ := d.d.Ready(); !ready || d.d.Deadline() != vrrp.Never {
		t.Error("not ready, or a deadline, after the probes")
	}
	// A takeover does not wait for probes.
	d.d.Take(d.now)
	d.run(time.Second).check(t, "available, available")
}

// A host that replies has the VIP, unless it advertises the virtual router by the
// end of its Master_Down_Interval. The VIP is probed again.
func TestInUse(t *testing.T) {
	t.Parallel()
	d := newTest(vipA, vipB)
	d.d.Begin(d.now)
	d.run(0).claim(vipA, printer).run(time.Second).check(t, "in use, available",
		"0s probe 192.0.2.100", "0s probe 192.0.2.101", "20ms probe 192.0.2.100", "20ms probe 192.0.2.101", "40ms probe 192.0.2.100", "40ms probe 192.0.2.101")
	if n, first := d.d.CountInUse(); n != 1 || first != 0 || d.d.Holder(0) != printer || d.d.Holder(1) != (MAC{}) {
		t.Errorf("%d in use, the first is %d, held by %s and %s", n, first, d.d.Holder(0), d.d.Holder(1))
	}
	if ready, _ := d.d.Ready(); !ready {
		t.Error("not ready though a VIP is available")
	}
	// 400 ms after the reply it was found to be in use, and RetryInterval after that
	// it is probed again; then it is given away.
	d.run(4430*time.Millisecond).claim(vipA, printer).check(t, "in use, available", "5.4s probe 192.0.2.100", "5.42s probe 192.0.2.100")
	d.run(5*time.Second).check(t, "in use, available", "5.44s probe 192.0.2.100")
	d.d.Take(d.now)
	d.run(time.Second).check(t, "available, available", "10.83s probe 192.0.2.100", "10.85s probe 192.0.2.100", "10.87s probe 192.0.2.100", "10.89s bind")
	if n, _ := d.d.CountInUse(); n != 0 || d.d.Holder(0) != (MAC{}) {
		t.Errorf("%d in use after the host has gone, held by %s", n, d.d.Holder(0))
	}
}

func TestAllInUse(t *testing.T) {
	t.Parallel()
	d := newTest(vipA)
	d.d.Begin(d.now)
	d.run(0).claim(vipA, printer).run(time.Second)
	if ready, next := d.d.Ready(); ready || next != epoch.Add(400*time.Millisecond+RetryInterval) {
		t.Errorf("ready %t, next %v after the start, want the next probe", ready, time.Duration(next-epoch))
	}
	d.settings.Force = true
	d.configure()
	d.log = nil
	d.run(0).check(t, "available")
}

// A member that replies is no other host: it is known by the MAC address of its
// advertisements, which may come after the reply.
func TestMemberReplies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		unicast bool
		mac     MAC           // of the advertisement
		at      time.Duration // when it comes
		states  string
	}{
		{"before", false, peer, 0, "available"},
		{"after", false, peer, 300 * time.Millisecond, "available"},
		{"too late", false, peer, 500 * time.Millisecond, "in use"},
		{"of another host", false, MAC{9}, 0, "in use"},
		{"of another interface, with unicast", true, MAC{9}, 300 * time.Millisecond, "available"},
	} {
		d := newTest(vipA)
		d.settings.Unicast = tt.unicast
		d.configure()
		d.d.Begin(d.now)
		d.run(0).claim(vipA, peer).run(tt.at)
		d.d.HeardMember(d.now, tt.mac)
		if d.run(time.Second - tt.at); d.states() != tt.states {
			t.Errorf("%s: VIP is %s, want %s", tt.name, d.states(), tt.states)
		}
	}
}

// Of the members those are remembered that were heard last.
func TestMembersAreBounded(t *testing.T) {
	t.Parallel()
	d := newTest(vipA)
	for i := range 100 {
		d.now = d.now.Add(time.Millisecond)
		d.d.HeardMember(d.now, MAC{1, 0, 0, 0, 0, byte(i)})
		d.d.HeardMember(d.now, peer)
	}
	for i := range 100 {
		if got, want := d.d.isMember(MAC{1, 0, 0, 0, 0, byte(i)}, d.now), i >= 100-maxMembers+1; got != want {
			t.Errorf("sender %d is a member: %t, want %t", i, got, want)
		}
	}
	if !d.d.isMember(peer, d.now) || d.d.isMember(peer, d.now.Add(settling)) {
		t.Error("the peer is no member, or one for ever")
	}
}

// The virtual router itself, and a VIP that is not ours, are no conflict.
func TestNoClaims(t *testing.T) {
	t.Parallel()
	d := newTest(vipA)
	d.d.Begin(d.now)
	d.run(time.Second).run(settling)
	d.d.Take(d.now)
	d.run(10 * time.Second)
	d.log = nil
	d.claim(vipB, printer).claim(vipA, MAC{0, 0, 0x5e, 0, 1, 50}).claim(vipA, MAC{0, 0, 0x5e, 0, 2, 50}).claim(Address{3, vipA.IP}, printer)
	d.check(t, "available")
	if d.d.Claims() != 0 {
		t.Errorf("%d claims counted", d.d.Claims())
	}
	d.claim(vipA, MAC{0, 0, 0x5e, 0, 1, 51}).check(t, "available", "17s defend")
}

// RFC 5227 section 2.4 (b): one claim may be a frame of a Master that stalled; a
// second one is a duplicate. The VIP is defended every DEFEND_INTERVAL.
func TestDuplicate(t *testing.T) {
	t.Parallel()
	d := newTest(vipA)
	d.d.Begin(d.now)
	d.run(time.Second).check(t, "available", "0s probe 192.0.2.100", "20ms probe 192.0.2.100", "40ms probe 192.0.2.100")
	// A Backup does not care.
	d.claim(vipA, printer).check(t, "available")
	d.d.Take(d.now)
	// What a takeover brings about asks for an announcement only.
	d.run(5*time.Second).claim(vipA, printer).check(t, "available", "6s announce again")
	d.run(4*time.Second).check(t, "available", "7s probe held 192.0.2.100")
	d.claim(vipA, printer).check(t, "available", "10s defend")
	if _, _, _, found := d.d.Duplicate(d.now); found || d.d.Claims() != 1 {
		t.Errorf("duplicate %t after the first claim, %d claims", found, d.d.Claims())
	}
	d.run(900*time.Millisecond).claim(vipA, printer).check(t, "available")
	if _, _, _, found := d.d.Duplicate(d.now); found {
		t.Error("duplicate after two claims at one time")
	}
	d.run(120*time.Millisecond).claim(vipA, printer).check(t, "available", "11.02s probe held 192.0.2.100")
	vip, mac, since, found := d.d.Duplicate(d.now)
	if !found || vip != vipA.IP || mac != printer || since != d.now || d.d.Claims() != 3 {
		t.Errorf("duplicate %t: %s, %s since %v, %d claims", found, vip, mac, since, d.d.Claims())
	}
	// It is probed and defended every 10 s.
	d.run(9*time.Second).claim(vipA, printer).check(t, "available", "20.02s defend")
	d.run(3*time.Second).check(t, "available", "21.02s probe held 192.0.2.100")
	d.run(27*time.Second - 1)
	if _, _, _, found := d.d.Duplicate(d.now); !found {
		t.Error("the duplicate has ended too early")
	}
	d.run(1)
	if _, _, _, found := d.d.Duplicate(d.now); found {
		t.Error("the duplicate has not ended")
	}
	d.d.Yield()
	if d.d.Deadline() != vrrp.Never || d.d.Claims() != 4 {
		t.Errorf("a deadline after Yield, or %d claims", d.d.Claims())
	}
}

// A claim that a Master explains, which was heard afterwards, is none.
func TestClaimOfAnotherMaster(t *testing.T) {
	t.Parallel()
	d := newTest(vipA)
	d.d.Begin(d.now)
	d.run(time.Second)
	d.d.Take(d.now)
	d.run(20*time.Second).claim(vipA, peer)
	d.d.HeardMember(d.now, peer)
	d.run(settling - 1)
	d.log = nil
	d.claim(vipA, peer).check(t, "available", "27s announce again")
	d.run(2*time.Second).claim(vipA, peer)
	if _, _, _, found := d.d.Duplicate(d.now); found {
		t.Error("duplicate of a Master that was heard")
	}
}

// A Master asks for what it holds every minute, a few VIPs at a time.
func TestChecksInBatches(t *testing.T) {
	t.Parallel()
	var vips []Address
	for i := range CheckBatch + 10 {
		vips = append(vips, Address{2, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})})
	}
	d := newTest(vips...)
	d.vips[3].LinkUp = false
	d.configure()
	d.d.Begin(d.now)
	d.run(time.Second)
	d.log = nil
	d.d.Take(d.now)
	d.run(2 * time.Minute)
	count := map[string]int{}
	for _, line := range d.log {
		at, _, _ := strings.Cut(line, " ")
		count[at]++
	}
	if want := map[string]int{"7s": CheckBatch - 1, "7.032s": 10, "1m7.032s": CheckBatch - 1, "1m7.064s": 10}; !cmp.Equal(count, want) {
		t.Errorf("probed %v, want %v", count, want)
	}
}

// A VIP that is added to a Master is probed and then bound. One that moves between
// virtual routers, or whose virtual router is made again, is not probed again.
func TestConfigure(t *testing.T) {
	t.Parallel()
	d := newTest(vipA)
	d.d.Begin(d.now)
	d.run(time.Second)
	d.d.Take(d.now)
	d.log = nil
	d.vips = append(d.vips, VIP{vipB, true})
	d.configure()
	d.run(time.Second).check(t, "available, available", "1s probe 192.0.2.101", "1.02s probe 192.0.2.101", "1.04s probe 192.0.2.101", "1.06s bind")

	known := map[Address]Finding{}
	d.d.AppendFindings(known)
	other := newTest()
	other.now, other.vips = d.now, slices.Clone(d.vips)
	other.d.Configure(other.now, other.settings, other.vips, known)
	other.d.Begin(other.now)
	other.run(time.Second).check(t, "available, available")
}

// A VIP on a link that is down is not probed, and not waited for.
func TestLinkDown(t *testing.T) {
	t.Parallel()
	d := newTest(vipA)
	d.vips[0].LinkUp = false
	d.configure()
	d.d.Begin(d.now)
	if ready, _ := d.d.Ready(); !ready {
		t.Error("not ready, though no VIP can be probed")
	}
	d.run(time.Minute).check(t, "unknown")
	d.vips[0].LinkUp = true
	d.configure()
	d.run(time.Second).check(t, "available", "1m0s probe 192.0.2.100", "1m0.02s probe 192.0.2.100", "1m0.04s probe 192.0.2.100")
}

func TestMACString(t *testing.T) {
	t.Parallel()
	if got := printer.String(); got != "02:ff:00:00:00:01" {
		t.Errorf("%s", got)
	}
}
