package vrrp

import (
	"strings"
	"testing"
	"time"
)

// The rows of the state machine of RFC 9568 section 6.4, after a summary of it:
// I is Initialize (6.4.1), B Backup (6.4.2), M Master (6.4.3). Where version 2
// (RFC 3768 section 6.4) differs, the test says so.

// Row I1, RFC 9568 section 6.4.1: the address owner starts as Master. It cannot
// be reached: priority 255 is rejected, by Validate and by NewRouter.
func TestRowI1OwnerIsRejected(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.Priority = PriorityOwner
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "priority 255") {
		t.Errorf("priority 255: error %v, want one that names it", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("priority 255 was accepted")
		}
	}()
	NewRouter(c)
}

// Row I2, RFC 9568 section 6.4.1: Startup leads to Backup, and
// Master_Down_Timer is set to Master_Down_Interval.
func TestRowI2Startup(t *testing.T) {
	t.Parallel()
	b := newRouterTest(t)
	b.checkOutput(b.r.Startup(b.now), transition(Initialize, Backup, ReasonStartup))
	b.checkDeadline(360937500)

	b = newRouterTest(t, version2)
	b.checkOutput(b.r.Startup(b.now), transition(Initialize, Backup, ReasonStartup))
	b.checkDeadline(3609375 * time.Microsecond)
}

// Row I2: in another state Startup changes nothing.
func TestRowI2StartupOnlyOnce(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.pass(100 * ms)
	b.checkOutput(b.r.Startup(b.now))
	b.checkDeadline(260937500)
}

// Row I3, RFC 9568 section 6.4.1: nothing but Startup leads out of Initialize.
func TestRowI3InitializeIgnoresEverything(t *testing.T) {
	t.Parallel()
	b := newRouterTest(t)
	b.checkOutput(b.receive(9, 200))
	b.checkOutput(b.receive(9, 0))
	b.checkOutput(b.r.Expire(b.now.Add(time.Hour)))
	b.checkOutput(b.r.Stalled(b.now, time.Hour))
	b.checkOutput(b.r.Shutdown(b.now))
	b.checkState(Initialize)
	if _, running := b.r.Deadline(); running {
		t.Error("a timer runs")
	}
	if got := b.r.Status(); got.Counters.Discarded["initialize"] != 2 || got.Heard {
		t.Errorf("status %+v, want two packets discarded", got)
	}
}

// Row B1, RFC 9568 section 6.4.2: Shutdown cancels the timer and sends nothing.
func TestRowB1Shutdown(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.checkOutput(b.r.Shutdown(b.now), transition(Backup, Initialize, ReasonShutdown))
	b.checkOutput(b.r.Expire(b.now.Add(time.Hour)))
	if _, running := b.r.Deadline(); running {
		t.Error("a timer runs")
	}
}

// Row B2, RFC 9568 section 6.4.2: when Master_Down_Timer fires an advertisement
// is sent and Adver_Timer set.
func TestRowB2MasterDown(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.checkOutput(b.r.Expire(b.now))
	b.pass(360937499)
	b.checkOutput(b.r.Expire(b.now))
	b.pass(1)
	b.checkOutput(b.r.Expire(b.now), sends(100), transition(Backup, Master, ReasonMasterDown))
	b.checkDeadline(100 * ms)
}

// Row B3, RFC 9568 section 6.4.2: after a resignation Skew_Time is left.
func TestRowB3PriorityZero(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.checkOutput(b.receive(9, 200))
	b.pass(50 * ms)
	b.checkOutput(b.receive(9, 0))
	b.checkDeadline(60937500)
	b.pass(60937500)
	b.checkOutput(b.r.Expire(b.now), sends(100), transition(Backup, Master, ReasonMasterResigned))
}

// Row B3: Skew_Time is that of the Master's interval, not of our own.
func TestRowB3SkewOfLearnedInterval(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.checkOutput(b.receive(9, 200, advertisedInterval(200*ms)))
	b.checkOutput(b.receive(9, 0, advertisedInterval(200*ms)))
	b.checkDeadline(121875 * time.Microsecond)
}

// Row B4, RFC 9568 section 6.4.2: a Master that is not preempted restarts the timer.
func TestRowB4HigherOrEqualPriority(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		change   func(c *Config)
		host     byte
		priority uint8
	}{
		{"higher", func(*Config) {}, 9, 101},
		{"owner", func(*Config) {}, 9, 255},
		// Addresses are compared by Masters only.
		{"equal, higher address", func(*Config) {}, 9, 100},
		{"equal, lower address", func(*Config) {}, 1, 100},
		{"lower, nopreempt", nopreempt, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := backup(t, tt.change)
			b.pass(300 * ms)
			b.checkOutput(b.receive(tt.host, tt.priority))
			b.checkDeadline(360937500)
			b.pass(360937499)
			b.checkOutput(b.r.Expire(b.now))
			b.checkState(Backup)
		})
	}
}

// Row B4, RFC 9568 section 6.4.2: both Skew_Time and Master_Down_Interval follow a learned interval; RFC 5798
// had only the latter.
func TestRowB4LearnsInterval(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.checkOutput(b.receive(9, 200, advertisedInterval(200*ms)))
	b.checkDeadline(721875 * time.Microsecond)
	b.checkOutput(b.receive(9, 200, advertisedInterval(10*ms)))
	b.checkDeadline(36093750)
}

// Row B4, RFC 3768 section 7.1: version 2 does not learn, it discards.
func TestRowB4Version2DiscardsOtherInterval(t *testing.T) {
	t.Parallel()
	b := backup(t, version2)
	b.pass(time.Second)
	b.checkOutput(b.receive(9, 200, advertisedInterval(2*time.Second)))
	b.checkDeadline(2609375 * time.Microsecond)
	if got := b.r.Status().Counters; got.Discarded["advertisementInterval"] != 1 || got.AdvertisementsReceived != 0 {
		t.Errorf("counters %+v", got)
	}
	b.checkOutput(b.receive(9, 200))
	b.checkDeadline(3609375 * time.Microsecond)
}

// Row B5, RFC 9568 section 6.4.2: a Master that is preempted is ignored.
func TestRowB5LowerPriority(t *testing.T) {
	t.Parallel()
	b := backup(t)
	for range 3 {
		b.pass(100 * ms)
		b.checkOutput(b.receive(9, 99, advertisedInterval(200*ms)))
	}
	b.checkDeadline(60937500)
	b.pass(60937500)
	b.checkOutput(b.r.Expire(b.now), sends(100), transition(Backup, Master, ReasonPreempted))
}

// Row M1, RFC 9568 section 6.4.3: Shutdown sends priority 0.
func TestRowM1Shutdown(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.checkOutput(b.r.Shutdown(b.now), sends(0), transition(Master, Initialize, ReasonShutdown))
	b.checkOutput(b.r.Shutdown(b.now))
	if _, running := b.r.Deadline(); running {
		t.Error("a timer runs")
	}
}

// Row M2, RFC 9568 section 6.4.3: an advertisement each time Adver_Timer fires.
func TestRowM2AdverTimer(t *testing.T) {
	t.Parallel()
	b := master(t)
	for range 3 {
		b.checkDeadline(100 * ms)
		b.pass(100*ms - 1)
		b.checkOutput(b.r.Expire(b.now))
		b.pass(1)
		b.checkOutput(b.r.Expire(b.now), sends(100))
	}
}

// Row M3, RFC 9568 section 6.4.3: a resignation is answered and resets
// Adver_Timer.
func TestRowM3PriorityZero(t *testing.T) {
	t.Parallel()
	for _, version := range []func(*Config){func(*Config) {}, version2} {
		b := master(t, version)
		b.pass(b.c.AdvertisementInterval / 2)
		b.checkOutput(b.receive(9, 0), sends(100), announces())
		b.checkDeadline(b.c.AdvertisementInterval)
		b.checkState(Master)
	}
}

// Row M4, RFC 9568 section 6.4.3: a higher priority, or an equal one from a
// higher address, wins.
func TestRowM4HigherPriority(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		change   func(c *Config)
		host     byte
		priority uint8
	}{
		{"higher", func(*Config) {}, 1, 101},
		{"owner", func(*Config) {}, 1, 255},
		{"higher, nopreempt", nopreempt, 1, 101},
		{"equal, higher address", func(*Config) {}, 6, 100},
		// Octets are unsigned.
		{"equal, address above 127", func(*Config) {}, 200, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := master(t, tt.change)
			b.checkOutput(b.receive(tt.host, tt.priority, advertisedInterval(200*ms)), sends(100), withInterval(200*ms), transition(Master, Backup, ReasonHigherPriority))
			b.checkDeadline(721875 * time.Microsecond)
			b.checkOutput(b.r.Expire(b.now.Add(100 * ms)))
		})
	}
}

// Row M4: the loser sends one last advertisement, so that the winner announces its
// addresses again; then it is silent, and takes over like any Backup.
func TestRowM4LoserTakesOverAgain(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.checkOutput(b.receive(9, 200), sends(100), transition(Master, Backup, ReasonHigherPriority))
	b.pass(360937500)
	b.checkOutput(b.r.Expire(b.now), sends(100), transition(Backup, Master, ReasonMasterDown))
}

// Row M5, RFC 9568 section 6.4.3, new since RFC 5798: a lower priority, or an
// equal one from a lower address, is answered at once.
func TestRowM5LowerPriorityIsAnswered(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		host     byte
		priority uint8
	}{
		{"lower", 9, 99},
		{"equal, lower address", 4, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := master(t)
			b.pass(30 * ms)
			b.checkOutput(b.receive(tt.host, tt.priority), sends(100), announces())
			b.checkDeadline(70 * ms) // Adver_Timer is not reset.
			b.checkState(Master)
		})
	}
}

// Row M5, RFC 3768 section 6.4.3: version 2 discards it. The hosts' caches need the
// announcement all the same.
func TestRowM5Version2IsSilent(t *testing.T) {
	t.Parallel()
	b := master(t, version2)
	b.checkOutput(b.receive(9, 99), announces())
	b.checkState(Master)
}

// Row M6: no router wins against its own address.
func TestRowM6OwnAddress(t *testing.T) {
	t.Parallel()
	for _, priority := range []uint8{0, 99, 100, 101, 255} {
		b := master(t)
		b.checkOutput(b.receive(5, priority))
		b.checkState(Master)
		if got := b.r.Status().Counters.Discarded["ownSource"]; got != 1 {
			t.Errorf("priority %d: %d discarded as our own, want 1", priority, got)
		}
	}
}
