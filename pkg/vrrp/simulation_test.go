package vrrp

import (
	"cmp"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds = flag.Int("vrrp.seeds", 400, "how many seeds to simulate")
	seed  = flag.Int("vrrp.seed", -1, "the one seed to simulate")
)

// TestSimulation runs LANs of 2 to 5 routers, some of them models of keepalived
// and FRR, under random faults of LANs and hosts, lets them settle, and then checks
// these properties:
//
//   - (a) At rest there is exactly one Master, with Preempt_Mode one of the
//     highest priority, and it stays: settle, oneMaster.
//   - (b) No router of ours takes over from a Master that is up: without the
//     silence or the resignation that it takes (host.checkPromotion), while fewer
//     advertisements in a row are lost than it takes (lossy), after it stalled
//     itself (suspendBackup), or because the Master stalled for a moment
//     (suspendMasterShortly).
//   - (c) A Master that crashes or resigns is followed within the shortest
//     Master_Down_Interval or Skew_Time of those who are left (awaitSuccessor), by one
//     only if the waits are spaced (checkPromotedAlone).
//   - (d) A kernel whose Master was killed or is suspended removes the addresses
//     when their lease ends: checkLeases.
//   - (e) The last announcement is from the final Master, if that is ours; and
//     if it is keepalived that one of ours gave way to: checkClients.
//   - (f) Timers always run: checkInvariants, host.loop.
//   - (g) A Master that stalled and comes back too late leaves the addresses
//     to its successor without Preempt_Mode, and takes them back with it:
//     suspendMaster.
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
	// preemptDelay is that of all of ours.
	preemptDelay time.Duration
	// ranked: the waits of Backups are spaced by rank.
	ranked bool
	// mixed: there are models among the hosts.
	mixed bool
	// known: with multicast, ours know each other, but not the models.
	known bool
}

type mode int

const (
	all mode = iota
	nobody
	some
)

func simulate(t *testing.T, seed uint64) {
	s := newSimulation(t, seed)
	acts := []func(){
		s.crashMaster, s.stopMaster, s.killMaster, s.suspendBackup, s.suspendMasterShortly, s.suspendMaster,
		s.partition, s.lossy,
	}
	for range 3 {
		s.chaos()
		s.settle()
		for range 2 {
			acts[s.rng.IntN(len(acts))]()
			s.settle()
		}
	}
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{segment: newSegment(t, seed)}
	s.now = Time(s.rng.Int64N(1e15))
	s.preempt = mode(s.rng.IntN(3))
	c := Config{Settings: Settings{Version: V3}, Family: IPv4, VRID: 50, Addresses: addrs("192.0.2.50", "192.0.2.51")}
	intervals := []time.Duration{10 * ms, 50 * ms, 100 * ms, 100 * ms, time.Second}
	s.interval = intervals[s.rng.IntN(len(intervals))]
	source, withFRR := hostSource, true
	switch s.rng.IntN(6) {
	case 0:
		c.Version, s.interval = V2, time.Second
		if s.rng.IntN(2) == 0 {
			copy(c.Password[:], "secret12")
			withFRR = false
		}
	case 1, 2:
		c.Family, c.Addresses, source = IPv6, addrs("fe80::50", "2001:db8::50"), linkLocal
	}
	if s.rng.IntN(4) == 0 {
		c.Unicast, withFRR = true, false
	}
	c.AdvertisementInterval = s.interval
	s.mixed = s.rng.IntN(2) == 0
	if !s.mixed {
		c.DownAdverts = []int{0, 0, 0, 2, 5}[s.rng.IntN(5)]
	}
	if s.rng.IntN(4) == 0 {
		s.maxNetlink = s.upTo(100 * ms)
	}
	if s.rng.IntN(3) == 0 {
		s.preemptDelay = s.upTo(10 * s.interval)
	}
	foreign := c.Addresses
	if s.rng.IntN(3) == 0 {
		foreign = foreign[:1]
	}
	s.ranked = s.rng.IntN(2) == 0
	ties := s.rng.IntN(3) == 0
	hosts := 2 + s.rng.IntN(4)
	for i := range hosts {
		c.Source = source(i)
		if c.Unicast {
			c.Peers = nil
			for other := range hosts {
				if other != i {
					c.Peers = append(c.Peers, source(other))
				}
			}
		}
		c.Priority = uint8(1 + s.rng.IntN(254))
		if ties {
			c.Priority = []uint8{100, 150, 200}[s.rng.IntN(3)]
		}
		c.Preempt = s.preempt == all || s.preempt == some && s.rng.IntN(2) == 0
		theirs := c
		theirs.Addresses = foreign
		switch {
		case !s.mixed || i == 0 || s.rng.IntN(2) == 0:
			c.PreemptDelay, c.AdvertsPerInterval = s.preemptDelay, 0
			if c.Version == V3 {
				c.AdvertsPerInterval = s.rng.IntN(5)
			}
			s.add(c)
		case !withFRR || s.rng.IntN(2) == 0:
			s.addPeer(theirs, newKeepalived)
		default:
			s.addPeer(theirs, newFRR)
		}
	}
	s.known = !c.Unicast && s.rng.IntN(2) == 0
	for _, h := range s.hosts {
		s.introduce(h)
	}
	s.logf("preempt %d, version %d, IPv%d, unicast %v, interval %v, down adverts %d, netlink %v, ranked %v, preempt delay %v, %d foreign addresses",
		s.preempt, c.Version, c.Family, c.Unicast, s.interval, c.DownAdverts, s.maxNetlink, s.ranked,
		s.preemptDelay, len(foreign))
	return s
}

// up returns the hosts that are up.
func (s *simulation) up() []*host {
	return slices.DeleteFunc(slices.Clone(s.hosts), func(h *host) bool { return !h.up })
}

// chaos makes random faults.
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
	if !h.up {
		if h.ours() && s.rng.IntN(3) == 0 {
			h.listen()
		} else {
			h.start()
		}
		return
	}
	switch s.rng.IntN(13) {
	case 0:
		if h.ours() && s.rng.IntN(2) == 0 {
			h.kill()
		} else {
			h.crash()
		}
	case 1:
		h.stop()
	case 2:
		sides := s.rng.Uint64()
		s.logf("partition %b", sides)
		s.cut(func(h *host) int { return int(sides >> h.index & 1) })
	case 3:
		other := s.hosts[s.rng.IntN(len(s.hosts))]
		s.logf("%d does not hear %d", h.index, other.index)
		h.from[other.index].deaf = true
	case 4:
		s.loss, s.duplicates, s.burst = s.rng.Float64(), s.rng.Float64(), 0
		s.logf("loss %v, duplicates %v", s.loss, s.duplicates)
	case 5:
		s.loss, s.burst = s.rng.Float64()/10, s.upTo(5*s.interval)
		s.logf("bursts of up to %v of loss, one each %v packets", s.burst, 1/s.loss)
	case 6:
		s.maxDelay = minDelay + s.upTo(s.interval)
		s.logf("delay %v", s.maxDelay)
	case 7, 8:
		h.suspend(s.upTo(10*s.interval), s.rng.IntN(2) == 0)
	case 9, 10, 11:
		s.reconfigure(h)
	default:
		s.heal()
	}
}

// reconfigure changes something about a running host. A model is stopped for
// it.
func (s *simulation) reconfigure(h *host) {
	s.t.Helper()
	if !h.ours() {
		h.stop()
		h.config.Priority = uint8(1 + s.rng.IntN(254))
		return
	}
	if s.now < h.suspended {
		return // Its loop reads its sockets before it learns of a change.
	}
	switch s.rng.IntN(6) {
	case 0:
		h.change(func(c *Config) { c.Priority = uint8(1 + s.rng.IntN(254)) })
	case 1:
		h.change(func(c *Config) { c.TakeoverDelay = s.upTo(20 * ms) })
	case 2, 3:
		h.change(func(c *Config) {
			// In another order, or a VIP comes or goes; the other nodes learn
			// of it some other time.
			c.Addresses = slices.Clone(c.Addresses)
			slices.Reverse(c.Addresses)
			extra := addrs("192.0.2.52")
			if c.Family == IPv6 {
				extra = addrs("2001:db8::52")
			}
			if i := slices.Index(c.Addresses, extra[0]); i >= 0 {
				c.Addresses = slices.Delete(c.Addresses, i, i+1)
			} else {
				c.Addresses = append(c.Addresses, extra...)
			}
		})
	case 4:
		if h.config.Version == V3 {
			h.change(func(c *Config) {
				c.AdvertisementInterval = centisecond * time.Duration(1+s.rng.IntN(int(s.interval/centisecond)))
			})
		}
	case 5:
		h.change(func(c *Config) {
			if c.Version == V3 {
				c.AdvertsPerInterval = s.rng.IntN(5)
			}
			if !c.Unicast && len(c.Peers) > 0 {
				c.Peers = c.Peers[1:] // Not all nodes are known at all times.
			}
		})
	}
}

// settle heals everything, waits for the routers to settle, and checks that they did.
func (s *simulation) settle() {
	s.t.Helper()
	s.heal()
	for s.rng.IntN(2) == 0 || len(s.up()) < 2 {
		if h := s.hosts[s.rng.IntN(len(s.hosts))]; !h.up {
			h.start()
		}
	}
	// First the suspended hosts come back and the listening ones start. Then the
	// slowest takes over, and is preempted at once by another that has waited as
	// long; and once more, because a stall may have restarted a timer.
	var wait time.Duration
	for _, h := range s.up() {
		wait = max(wait, h.suspended.Sub(s.now), h.startsAt.Sub(s.now))
	}
	for _, h := range s.up() {
		h.frozen = false
	}
	s.run(wait + s.maxLate)
	if s.ranked {
		s.rank()
	}
	slowest := s.slowest((*host).masterDown)
	s.run(3*slowest + 2*s.interval)
	if s.preempt != nobody {
		s.run(s.preemptDelay + slowest + 2*s.interval)
	}
	m := s.oneMaster("at rest")
	if top := s.topPriority(); s.preempt == all && m.config.Priority != top {
		s.failf("%d with priority %d is Master at rest, want one with %d", m.index, m.config.Priority, top)
	}
	s.logf("%d is Master at rest", m.index)
	s.runUnchanged(20 * s.interval)
	s.checkLeases()
}

// introduce sets the peers of h to the other hosts of ours.
func (s *simulation) introduce(h *host) {
	if !s.known || !h.ours() {
		return
	}
	h.config.Peers = nil
	for _, other := range s.hosts {
		if other.ours() && other != h {
			h.config.Peers = append(h.config.Peers, other.config.Source)
		}
	}
}

// rank spaces the waits of our Backups as the daemon does.
func (s *simulation) rank() {
	up := slices.DeleteFunc(s.up(), func(h *host) bool { return !h.ours() })
	slices.SortFunc(up, func(a, b *host) int {
		return cmp.Or(cmp.Compare(b.config.Priority, a.config.Priority), b.config.Source.Compare(a.config.Source))
	})
	for i, h := range up {
		step := max(1250*time.Microsecond, s.interval/16)
		s.introduce(h) // The ranks are those of the nodes that are known.
		h.change(func(c *Config) { c.TakeoverDelay, c.TakeoverStep = time.Duration(i)*step, step })
	}
}

// oneMaster returns the only Master.
func (s *simulation) oneMaster(when string) *host {
	s.t.Helper()
	masters := s.masters()
	if len(masters) != 1 {
		s.failf("%d Masters %s", len(masters), when)
	}
	return masters[0]
}

// checkLeases checks that only the Master holds the addresses once the leases have
// expired. A killed model would hold them for ever, so none is killed.
func (s *simulation) checkLeases() {
	s.t.Helper()
	m := s.oneMaster("before the leases end")
	if h := s.holders(); len(h) == 1 && h[0] == m {
		return
	}
	s.runUnchanged(leaseTime + leaseRounding + s.maxNetlink + ms)
	if h := s.holders(); len(h) != 1 || h[0] != m {
		s.failf("%d hold the addresses, the Master %v", len(h), m.bound)
	}
}

// runUnchanged advances the clock by d and checks that nothing changes.
func (s *simulation) runUnchanged(d time.Duration) {
	s.t.Helper()
	lines := len(s.trace)
	s.run(d)
	for _, line := range s.trace[lines:] {
		if !strings.Contains(line, "kernel") {
			s.failf("not at rest: %s", line)
		}
	}
}

func (s *simulation) topPriority() uint8 {
	var top uint8
	for _, h := range s.up() {
		top = max(top, h.config.Priority)
	}
	return top
}

// slowest returns the longest wait of the hosts that are up.
func (s *simulation) slowest(wait func(h *host, interval time.Duration) time.Duration) time.Duration {
	var longest time.Duration
	for _, h := range s.up() {
		longest = max(longest, wait(h, s.interval))
	}
	return longest
}

// quickest returns the shortest wait for m of the other hosts that are up.
func (s *simulation) quickest(m *host, wait func(h *host, interval time.Duration) time.Duration) time.Duration {
	shortest := time.Hour
	for _, h := range s.up() {
		if h != m {
			shortest = min(shortest, wait(h, m.config.AdvertisementInterval))
		}
	}
	return shortest
}

// awaitSuccessor waits for the next Master and checks that it takes over within the
// shortest wait of the hosts that are up. The wait counts from the last packet of the
// Master before, which is sent at most moment from now.
func (s *simulation) awaitSuccessor(of *host, moment time.Duration, wait func(h *host, interval time.Duration) time.Duration) {
	s.t.Helper()
	began, doubles := s.now, s.doubles
	s.runUntil(began.Add(time.Hour), func() bool { return len(s.masters()) > 0 })
	gap, limit := s.now.Sub(began), moment+s.quickest(of, wait)+s.maxDelay+s.maxLate
	if s.mixed {
		limit += s.maxLate // A model's timer runs from when it has read the packet.
	}
	s.logf("a new Master after %v, at most %v", gap, limit)
	if gap > limit {
		s.failf("no Master for %v, want at most %v", gap, limit)
	}
	s.checkPromotedAlone(doubles)
}

// checkPromotedAlone checks that Backups with spaced waits do not become Master
// together.
func (s *simulation) checkPromotedAlone(doubles int) {
	s.t.Helper()
	if !s.ranked || s.mixed {
		return
	}
	s.run(3 * s.interval)
	if n := s.doubles - doubles; n > 0 {
		s.failf("%d times two Masters at once", n)
	}
}

func (s *simulation) crashMaster() {
	s.t.Helper()
	if len(s.up()) < 2 {
		return
	}
	m := s.oneMaster("before the crash")
	m.crash()
	s.awaitSuccessor(m, 0, (*host).masterDown)
}

func (s *simulation) stopMaster() {
	s.t.Helper()
	if len(s.up()) < 2 {
		return
	}
	m := s.oneMaster("before the release")
	m.stop()
	s.awaitSuccessor(m, releaseTime, (*host).skew)
}

// killMaster ends the Master's process; its kernel keeps the addresses.
func (s *simulation) killMaster() {
	s.t.Helper()
	m := s.oneMaster("before it is killed")
	if len(s.up()) < 2 || !m.ours() {
		return
	}
	m.kill()
	killed := s.now
	s.awaitSuccessor(m, 0, (*host).masterDown)
	s.run(leaseTime + leaseRounding - s.now.Sub(killed) + ms)
	if m.bound {
		s.failf("%d still holds the addresses %v after its process was killed", m.index, s.now.Sub(killed))
	}
}

// suspendBackup checks that a Backup of ours does not take over after a suspension,
// whatever it missed, provided that a takeover needs three missed advertisements.
func (s *simulation) suspendBackup() {
	s.t.Helper()
	for _, h := range s.up() {
		if h.state() != Backup || !h.ours() || h.config.DownAdverts == 2 {
			continue
		}
		// A stall soon after another counts: see Router.Stalled.
		s.runUnchanged(time.Second + 2*s.slowest((*host).masterDown) + s.upTo(s.interval))
		d := s.upTo(20 * s.interval)
		h.suspend(d, s.rng.IntN(2) == 0)
		s.runUnchanged(d + 10*s.interval)
		return
	}
}

// suspendMasterShortly checks that a short suspension has no effect.
func (s *simulation) suspendMasterShortly() {
	s.t.Helper()
	m := s.oneMaster("before it is suspended")
	s.run(s.upTo(s.interval))
	limit := min(m.config.shortestMasterDownInterval(), s.quickest(m, (*host).masterDown))
	limit -= m.config.AdvertisementInterval + s.maxDelay + s.maxLate
	d := s.upTo(limit)
	m.suspend(d, s.rng.IntN(2) == 0)
	s.runUnchanged(d + 10*s.interval)
}

// suspendMaster checks that another host takes over from a suspended Master, which
// without Preempt_Mode becomes Backup when it comes back.
func (s *simulation) suspendMaster() {
	s.t.Helper()
	if len(s.up()) < 2 {
		return
	}
	m := s.oneMaster("before it is suspended")
	s.run(s.upTo(s.interval))
	d := s.slowest((*host).masterDown) + 3*s.interval
	frozen := s.rng.IntN(2) == 0
	m.suspend(d, frozen)
	beside := func() []*host {
		return slices.DeleteFunc(s.masters(), func(h *host) bool { return h == m })
	}
	// One of the two instants may lie within a preemption, before the loser has
	// heard of it.
	settles := 4 * (s.maxDelay + s.maxLate)
	s.run(d - settles)
	others := beside()
	s.run(settles - 1)
	if len(others) != 1 {
		others = beside()
	}
	if len(others) != 1 {
		s.failf("%d other Masters while %d stands still", len(others), m.index)
	}
	if m.ours() && !frozen && d > leaseTime+leaseRounding+s.maxNetlink && m.bound {
		s.failf("%d holds the addresses %v after it stood still", m.index, d)
	}
	if s.preempt != nobody || !m.ours() || m.config.AdvertisementInterval < others[0].config.AdvertisementInterval {
		return // it may come back; settle checks the end
	}
	before := m.router.Status().Counters.MasterTransitions
	s.run(10 * s.interval)
	if s.oneMaster("after one came back") != others[0] || m.router.Status().Counters.MasterTransitions != before {
		s.failf("%d came back and took over without Preempt_Mode", m.index)
	}
}

// partition checks that each side has a Master, and that after the partition the
// remaining Master announces the addresses.
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
	s.run(3*s.slowest((*host).masterDown) + s.upTo(s.interval))
	masters := s.masters()
	if len(masters) != 2 {
		s.failf("%d Masters on two sides", len(masters))
	}
	s.heal()
	s.run(2 * s.interval)
	m := s.oneMaster("after the partition")
	loser := masters[0]
	if loser == m {
		loser = masters[1]
	}
	if m.ours() && loser.ours() && s.announcer != m {
		s.failf("%d announced last, and %d is Master", s.announcer.index, m.index)
	}
	s.checkClients(m, loser)
}

// checkClients: when the announcements that a takeover causes are over, every
// client believes the Master, or, if that is not ours, what can be promised.
func (s *simulation) checkClients(m, loser *host) {
	s.t.Helper()
	wait := announceOffsets[len(announceOffsets)-1] + 2*s.maxNetlink + ms
	switch m.peer.(type) {
	case nil:
		if !loser.ours() {
			// It may have yielded before it was heard, and then we do not know
			// that it was Master.
			wait += announceRefresh
		}
	case *keepalived:
		if !loser.ours() || s.maxNetlink > quickNetlink {
			return
		}
	default:
		return // FRR announces once, when it becomes Master.
	}
	s.runUnchanged(wait)
	for _, h := range s.hosts {
		if h.cache != m {
			s.failf("the client beside %d does not believe the Master %d", h.index, m.index)
		}
	}
}

// lossy: fewer advertisements in a row are lost than a takeover needs.
func (s *simulation) lossy() {
	s.t.Helper()
	m := s.oneMaster("before packets are lost")
	limit := time.Hour
	for _, h := range s.up() {
		if h != m {
			// A step of the delay may be the Master's.
			limit = min(limit, h.masterDown(m.config.AdvertisementInterval)-min(h.config.TakeoverDelay, h.config.TakeoverStep))
		}
	}
	limit -= s.maxDelay + s.maxLate
	// The timers of models run from when the last has fired.
	between := m.config.AdvertisementInterval + s.maxLate
	if m.ours() {
		between = m.config.adverTimer()
	}
	s.lossRun = int(limit/between) - 1
	if s.lossRun < 1 {
		return
	}
	s.logf("%d of %d packets in a row are lost", s.lossRun, s.lossRun+1)
	s.loss, s.burst, s.duplicates = s.rng.Float64(), s.upTo(5*s.interval), s.rng.Float64()
	s.runUnchanged(50 * s.interval)
}
