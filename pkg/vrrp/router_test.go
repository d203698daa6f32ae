package vrrp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRouterTakeoverDelay(t *testing.T) {
	t.Parallel()
	delay := func(c *Config) { c.TakeoverDelay = 20 * ms }
	b := backup(t, delay)
	b.checkDeadline(380937500)
	b.checkOutput(b.receive(9, 200))
	b.checkDeadline(380937500)
	b.checkOutput(b.receive(9, 0))
	b.checkDeadline(80937500)

	b = master(t, delay)
	b.checkOutput(b.receive(9, 200), sends(100), transition(Master, Backup, ReasonHigherPriority))
	b.checkDeadline(380937500)
}

// TakeoverDelay does not include the TakeoverStep of the peer that has gone.
func TestRouterTakeoverStep(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		host     byte // 192.0.2.host is the Master, of this priority
		priority uint8
		peers    string
		step     time.Duration
		want     time.Duration
	}{
		{"preferred", 9, 200, "192.0.2.9", 5 * ms, 15 * ms},
		{"preferred by its address", 9, 100, "192.0.2.9", 5 * ms, 15 * ms},
		{"not preferred by its address", 4, 100, "192.0.2.4", 5 * ms, 20 * ms},
		{"not preferred", 9, 99, "192.0.2.9", 5 * ms, 20 * ms},
		{"an unknown router", 9, 200, "192.0.2.8", 5 * ms, 20 * ms},
		{"a step that is all of it", 9, 200, "192.0.2.9", 20 * ms, 0},
		{"a step that is more", 9, 200, "192.0.2.9", 21 * ms, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := backup(t, nopreempt, func(c *Config) {
				c.TakeoverDelay, c.TakeoverStep, c.Peers = 20*ms, tt.step, addrs(tt.peers)
			})
			b.checkDeadline(380937500) // no Master was heard
			b.checkOutput(b.receive(tt.host, tt.priority))
			b.checkDeadline(360937500 + tt.want)
			b.checkOutput(b.receive(tt.host, 0))
			b.checkDeadline(60937500 + tt.want)
		})
	}
}

// An advertisement that is due soon goes out with another router's, and the next
// one an interval later.
func TestRouterCoalesce(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.pass(93 * ms)
	b.checkOutput(b.r.Coalesce(b.now))
	b.checkDeadline(7 * ms)
	b.pass(time.Millisecond)
	b.checkOutput(b.r.Coalesce(b.now), sends(100))
	b.checkDeadline(100 * ms)
	b.checkOutput(b.r.Coalesce(b.now))
	b.pass(100 * ms)
	b.checkOutput(b.r.Coalesce(b.now), sends(100))
	b.checkDeadline(100 * ms)

	b = backup(t)
	b.pass(360 * ms)
	b.checkOutput(b.r.Coalesce(b.now))
	b.checkState(Backup)
}

// The answer to a resignation is not sent early, however often others are due.
func TestRouterCoalesceUnderPriorityZeroFlood(t *testing.T) {
	t.Parallel()
	b := master(t)
	sent := 0
	for range 1000 {
		b.pass(10 * time.Microsecond)
		for _, out := range []Output{b.receive(9, 0), b.r.Expire(b.now), b.r.Coalesce(b.now)} {
			if out.Send != nil {
				sent++
			}
		}
	}
	if limit := int(10*ms/(b.c.shortestSkewTime()/2)) + 1; sent > limit {
		t.Errorf("%d advertisements in 10ms, want at most %d", sent, limit)
	}
}

func preemptDelay(d time.Duration) func(c *Config) {
	return func(c *Config) { c.PreemptDelay = d }
}

// A Master of lower priority stays for PreemptDelay after it was first heard, and then
// for Master_Down_Interval.
func TestRouterPreemptDelay(t *testing.T) {
	t.Parallel()
	b := backup(t, preemptDelay(time.Second))
	b.pass(300 * ms)
	first := b.now
	for b.now.Sub(first) < time.Second {
		b.checkOutput(b.receive(9, 50, advertisedInterval(200*ms)))
		b.checkDeadline(721875 * time.Microsecond) // also its interval is learned
		b.pass(200 * ms)
		b.checkOutput(b.r.Expire(b.now))
	}
	for range 3 {
		b.checkOutput(b.receive(9, 50, advertisedInterval(200*ms)))
		b.pass(100 * ms)
		b.checkOutput(b.r.Expire(b.now))
	}
	b.untilTimer()
	if got := b.now.Sub(first); got != 800*ms+721875*time.Microsecond {
		t.Errorf("takes over after %v", got)
	}
	b.checkOutput(b.r.Expire(b.now), sends(100), transition(Backup, Master, ReasonPreempted))
}

// Without one it is ignored from the first.
func TestRouterNoPreemptDelay(t *testing.T) {
	t.Parallel()
	b := backup(t, preemptDelay(0))
	b.pass(300 * ms)
	b.checkOutput(b.receive(9, 50))
	b.checkDeadline(60937500)
	b.takeOver(ReasonPreempted)
}

// Without a Master, PreemptDelay has no effect.
func TestRouterPreemptDelayOnlyForLiveMaster(t *testing.T) {
	t.Parallel()
	b := backup(t, preemptDelay(1000*time.Second))
	b.checkOutput(b.receive(9, 50))
	b.checkDeadline(360937500)
	b.takeOver(ReasonMasterDown)

	b = backup(t, preemptDelay(1000*time.Second))
	b.checkOutput(b.receive(9, 50))
	b.checkOutput(b.receive(9, 0))
	b.checkDeadline(60937500)
	b.takeOver(ReasonMasterResigned)
}

// PreemptDelay counts from the first Master of lower priority: another one that replaces
// it does not delay the preemption. A Master of our priority or higher does, and a
// new start.
func TestRouterPreemptDelayCountsFromTheFirst(t *testing.T) {
	t.Parallel()
	preempting := func(b *routerTest) bool {
		b.checkOutput(b.receive(9, 50))
		return b.r.promoteReason == ReasonPreempted
	}
	check := func(b *routerTest, want bool) {
		t.Helper()
		if got := preempting(b); got != want {
			t.Errorf("preempting %v, want %v", got, want)
		}
	}
	b := backup(t, preemptDelay(time.Second))
	b.checkOutput(b.receive(10, 51))
	b.pass(999 * ms)
	check(b, false)
	b.pass(ms)
	check(b, true)

	b.checkOutput(b.receive(9, 100))
	check(b, false)
	b.pass(time.Second)
	check(b, true)

	b.checkOutput(b.r.Shutdown(b.now), transition(Backup, Initialize, ReasonShutdown))
	b.checkOutput(b.r.Startup(b.now), transition(Initialize, Backup, ReasonStartup))
	check(b, false)

	// PreemptDelay requires Preempt_Mode.
	b = backup(t, nopreempt, preemptDelay(time.Second))
	check(b, false)
	b.pass(time.Hour)
	check(b, false)
}

// A Master that stalled becomes Backup, as without Preempt_Mode, and takes over again
// after the delay.
func TestRouterPreemptDelayAfterStall(t *testing.T) {
	t.Parallel()
	b := master(t, preemptDelay(time.Second))
	b.pass(1100 * ms)
	b.checkOutput(b.receive(9, 50), transition(Master, Backup, ReasonStalled))
	b.pass(100 * ms)
	b.checkOutput(b.receive(9, 50))
	b.checkDeadline(360937500)
	b.pass(time.Second)
	b.checkOutput(b.receive(9, 50))
	b.takeOver(ReasonPreempted)

	b = master(t, preemptDelay(time.Second))
	b.pass(1100 * ms)
	b.checkOutput(b.r.Stalled(b.now, time.Second), transition(Master, Backup, ReasonStalled))

	// As long as the peers hear us, a Master of lower priority must yield.
	b = master(t, preemptDelay(time.Second))
	b.pass(100 * ms)
	b.checkOutput(b.receive(9, 50), sends(100), announces())
}

func TestRouterSetConfigPreemptDelay(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.pass(300 * ms)
	b.checkOutput(b.receive(9, 50))
	b.pass(10 * ms)
	b.checkDeadline(50937500)
	b.checkOutput(b.set(preemptDelay(time.Second))) // no longer: it is left alone
	b.checkDeadline(350937500)
	b.pass(989 * ms)
	b.checkOutput(b.receive(9, 50))
	b.checkDeadline(360937500)
	b.checkOutput(b.set(preemptDelay(500 * ms)))
	b.checkDeadline(360937500)
	b.pass(100 * ms)
	b.checkOutput(b.receive(9, 50))
	b.checkDeadline(260937500)
	b.checkOutput(b.set(preemptDelay(200 * ms))) // it has run for long
	b.checkDeadline(260937500)
	b.takeOver(ReasonPreempted)
}

func advertsPerInterval(k int) func(c *Config) {
	return func(c *Config) { c.AdvertsPerInterval = k }
}

// Adver_Timer fires more often than the advertised interval.
func TestRouterOversending(t *testing.T) {
	t.Parallel()
	for k, period := range map[int]time.Duration{0: 100 * ms, 1: 100 * ms, 2: 50 * ms, 3: 33333333, 4: 25 * ms} {
		b := backup(t, advertsPerInterval(k))
		b.checkDeadline(360937500)
		b.takeOver(ReasonMasterDown)
		b.checkDeadline(period)
		b.untilTimer()
		b.checkOutput(b.r.Expire(b.now), sends(100)) // with the interval as it is
		b.checkDeadline(period)
		// The schedule is absolute.
		b.pass(2*period + 3*ms)
		b.checkOutput(b.r.Expire(b.now), sends(100))
		b.checkDeadline(period - 3*ms)

		b.pass(20 * ms)
		b.checkOutput(b.receive(9, 0), sends(100), announces())
		b.checkDeadline(period)
		// A deaf peer gets one answer per interval.
		b.checkOutput(b.receive(9, 50), sends(100), announces())
		b.pass(99 * ms)
		b.checkOutput(b.receive(9, 50), announces())
		b.pass(ms)
		b.checkOutput(b.receive(9, 50), sends(100), announces())
	}
}

// A Master counts as stalled by the time for which its peers did not hear it.
func TestRouterOversendingStall(t *testing.T) {
	t.Parallel()
	for k, limit := range map[int]time.Duration{1: 200 * ms, 2: 250 * ms, 4: 275 * ms} {
		b := master(t, advertsPerInterval(k))
		b.pass(300 * ms)
		b.checkOutput(b.r.Stalled(b.now, limit))
		b.pass(1)
		b.checkOutput(b.r.Stalled(b.now, limit+1), sends(100), announces())
		b.checkDeadline(100 * ms / time.Duration(k))

		b = master(t, advertsPerInterval(k), nopreempt)
		b.pass(300*ms + 781250)
		b.checkOutput(b.r.Stalled(b.now, limit+1), sends(100), announces())
		b = master(t, advertsPerInterval(k), nopreempt)
		b.pass(300*ms + 781251)
		b.checkOutput(b.r.Stalled(b.now, limit+1), transition(Master, Backup, ReasonStalled))
	}
}

// A change of AdvertsPerInterval takes effect at once, without an advertisement: its
// contents do not change.
func TestRouterSetConfigOversending(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.pass(10 * ms)
	b.checkOutput(b.set(advertsPerInterval(4)))
	b.checkDeadline(25 * ms)
	b.pass(10 * ms)
	b.checkOutput(b.set(advertsPerInterval(4)))
	b.checkDeadline(15 * ms)
	b.checkOutput(b.set(advertsPerInterval(0)))
	b.checkDeadline(15 * ms)
	b.pass(15 * ms)
	b.checkOutput(b.r.Expire(b.now), sends(100))
	b.checkDeadline(100 * ms)
}

func TestRouterDownAdverts(t *testing.T) {
	t.Parallel()
	b := backup(t, func(c *Config) { c.DownAdverts = 5 })
	b.checkDeadline(560937500)
}

// The timers count from the time at which the kernel received the packet.
func TestRouterArrivalTime(t *testing.T) {
	t.Parallel()
	a := Advertisement{Version: V3, VRID: 50, Priority: 200, Interval: 100 * ms, Addresses: testConfig().Addresses}
	resign := a
	resign.Priority = 0
	receive := func(b *routerTest, ago time.Duration, a *Advertisement) Output {
		return b.r.Receive(b.now, b.now.Add(-ago), groupHeaderOf(hostAddr(9)), a)
	}

	b := backup(t)
	b.pass(200 * ms)
	b.checkOutput(receive(b, 50*ms, &a))
	b.checkDeadline(310937500)
	b.checkOutput(receive(b, 40*ms, &resign))
	b.checkDeadline(20937500)

	b = master(t)
	b.pass(80 * ms)
	b.checkOutput(receive(b, 50*ms, &a), sends(100), transition(Master, Backup, ReasonHigherPriority))
	b.checkDeadline(310937500)

	// A clock that jumps neither makes the timer fire nor delays it.
	b = backup(t)
	b.pass(10 * ms)
	b.checkOutput(receive(b, time.Hour, &a))
	b.checkDeadline(350937500)
	b.checkOutput(receive(b, -time.Hour, &a))
	b.checkDeadline(360937500)
}

// An advertisement with the longest interval does not delay a takeover by two minutes.
func TestRouterLearnsIntervalOnlySoFar(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.checkOutput(b.receive(9, 255, advertisedInterval(40950*ms)))
	b.checkDeadline(3609375 * time.Microsecond) // as if at 1 s, 10 x 100 ms
	if got := b.r.Status().MasterAdverInterval; got != time.Second {
		t.Errorf("learned %v, want 1s", got)
	}

	b = backup(t, func(c *Config) { c.AdvertisementInterval = 10 * ms })
	b.checkOutput(b.receive(9, 255, advertisedInterval(40950*ms)))
	b.checkDeadline(3609375 * time.Microsecond) // at least 1 s

	b = backup(t, func(c *Config) { c.AdvertisementInterval = time.Second })
	b.checkOutput(b.receive(9, 255, advertisedInterval(40950*ms)))
	b.checkDeadline(36093750 * time.Microsecond)
}

// Repeated resignations do not delay the takeover.
func TestRouterPriorityZeroFloodOnlyShortens(t *testing.T) {
	t.Parallel()
	b := backup(t)
	end := b.now.Add(60937500)
	for b.now < end {
		b.checkOutput(b.receive(9, 0))
		b.checkDeadline(end.Sub(b.now))
		b.pass(ms)
	}
	b.checkOutput(b.r.Expire(b.now), sends(100), transition(Backup, Master, ReasonMasterResigned))

	// Not later than Master_Down_Interval either.
	b = backup(t)
	b.pass(350 * ms)
	b.checkOutput(b.receive(9, 0))
	b.checkDeadline(10937500)
}

// A flood of resignations makes a Master send little more than its interval
// demands, and yet in time for every Backup whose Skew_Time they started.
func TestRouterMasterUnderPriorityZeroFlood(t *testing.T) {
	t.Parallel()
	b := master(t)
	sent, last := 0, b.now
	for range 100_000 {
		b.pass(10 * time.Microsecond)
		outs := []Output{b.receive(9, 0), b.r.Expire(b.now)}
		for _, out := range outs {
			if out.Send == nil {
				continue
			}
			sent, last = sent+1, b.now
		}
		if silence := b.now.Sub(last); silence >= b.c.shortestSkewTime() {
			t.Fatalf("silent for %v, the shortest Skew_Time", silence)
		}
	}
	if limit := int(time.Second/(b.c.shortestSkewTime()/2)) + 1; sent > limit {
		t.Errorf("%d advertisements in a second, want at most %d", sent, limit)
	}
	b.checkState(Master)
}

// A resignation just after our own advertisement is answered too, if a little
// later: some Backup's Skew_Time runs since.
func TestRouterAnswersResignationAfterAdvertisement(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.pass(100 * time.Microsecond)
	b.checkOutput(b.receive(9, 0), announces())
	b.checkDeadline(290625) // half of the Skew_Time of priority 254 after the last
	b.pass(290625)
	b.checkOutput(b.r.Expire(b.now), sends(100))
	b.checkDeadline(100 * ms)
}

// A Master that does not hear us gets one answer per interval at most, but each of its
// advertisements makes us announce.
func TestRouterAnswersDeafMasterOncePerInterval(t *testing.T) {
	t.Parallel()
	b := master(t)
	for range 5 {
		b.checkOutput(b.receive(9, 99), sends(100), announces())
		for range 9 {
			b.pass(10 * ms)
			b.checkOutput(b.receive(9, 99), announces())
		}
		b.pass(10 * ms)
	}
	if got := b.r.Status().Counters.Warnings["otherMaster"]; got != 50 {
		t.Errorf("%d warnings, want 50", got)
	}
}

// Adver_Timer does not drift: a late wake-up delays one advertisement, and missed ones
// are not sent in a burst.
func TestRouterAdverTimerIsAbsolute(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.pass(130 * ms)
	b.checkOutput(b.r.Expire(b.now), sends(100))
	b.checkDeadline(70 * ms)
	b.pass(570 * ms)
	b.checkOutput(b.r.Expire(b.now), sends(100))
	b.checkDeadline(100 * ms)
	b.checkOutput(b.r.Expire(b.now))
}

func TestRouterStalledBackup(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.checkOutput(b.receive(9, 200))
	b.pass(361 * ms)
	b.checkOutput(b.r.Stalled(b.now, 150*ms))
	b.checkDeadline(-62500)
	b.checkOutput(b.r.Stalled(b.now, 150*ms+1))
	b.checkDeadline(360937500)
	b.checkOutput(b.r.Expire(b.now))
	b.checkState(Backup)

	// Once per second.
	b.pass(400 * ms)
	b.checkOutput(b.r.Stalled(b.now, 201*ms))
	b.checkOutput(b.r.Expire(b.now), sends(100), transition(Backup, Master, ReasonMasterDown))
}

// A suspended host that missed enough advertisements for a takeover detects the stall at
// the first wake-up, however little is left of its timer or however late it is.
func TestRouterSuspendedBackup(t *testing.T) {
	t.Parallel()
	for _, missed := range []int{3, 4, 5, 50} {
		// Up to 20 ms of jitter between the first and the last.
		for offset := -20 * ms; offset < 80*ms; offset += 3 * ms {
			b := backup(t)
			b.checkOutput(b.receive(9, 200))
			due, _ := b.r.Deadline()
			b.pass(time.Duration(missed)*100*ms + offset)
			b.checkOutput(b.r.Stalled(b.now, b.now.Sub(due)))
			b.checkOutput(b.r.Expire(b.now))
			b.pass(100*ms - offset)
			b.checkOutput(b.r.Expire(b.now))
			b.checkOutput(b.receive(9, 200))
			b.checkState(Backup)
		}
	}
}

// A Backup that hears nothing wakes up after each advertisement that is due, and not
// more often.
func TestRouterBackupDeadline(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.checkOutput(b.receive(9, 200, advertisedInterval(200*ms)))
	start := b.now
	var got []time.Duration
	for b.r.State() == Backup {
		b.now, _ = b.r.Deadline()
		got = append(got, b.now.Sub(start))
		b.r.Expire(b.now)
	}
	want := []time.Duration{250 * ms, 450 * ms, 650 * ms, 721875 * time.Microsecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// The threshold is the Master's interval.
func TestRouterStalledBackupOfSlowMaster(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.checkOutput(b.receive(9, 200, advertisedInterval(time.Second)))
	b.pass(3 * time.Second)
	b.checkOutput(b.r.Stalled(b.now, 1500*ms))
	b.checkDeadline(609375 * time.Microsecond)
}

// A host that stalls all the time takes over eventually.
func TestRouterStalledAlways(t *testing.T) {
	t.Parallel()
	for _, version := range []func(*Config){func(*Config) {}, version2} {
		b := backup(t, version)
		start := b.now
		for b.r.State() == Backup {
			deadline, _ := b.r.Deadline()
			late := 3 * b.c.AdvertisementInterval
			b.now = deadline.Add(late)
			b.r.Stalled(b.now, late)
			b.r.Expire(b.now)
			if b.now.Sub(start) > time.Minute {
				t.Fatal("no takeover in a minute")
			}
		}
	}
}

func TestRouterStalledMaster(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.pass(300 * ms)
	b.checkOutput(b.r.Stalled(b.now, 200*ms))
	b.checkOutput(b.r.Expire(b.now), sends(100))

	b = master(t)
	b.pass(1100 * ms)
	b.checkOutput(b.r.Stalled(b.now, time.Second), sends(100), announces())
	b.checkDeadline(100 * ms)
	b.checkOutput(b.r.Expire(b.now))
}

// Without Preempt_Mode a host that took over during the stall stays Master.
func TestRouterStalledMasterNopreempt(t *testing.T) {
	t.Parallel()
	b := master(t, nopreempt)
	b.pass(100*ms + 200*ms + 781250) // the shortest Master_Down_Interval there is
	b.checkOutput(b.r.Stalled(b.now, 201*ms), sends(100), announces())

	b = master(t, nopreempt)
	lastSent := b.now
	b.pass(100*ms + 200*ms + 781251)
	b.checkOutput(b.r.Stalled(b.now, 201*ms), transition(Master, Backup, ReasonStalled))
	b.checkDeadline(360937500)
	if got := b.r.Status(); !got.Heard || got.LastHeard != lastSent || got.Master.IsValid() {
		t.Errorf("status %+v, want our own advertisement heard at %d", got, lastSent)
	}

	// The packet in the socket has the same effect, before Stalled.
	b = master(t, nopreempt)
	b.pass(1100 * ms)
	b.checkOutput(b.receive(9, 50, advertisedInterval(200*ms)), transition(Master, Backup, ReasonStalled))
	b.checkDeadline(721875 * time.Microsecond)

	// With Preempt_Mode, the answer makes that host yield.
	b = master(t)
	b.pass(1100 * ms)
	b.checkOutput(b.receive(9, 50), sends(100), announces())
	b.checkOutput(b.r.Stalled(b.now, time.Second), sends(100), announces())
}

// A Master that was replaced during a stall sends nothing.
func TestRouterStalledMasterYieldsSilently(t *testing.T) {
	t.Parallel()
	for _, preempt := range []bool{false, true} {
		b := master(t, func(c *Config) { c.Preempt = preempt })
		b.pass(301 * ms)
		b.checkOutput(b.receive(9, 200), transition(Master, Backup, ReasonHigherPriority))
	}
}

// A stalled Master that once learned another Master's interval waits for its
// own.
func TestRouterStalledMasterForgetsInterval(t *testing.T) {
	t.Parallel()
	b := backup(t, nopreempt)
	b.checkOutput(b.receive(9, 200, advertisedInterval(time.Second)))
	b.untilTimer()
	b.checkOutput(b.r.Expire(b.now), sends(100), transition(Backup, Master, ReasonMasterDown))
	b.pass(2 * time.Second)
	b.checkOutput(b.r.Stalled(b.now, 1900*ms), transition(Master, Backup, ReasonStalled))
	b.checkDeadline(360937500)
	if got := b.r.Status(); got.LastHeard != got.Since.Add(-2*time.Second) {
		t.Errorf("last heard %v ago, want 2s", got.Since.Sub(got.LastHeard))
	}
}

// set changes the configuration of the Router.
func (b *routerTest) set(change func(c *Config)) Output {
	change(&b.c)
	return b.r.SetConfig(b.now, b.c)
}

func priority(p uint8) func(c *Config) { return func(c *Config) { c.Priority = p } }

func interval(d time.Duration) func(c *Config) {
	return func(c *Config) { c.AdvertisementInterval = d }
}

func TestRouterSetConfigInitialize(t *testing.T) {
	t.Parallel()
	b := newRouterTest(t)
	b.checkOutput(b.set(interval(200 * ms)))
	b.checkState(Initialize)
	b.checkOutput(b.r.Startup(b.now), transition(Initialize, Backup, ReasonStartup))
	b.checkDeadline(721875 * time.Microsecond)
}

func TestRouterSetConfigBackup(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		prepare func(b *routerTest)
		change  func(c *Config)
		want    time.Duration
	}{
		{"nothing", func(b *routerTest) { b.pass(300 * ms) }, func(*Config) {}, 60937500},
		{"higher priority", func(b *routerTest) { b.pass(300 * ms) }, priority(228), 10937500},
		{"lower priority", func(b *routerTest) { b.pass(300 * ms) }, priority(1), 99609375},
		{"more adverts", func(b *routerTest) { b.pass(300 * ms) }, func(c *Config) { c.DownAdverts = 5 }, 260937500},
		{"takeover delay", func(b *routerTest) { b.pass(300 * ms) }, func(c *Config) { c.TakeoverDelay = 20 * ms }, 80937500},
		// If the new interval is over already, or nearly, Skew_Time is left,
		// and never more than before.
		{"fewer adverts", func(b *routerTest) { b.pass(190 * ms) }, func(c *Config) { c.DownAdverts = 1 }, 60937500},
		{"fewer adverts, late", func(b *routerTest) { b.pass(350 * ms) }, func(c *Config) { c.DownAdverts = 1 }, 10937500},
		{"own interval counts until one is learned", func(b *routerTest) { b.pass(100 * ms) }, interval(200 * ms), 621875 * time.Microsecond},
		{
			"learned interval stays",
			func(b *routerTest) { b.checkOutput(b.receive(9, 200)); b.pass(100 * ms) }, interval(200 * ms), 260937500,
		},
		{
			"resigned",
			func(b *routerTest) { b.pass(10 * ms); b.checkOutput(b.receive(9, 0)); b.pass(10 * ms) }, priority(128), 50 * ms,
		},
		{
			"no longer preempting",
			func(b *routerTest) { b.pass(300 * ms); b.checkOutput(b.receive(9, 50)); b.pass(10 * ms) }, nopreempt, 350937500,
		},
		{
			"preempting, and the Master is now higher",
			func(b *routerTest) { b.pass(300 * ms); b.checkOutput(b.receive(9, 99)); b.pass(10 * ms) }, priority(64), 365 * ms,
		},
		{
			"still preempting",
			func(b *routerTest) { b.pass(300 * ms); b.checkOutput(b.receive(9, 50)); b.pass(10 * ms) }, priority(64), 65 * ms,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := backup(t)
			tt.prepare(b)
			b.checkOutput(b.set(tt.change))
			b.checkState(Backup)
			b.checkDeadline(tt.want)
			// The same change again has no effect: otherwise a stream of
			// changes would delay a takeover for ever.
			b.checkOutput(b.set(func(*Config) {}))
			b.checkDeadline(tt.want)
		})
	}
}

// A change of the configuration neither causes nor hides a stall, however long the
// Master has been silent.
func TestRouterSetConfigIsNoStall(t *testing.T) {
	t.Parallel()
	for _, stands := range []bool{false, true} {
		b := backup(t)
		b.checkOutput(b.receive(1, 200))
		end := b.r.deadline
		turn := func() {
			if due, _ := b.r.Deadline(); due <= b.now {
				b.checkOutput(b.r.Stalled(b.now, b.now.Sub(due)))
				b.checkOutput(b.r.Expire(b.now))
			}
		}
		for b.now < end.Add(-20*ms) {
			b.pass(ms)
			if !stands {
				turn()
			}
		}
		b.checkOutput(b.set(func(c *Config) { c.Addresses = addrs("192.0.2.50") }))
		turn()
		want := end
		if stands {
			want = b.now.Add(downInterval)
		}
		b.checkDeadline(want.Sub(b.now))
	}
}

// With version 2 the Master may have changed to a longer interval before us. Then we
// discarded its advertisements, and its next one may be due much later.
func TestRouterSetConfigVersion2Interval(t *testing.T) {
	t.Parallel()
	longer := func(c *Config) { c.AdvertisementInterval = 5 * time.Second }
	b := backup(t, version2)
	b.checkOutput(b.receive(1, 200))
	b.pass(500 * ms)
	b.checkOutput(b.receive(1, 200, advertisedInterval(5*time.Second)))
	b.pass(500 * ms)
	b.checkOutput(b.set(longer))
	b.pass(4500 * ms)
	b.checkOutput(b.r.Expire(b.now))
	b.checkOutput(b.receive(1, 200))
	b.checkDeadline(b.c.MasterDownInterval(5 * time.Second))

	// The Master may also change to a shorter interval after us.
	b.checkOutput(b.set(func(c *Config) { c.AdvertisementInterval = time.Second }))
	b.checkDeadline(b.c.MasterDownInterval(5 * time.Second))
	b.checkOutput(b.receive(1, 200))
	b.checkDeadline(b.c.MasterDownInterval(time.Second))
}

// A stream of changes, as when peers come and go, delays a takeover by no more than the
// slowest of them does.
func TestRouterSetConfigManyTimes(t *testing.T) {
	t.Parallel()
	b := backup(t)
	start := b.now
	for b.r.State() == Backup {
		if b.now.Sub(start) > 462*ms {
			t.Fatal("no takeover")
		}
		b.checkOutput(b.set(func(c *Config) { c.DownAdverts = 4 - c.DownAdverts; c.Preempt = !c.Preempt }))
		b.checkOutput(b.set(func(c *Config) { c.DownAdverts = 0 }))
		b.pass(ms)
		b.r.Expire(b.now)
	}
}

// A shorter interval counts at once, also for answers.
func TestRouterSetConfigMasterAnswers(t *testing.T) {
	t.Parallel()
	b := master(t, interval(40*time.Second))
	b.checkOutput(b.receive(9, 99), sends(100), announces())
	b.pass(ms)
	b.checkOutput(b.set(interval(10*ms)), sends(100))
	b.checkOutput(b.receive(9, 99), sends(100), announces())
}

func TestRouterSetConfigMaster(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(c *Config)
		sends  bool
	}{
		{"nothing", func(*Config) {}, false},
		{"local matters", func(c *Config) {
			c.Preempt, c.DownAdverts, c.TakeoverDelay, c.PreemptDelay = false, 5, ms, time.Second
		}, false},
		{"peers with multicast", peers, false},
		{"checksum", func(c *Config) { c.Checksum = ChecksumMessage }, true},
		{"unicast", func(c *Config) { peers(c); c.Unicast = true }, true},
		{"lower priority", priority(50), true},
		{"interval", interval(20 * ms), true},
		{"source", func(c *Config) { c.Source = addr("192.0.2.6") }, true},
		{"addresses", func(c *Config) { c.Addresses = addrs("192.0.2.50", "192.0.2.52", "192.0.2.53") }, true},
		{"order of addresses", func(c *Config) { c.Addresses = addrs("192.0.2.51", "192.0.2.50") }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := master(t)
			b.pass(30 * ms)
			out := b.set(tt.change)
			if tt.sends {
				b.checkOutput(out, sends(b.c.Priority))
				b.checkDeadline(b.c.AdvertisementInterval)
			} else {
				b.checkOutput(out)
				b.checkDeadline(70 * ms)
			}
			b.checkState(Master)
		})
	}
}

func TestRouterSetConfigMasterUnicast(t *testing.T) {
	t.Parallel()
	b := master(t, peers, func(c *Config) { c.Unicast = true })
	b.checkOutput(b.set(func(c *Config) { c.Peers = addrs("192.0.2.2", "192.0.2.1", "192.0.2.3") }), sends(100))
	b.checkOutput(b.set(func(*Config) {}))
}

func TestRouterSetConfigMasterPassword(t *testing.T) {
	t.Parallel()
	b := master(t, version2)
	b.checkOutput(b.set(func(c *Config) { copy(c.Password[:], "secret12") }), sends(100))
	b.checkOutput(b.set(func(c *Config) { copy(c.Password[:], "secret13") }), sends(100))
	b.checkOutput(b.set(func(c *Config) { c.Password = Password{} }), sends(100))
	b.checkState(Master)
}

// No change makes a Backup a Master, or wakes it up in vain.
func TestRouterSetConfigNeverChangesState(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *Config){
		"peers":        peers,
		"unicast":      func(c *Config) { peers(c); c.Unicast = true },
		"checksum":     func(c *Config) { c.Checksum = ChecksumMessage },
		"oversending":  advertsPerInterval(4),
		"preemptDelay": preemptDelay(time.Second),
		"addresses":    func(c *Config) { c.Addresses = addrs("192.0.2.52") },
		"source":       func(c *Config) { c.Source = addr("192.0.2.250") },
	} {
		t.Run(name, func(t *testing.T) {
			b := backup(t)
			b.pass(100 * ms)
			b.checkOutput(b.receive(9, 200))
			b.pass(100 * ms)
			b.checkOutput(b.set(change))
			b.checkState(Backup)
			b.checkDeadline(260937500)

			b = master(t)
			b.set(change)
			b.checkState(Master)
		})
	}
}

// The Router copies the list, so the caller may change it afterwards.
func TestRouterCopiesAddresses(t *testing.T) {
	t.Parallel()
	list := addrs("192.0.2.50", "192.0.2.51")
	b := backup(t, func(c *Config) { c.Addresses = list })
	b.c.Addresses = slices.Clone(list)
	list[0] = addr("192.0.2.66")
	b.pass(time.Second)
	b.checkOutput(b.r.Expire(b.now), sends(100), transition(Backup, Master, ReasonMasterDown))
}

func TestRouterPanicsOnInvalidConfig(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *Config){
		"invalid": func(c *Config) { c.Priority = 0 },
		"version": version2,
		"family":  func(c *Config) { c.Family = IPv6 },
		"VRID":    func(c *Config) { c.VRID = 51 },
	} {
		t.Run(name, func(t *testing.T) {
			b := backup(t)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			b.set(change)
		})
	}
}

func TestRouterStatus(t *testing.T) {
	t.Parallel()
	statusOf := func(r *Router) Status {
		s := r.Status()
		s.Counters = Counters{}
		return s
	}
	b := newRouterTest(t)
	check := func(want Status) {
		t.Helper()
		want.Advertised = b.c.Addresses
		if diff := cmp.Diff(want, statusOf(b.r), cmpAddr); diff != "" {
			t.Errorf("status: -want +got\n%s", diff)
		}
	}
	check(Status{State: Initialize, MasterAdverInterval: 100 * ms})

	started := b.now
	b.r.Startup(b.now)
	check(Status{State: Backup, Reason: ReasonStartup, Since: started, MasterAdverInterval: 100 * ms})

	b.pass(10 * ms)
	heard := b.now
	b.receive(9, 200, advertisedInterval(200*ms))
	want := Status{
		State: Backup, Reason: ReasonStartup, Since: started,
		Master: hostAddr(9), MasterPriority: 200, MasterAdverInterval: 200 * ms, Heard: true, LastHeard: heard,
	}
	check(want)

	b.untilTimer()
	b.r.Expire(b.now)
	check(Status{
		State: Master, Reason: ReasonMasterDown, Since: b.now,
		Master: hostAddr(5), MasterPriority: 100, MasterAdverInterval: 100 * ms, Heard: true, LastHeard: heard,
	})

	b.r.Shutdown(b.now)
	want.State, want.Reason, want.Since = Initialize, ReasonShutdown, b.now
	check(want)

	b.r.Startup(b.now)
	check(Status{State: Backup, Reason: ReasonStartup, Since: b.now, MasterAdverInterval: 100 * ms})
}

func TestRouterCounters(t *testing.T) {
	t.Parallel()
	b := backup(t)
	if diff := cmp.Diff(Counters{}, b.r.Status().Counters); diff != "" {
		t.Errorf("at first: -want +got\n%s", diff)
	}
	b.receive(9, 255, advertisedInterval(200*ms))
	b.receive(9, 200, addressList("192.0.2.51", "192.0.2.50")) // the order does not matter
	b.receive(9, 200, addressList("192.0.2.50"))
	b.receive(9, 200, addressList("192.0.2.50", "192.0.2.50"))
	b.receive(9, 200, addressList("192.0.2.50", "192.0.2.52"))
	b.receive(9, 200, addressList("192.0.2.50", "192.0.2.51", "192.0.2.52"))
	b.receive(9, 0)
	b.receive(5, 200)
	b.receive(9, 200, func(a *Advertisement) { a.Version = V2 })
	b.receive(9, 200, func(a *Advertisement) { a.VRID = 51 })
	b.untilTimer()
	b.r.Expire(b.now)
	b.receive(9, 99)
	b.r.Shutdown(b.now)
	b.r.Discard(b.now, groupHeader("192.0.2.9"), DiscardChecksum)
	b.r.Discard(b.now, groupHeader("192.0.2.9"), DiscardChecksum)
	b.r.Discard(b.now, groupHeader("192.0.2.9"), discards)
	b.r.CountChecksum(ChecksumPseudoHeader)
	b.r.CountChecksum(checksumForms)
	want := Counters{
		MasterTransitions:      1,
		AdvertisementsReceived: 8,
		AdvertisementsSent:     3,
		PriorityZeroReceived:   1,
		PriorityZeroSent:       1,
		Checksums:              map[string]uint64{"pseudoHeader": 1},
		Discarded:              map[string]uint64{"checksum": 2, "ownSource": 1, "version": 1, "vrId": 1},
		Warnings:               map[string]uint64{"advertisementInterval": 1, "addressList": 4, "addressOwner": 1, "otherMaster": 1},
	}
	if diff := cmp.Diff(want, b.r.Status().Counters); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestStateNames(t *testing.T) {
	t.Parallel()
	for s, want := range map[State]string{Initialize: "Initialize", Backup: "Backup", Master: "Master", 3: "Unknown"} {
		text, err := s.MarshalText()
		if s.String() != want || string(text) != want || err != nil {
			t.Errorf("state %d: %s, %s, %v; want %s", s, s, text, err, want)
		}
	}
}

// A packet allocates nothing unless it changes the state.
func TestRouterAllocatesNothing(t *testing.T) {
	b := backup(t)
	m := master(t)
	shuffled := slices.Clone(b.c.Addresses)
	slices.Reverse(shuffled)
	a := Advertisement{Version: V3, VRID: 50, Priority: 200, Interval: 200 * ms, Addresses: shuffled}
	lower := Advertisement{Version: V3, VRID: 50, Priority: 50, Interval: 200 * ms, Addresses: make([]netip.Addr, MaxAddressesIPv4)}
	source := hostAddr(9)
	for name, f := range map[string]func(){
		"Backup":        func() { b.r.Receive(b.now, b.now, groupHeaderOf(source), &a) },
		"Backup lower":  func() { b.r.Receive(b.now, b.now, groupHeaderOf(source), &lower) },
		"Backup stall":  func() { b.r.Stalled(b.now, time.Second) },
		"Master lower":  func() { m.r.Receive(m.now, m.now, groupHeaderOf(source), &lower) },
		"Master own":    func() { m.r.Receive(m.now, m.now, groupHeaderOf(m.c.Source), &lower) },
		"Master timer":  func() { m.pass(100 * ms); m.r.Expire(m.now) },
		"Count discard": func() { m.r.Discard(m.now, Header{}, DiscardChecksum) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func ExampleConfig_Validate() {
	c := Config{
		Settings: Settings{Version: V3, Priority: 255, AdvertisementInterval: time.Second},
		Family:   IPv4, VRID: 50,
		Source: netip.MustParseAddr("192.0.2.5"), Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.50")},
	}
	fmt.Println(c.Validate())
	// Output: priority 255: want 1 to 254
}

// A Backup waits for a Master observed before Startup by that Master's interval, and
// adopts its list.
func TestRouterStartupAfterListening(t *testing.T) {
	t.Parallel()
	b := newRouterTest(t)
	slow := ObservedRouter{
		Family: IPv4, VRID: 50, Version: V3, Source: hostAddr(9), Priority: 200, Interval: time.Second,
		Addresses: addrs("192.0.2.50"), Last: b.now.Add(-900 * ms),
	}
	b.checkOutput(b.r.Startup(b.now, slow), transition(Initialize, Backup, ReasonStartup))
	b.checkDeadline(3609375*time.Microsecond - 900*ms)
	if got := b.r.Status(); got.Master != slow.Source || got.AdvertisingListOf != slow.Source {
		t.Errorf("status %+v, want Master and list of %v", got, slow.Source)
	}

	for name, change := range map[string]func(s *ObservedRouter){
		"resigned":      func(s *ObservedRouter) { s.Priority = 0 },
		"too long ago":  func(s *ObservedRouter) { s.Last = b.now.Add(-3609375 * time.Microsecond) },
		"another VRID":  func(s *ObservedRouter) { s.VRID = 51 },
		"version 2":     func(s *ObservedRouter) { s.Version = V2 },
		"IPv6":          func(s *ObservedRouter) { s.Family = IPv6 },
		"ourselves":     func(s *ObservedRouter) { s.Source = b.c.Source },
		"no interval":   func(s *ObservedRouter) { s.Interval = 0 },
		"never shorter": func(s *ObservedRouter) { s.Interval, s.Last = 100*ms, b.now.Add(-300*ms) },
	} {
		b := newRouterTest(t)
		s := slow
		change(&s)
		b.checkOutput(b.r.Startup(b.now, s), transition(Initialize, Backup, ReasonStartup))
		if got := b.r.deadline.Sub(b.now); got != 360937500 {
			t.Errorf("%s: waits for %v, want Master_Down_Interval", name, got)
		}
	}

	// A Master that is no longer preempted does not shorten the timer either.
	b = newRouterTest(t)
	lower := slow
	lower.Priority, lower.Interval, lower.Last = 99, 100*ms, b.now.Add(-200*ms)
	b.checkOutput(b.r.Startup(b.now, lower), transition(Initialize, Backup, ReasonStartup))
	b.pass(10 * ms)
	b.checkOutput(b.set(priority(50)))
	b.checkDeadline(300*ms + 80468750 - 10*ms)

	// With Preempt_Mode, a Master of lower priority does not lengthen it.
	b = newRouterTest(t)
	slow.Priority = 50
	b.checkOutput(b.r.Startup(b.now, slow), transition(Initialize, Backup, ReasonStartup))
	b.checkDeadline(360937500)
	b.untilTimer()
	out := b.r.Expire(b.now)
	if out.Transition == nil || out.Transition.Reason != ReasonPreempted || len(out.Send.Addresses) != 1 {
		t.Errorf("output %+v, want a takeover by preemption with its list", out)
	}
}
