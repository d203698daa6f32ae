package vrrp

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds = flag.Int("vrrp.seeds", 400, "how many seeds to simulate")
	seed  = flag.Int("vrrp.seed", -1, "the one seed to simulate")
)

// TestSimulation runs LANs of 2 to 5 routers through everything that happens to
// LANs and hosts, lets them come to rest, and then measures what must hold:
//
//   - Nobody ever takes over without the silence or the resignation that it
//     takes (host.judge), and timers always run (checkOutput).
//   - At rest there is exactly one Master, with Preempt_Mode one of the highest
//     priority, and it stays.
//   - A Master that crashes or resigns is followed within the shortest
//     Master_Down_Interval or Skew_Time of those who are left.
//   - A Backup that stands still takes nothing over; a Master that does, and
//     comes back too late, leaves the addresses to its successor without
//     Preempt_Mode, and takes them back with it.
//   - After a partition the Master that remains announces its addresses.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *seed >= 0 {
		simulate(t, uint64(*seed))
		return
	}
	// One test for each processor, whatever the number of seeds.
	var done atomic.Int64
	var failed atomic.Bool
	shards := runtime.GOMAXPROCS(0)
	for shard := range shards {
		t.Run(fmt.Sprintf("shard=%d", shard), func(t *testing.T) {
			t.Parallel()
			defer func() {
				if t.Failed() {
					failed.Store(true)
				}
			}()
			for n := shard; n < *seeds && !failed.Load(); n += shards {
				simulate(t, uint64(n))
				if d := done.Add(1); d%10_000 == 0 {
					t.Logf("progress: %d of %d seeds", d, *seeds)
				}
			}
		})
	}
}

// simulation is a segment and what its hosts have in common.
type simulation struct {
	*segment
	interval time.Duration // the longest of all
	preempt  mode
}

type mode int

const (
	all mode = iota
	nobody
	some
)

func simulate(t *testing.T, seed uint64) {
	s := newSimulation(t, seed)
	for range 3 {
		s.chaos()
		s.rest()
		for range 2 {
			switch s.rng.IntN(6) {
			case 0:
				s.crashMaster()
			case 1:
				s.stopMaster()
			case 2:
				s.suspendBackup()
			case 3:
				s.suspendMasterShortly()
			case 4:
				s.suspendMaster()
			case 5:
				s.partition()
			}
			s.rest()
		}
	}
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{segment: newSegment(t, seed)}
	s.now = Time(s.rng.Int64N(1e15))
	s.preempt = mode(s.rng.IntN(3))
	version := V3
	intervals := []time.Duration{10 * ms, 50 * ms, 100 * ms, 100 * ms, time.Second}
	s.interval = intervals[s.rng.IntN(len(intervals))]
	if s.rng.IntN(6) == 0 {
		version, s.interval = V2, time.Second
	}
	downAdverts := []int{0, 0, 0, 2, 5}[s.rng.IntN(5)]
	delays := s.rng.IntN(2) == 0
	ties := s.rng.IntN(3) == 0
	for i := range 2 + s.rng.IntN(4) {
		c := Config{
			Version: version, Family: IPv4, VRID: 50,
			Priority:              uint8(1 + s.rng.IntN(254)),
			AdvertisementInterval: s.interval,
			DownAdverts:           downAdverts,
			Preempt:               s.preempt == all || s.preempt == some && s.rng.IntN(2) == 0,
			Addresses:             addrs("192.0.2.50", "192.0.2.51"),
			Source:                hostSource(i),
		}
		if ties {
			c.Priority = []uint8{100, 150, 200}[s.rng.IntN(3)]
		}
		if delays {
			c.TakeoverDelay = time.Duration(i) * max(1250*time.Microsecond, s.interval/16)
		}
		s.add(c)
	}
	s.logf("preempt %d, version %d, interval %v, down adverts %d", s.preempt, version, s.interval, downAdverts)
	return s
}

// up returns the hosts that are up.
func (s *simulation) up() []*host {
	return slices.DeleteFunc(slices.Clone(s.hosts), func(h *host) bool { return h.router == nil })
}

// chaos lets anything happen.
func (s *simulation) chaos() {
	s.t.Helper()
	s.reorder = true
	for range 10 + s.rng.IntN(30) {
		s.disturb(s.hosts[s.rng.IntN(len(s.hosts))])
		s.run(s.upTo(3 * s.interval))
	}
}

func (s *simulation) disturb(h *host) {
	s.t.Helper()
	if h.router == nil {
		h.start()
		return
	}
	switch s.rng.IntN(12) {
	case 0:
		h.crash()
	case 1:
		h.stop()
	case 2:
		sides := s.rng.Uint64()
		s.logf("partition %b", sides)
		s.cut(func(h *host) int { return int(sides >> h.index & 1) })
	case 3:
		other := s.hosts[s.rng.IntN(len(s.hosts))]
		s.logf("%d does not hear %d", h.index, other.index)
		h.deaf[other.index] = true
	case 4:
		s.loss, s.duplicates = s.rng.Float64(), s.rng.Float64()
		s.logf("loss %v, duplicates %v", s.loss, s.duplicates)
	case 5:
		s.maxDelay = minDelay + s.upTo(s.interval)
		s.logf("delay %v", s.maxDelay)
	case 6, 7:
		h.suspend(s.upTo(10*s.interval), s.rng.IntN(2) == 0)
	case 8:
		h.change(func(c *Config) { c.Priority = uint8(1 + s.rng.IntN(254)) })
	case 9:
		h.change(func(c *Config) { slices.Reverse(c.Addresses); c.TakeoverDelay = s.upTo(20 * ms) })
	case 10:
		if h.config.Version == V3 {
			h.change(func(c *Config) {
				c.AdvertisementInterval = centisecond * time.Duration(1+s.rng.IntN(int(s.interval/centisecond)))
			})
		}
	default:
		s.heal()
	}
}

// rest heals everything, lets the routers come to rest, and checks that they
// did.
func (s *simulation) rest() {
	s.t.Helper()
	s.heal()
	for s.rng.IntN(2) == 0 || len(s.up()) < 2 {
		if h := s.hosts[s.rng.IntN(len(s.hosts))]; h.router == nil {
			h.start()
		}
	}
	// Whoever is suspended comes back first. Then the slowest takes over, and
	// is preempted at once by who has waited as long; and once more, because a
	// stall may have armed a timer anew.
	var wait time.Duration
	for _, h := range s.up() {
		wait = max(wait, h.suspended.Sub(s.now))
	}
	for _, h := range s.up() {
		h.frozen = false
	}
	slowest := s.slowest(masterDown)
	s.run(wait + 3*slowest + 2*s.interval)
	masters := s.masters()
	if len(masters) != 1 {
		s.failf("%d Masters at rest", len(masters))
	}
	m := masters[0]
	if top := s.topPriority(); s.preempt == all && m.config.Priority != top {
		s.failf("%d with priority %d is Master at rest, want one with %d", m.index, m.config.Priority, top)
	}
	s.logf("%d is Master at rest", m.index)
	s.still(20 * s.interval)
}

// still lets time go by in which nothing may change.
func (s *simulation) still(d time.Duration) {
	s.t.Helper()
	lines := len(s.trace)
	s.run(d)
	for _, line := range s.trace[lines:] {
		s.failf("not at rest: %s", line)
	}
}

func (s *simulation) topPriority() uint8 {
	var top uint8
	for _, h := range s.up() {
		top = max(top, h.config.Priority)
	}
	return top
}

func masterDown(h *host, interval time.Duration) time.Duration {
	return h.config.MasterDownInterval(interval)
}

func skew(h *host, interval time.Duration) time.Duration { return h.config.SkewTime(interval) }

// slowest returns the longest that one of those who are up waits.
func (s *simulation) slowest(wait func(h *host, interval time.Duration) time.Duration) time.Duration {
	var longest time.Duration
	for _, h := range s.up() {
		longest = max(longest, wait(h, s.interval)+h.config.TakeoverDelay)
	}
	return longest
}

// follow waits for the next Master, which must be there after the shortest wait
// of those who are up, counted from the last packet of the one before.
func (s *simulation) follow(of *host, wait func(h *host, interval time.Duration) time.Duration) {
	s.t.Helper()
	shortest := time.Hour
	for _, h := range s.up() {
		shortest = min(shortest, wait(h, of.config.AdvertisementInterval)+h.config.TakeoverDelay)
	}
	began := s.now
	s.runUntil(began.Add(time.Hour), func() bool { return len(s.masters()) > 0 })
	gap, limit := s.now.Sub(began), shortest+s.maxDelay+s.maxLate
	s.logf("a new Master after %v, at most %v", gap, limit)
	if gap > limit {
		s.failf("no Master for %v, want at most %v", gap, limit)
	}
}

func (s *simulation) crashMaster() {
	s.t.Helper()
	if len(s.up()) < 2 {
		return
	}
	m := s.masters()[0]
	m.crash()
	s.follow(m, masterDown)
}

func (s *simulation) stopMaster() {
	s.t.Helper()
	if len(s.up()) < 2 {
		return
	}
	m := s.masters()[0]
	m.stop()
	s.follow(m, skew)
}

// suspendBackup: whatever a Backup misses while it stands still, it must not
// take over when it comes back, provided the Master could be expected to be
// heard: that three advertisements in a row are needed.
func (s *simulation) suspendBackup() {
	s.t.Helper()
	for _, h := range s.up() {
		if h.router.State() != Backup || h.config.DownAdverts == 2 {
			continue
		}
		// A stall soon after another counts: see Router.Stalled.
		s.still(time.Second + 2*s.slowest(masterDown) + s.upTo(s.interval))
		d := s.upTo(20 * s.interval)
		h.suspend(d, s.rng.IntN(2) == 0)
		s.still(d + 10*s.interval)
		return
	}
}

// suspendMasterShortly: nobody notices.
func (s *simulation) suspendMasterShortly() {
	s.t.Helper()
	m := s.masters()[0]
	s.run(s.upTo(s.interval))
	limit := m.config.shortestMasterDownInterval() - m.config.AdvertisementInterval - s.maxDelay - s.maxLate
	d := s.upTo(limit)
	m.suspend(d, s.rng.IntN(2) == 0)
	s.still(d + 10*s.interval)
}

// suspendMaster: somebody takes over, and when the Master of old comes back it
// is over without Preempt_Mode.
func (s *simulation) suspendMaster() {
	s.t.Helper()
	if len(s.up()) < 2 {
		return
	}
	m := s.masters()[0]
	s.run(s.upTo(s.interval))
	d := s.slowest(masterDown) + 3*s.interval
	m.suspend(d, s.rng.IntN(2) == 0)
	s.run(d - 1)
	others := slices.DeleteFunc(s.masters(), func(h *host) bool { return h == m })
	if len(others) != 1 {
		s.failf("%d other Masters while %d stands still", len(others), m.index)
	}
	if s.preempt != nobody || m.config.AdvertisementInterval < others[0].config.AdvertisementInterval {
		return // it may come back, and rest tells how that ends
	}
	before := m.router.Status().Counters.MasterTransitions
	s.run(10 * s.interval)
	if s.masters()[0] != others[0] || m.router.Status().Counters.MasterTransitions != before {
		s.failf("%d came back and took over without Preempt_Mode", m.index)
	}
}

// partition: there is a Master on both sides, and when they hear each other
// again, the one that remains must announce the addresses.
func (s *simulation) partition() {
	s.t.Helper()
	up := s.up()
	if len(up) < 2 {
		return
	}
	lone := up[s.rng.IntN(len(up))]
	s.logf("%d is cut off", lone.index)
	s.cut(func(h *host) int {
		if h == lone {
			return 1
		}
		return 0
	})
	s.run(3*s.slowest(masterDown) + s.upTo(s.interval))
	if n := len(s.masters()); n != 2 {
		s.failf("%d Masters on two sides", n)
	}
	s.heal()
	s.run(2 * s.interval)
	masters := s.masters()
	if len(masters) != 1 {
		s.failf("%d Masters after the partition", len(masters))
	}
	if s.announcer != masters[0] {
		s.failf("%d announced last, and %d is Master", s.announcer.index, masters[0].index)
	}
}
