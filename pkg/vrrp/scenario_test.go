package vrrp

import (
	"testing"
	"time"
)

// pair returns a segment at rest whose host 0 is Master and host 1 Backup.
func pair(t *testing.T, changes ...func(c *Config)) (s *segment, master, backup *host) {
	t.Helper()
	s = newSegment(t, 1)
	for i, p := range []uint8{200, 100} {
		c := testConfig()
		c.Priority, c.Source = p, hostSource(i)
		for _, change := range changes {
			change(&c)
		}
		s.add(c).start()
	}
	s.run(10 * time.Second)
	if masters := s.masters(); len(masters) != 1 || masters[0] != s.hosts[0] {
		s.failf("not at rest")
	}
	return s, s.hosts[0], s.hosts[1]
}

// A Master that comes back too late finds its successor's advertisements in the
// socket, or, if it was frozen, nothing; without Preempt_Mode it yields either
// way, though its priority is higher.
func TestScenarioMasterComesBack(t *testing.T) {
	t.Parallel()
	for _, frozen := range []bool{false, true} {
		s, master, backup := pair(t, nopreempt)
		sent := master.router.Status().Counters.AdvertisementsSent
		master.suspend(time.Second, frozen)
		s.run(5 * time.Second)
		if m := s.masters(); len(m) != 1 || m[0] != backup {
			s.failf("frozen %v: Masters %v, want the successor", frozen, m)
		}
		if got := master.router.Status(); got.Counters.AdvertisementsSent != sent || got.Reason != ReasonStalled {
			s.failf("frozen %v: sent %d advertisements, reason %s", frozen, got.Counters.AdvertisementsSent-sent, got.Reason)
		}
	}
}

// A Backup that is deaf to the Master makes itself Master and stays it. The
// Master answers at its own pace and goes on announcing.
func TestScenarioDeafBackup(t *testing.T) {
	t.Parallel()
	s, master, backup := pair(t)
	backup.from[master.index].deaf = true
	s.run(time.Second)
	before := master.router.Status().Counters
	backup.config.AdvertisementInterval = 10 * ms
	backup.change(func(*Config) {})
	s.run(10 * time.Second)
	after := master.router.Status().Counters
	if len(s.masters()) != 2 || s.announcer != master {
		s.failf("want two Masters, the one that hears announcing last")
	}
	if n := after.AdvertisementsSent - before.AdvertisementsSent; n > 202 {
		s.failf("%d advertisements in 10 s, want 100 and an answer to each interval at most", n)
	}
	if n := after.Warnings["otherMaster"] - before.Warnings["otherMaster"]; n < 990 {
		s.failf("%d warnings, want one for each of 1000 advertisements", n)
	}
	s.heal()
	s.run(time.Second)
	if len(s.masters()) != 1 {
		s.failf("two Masters that hear each other")
	}
}

// The loser of a partition that is heard last would be where the hosts of its
// side send to; so the winner must hear of it, whoever is heard first.
func TestScenarioPartitionHeals(t *testing.T) {
	t.Parallel()
	for phase := time.Duration(0); phase < 100*ms; phase += 7 * ms {
		s, master, backup := pair(t)
		s.cut(func(h *host) int { return h.index })
		s.run(time.Second + phase)
		if s.announcer != backup {
			s.failf("the other side has no Master")
		}
		s.heal()
		s.run(150 * ms)
		if m := s.masters(); len(m) != 1 || m[0] != master || s.announcer != master {
			s.failf("the Master did not announce")
		}
	}
}

// A router whose priority a live change raised takes over in peace: the old
// Master is heard until the new one is.
func TestScenarioPreemptionWithoutGap(t *testing.T) {
	t.Parallel()
	s, master, backup := pair(t)
	backup.change(priority(250))
	s.runUntil(s.now.Add(time.Second), func() bool { return backup.router.State() == Master })
	if master.router.State() != Master || s.now.Sub(master.router.sent) > 100*ms+s.maxLate {
		s.failf("the old Master was gone before the new one came")
	}
	s.run(50 * ms)
	if m := s.masters(); len(m) != 1 || m[0] != backup || backup.router.Status().Reason != ReasonPreempted {
		s.failf("the old Master is still there")
	}
}
