package vrrp

import (
	"errors"
	"fmt"
	"time"
)

// Settings are what an operator sets for a virtual router, the same on every
// interface that it runs on. All of them may change while the router runs, but
// Version. The zero value of DownAdverts, AdvertsPerInterval and Checksum is the
// default.
type Settings struct {
	Version Version
	// Priority is MinPriority to MaxPriority.
	Priority uint8
	// AdvertisementInterval is a valid interval of Version: see
	// Version.ValidInterval.
	AdvertisementInterval time.Duration
	// DownAdverts is how many advertisements in a row must be missed before
	// the Master counts as down: the 3 in the RFC's Master_Down_Interval. It is
	// 1 to MaxDownAdverts; 0 means DefaultDownAdverts.
	DownAdverts int
	// AdvertsPerInterval is how often an advertisement is sent in an
	// AdvertisementInterval, so that more losses in a row are needed for a false
	// takeover. Others see the interval only. It is 1 to MaxAdvertsPerInterval
	// with V3, 1 with V2; 0 means DefaultAdvertsPerInterval.
	AdvertsPerInterval int
	// Preempt is Preempt_Mode: a Backup takes over from a Master of lower
	// priority.
	Preempt bool
	// PreemptDelay is how long a Master of lower priority is left alone after
	// it was first heard, 0 to MaxPreemptDelay; only with Preempt.
	PreemptDelay time.Duration
	// Checksum is the form of the checksum that IPv4 advertisements of V3 are
	// sent with; ChecksumNone means ChecksumPseudoHeader. Every form is accepted.
	Checksum ChecksumForm
	// Password is that of RFC 2338's simple text authentication, with V2
	// only; the zero value means no authentication.
	Password Password `json:"-"`
	// Unicast sends advertisements to Config.Peers instead of the multicast
	// group, and accepts them from these only.
	Unicast bool
}

// The bounds of Settings; those of an interval depend on the Version.
const (
	MinPriority           = PriorityResign + 1
	MaxPriority           = PriorityOwner - 1
	MaxDownAdverts        = 100
	MaxAdvertsPerInterval = 4
	// MaxPreemptDelay is keepalived's.
	MaxPreemptDelay = 1000 * time.Second
)

// The defaults of Settings; that of an interval depends on the Version.
const (
	DefaultVersion = V3
	// DefaultDownAdverts is the 3 in the RFC's Master_Down_Interval.
	DefaultDownAdverts        = 3
	DefaultAdvertsPerInterval = 1
)

// DefaultInterval returns the default of Settings.AdvertisementInterval. The
// RFCs' is 1 s. V2 cannot express less; V3 can, and a takeover takes about three
// intervals.
func (v Version) DefaultInterval() time.Duration {
	if v == V2 {
		return time.Second
	}
	return 100 * time.Millisecond
}

// ValidInterval reports whether v can express an advertisement interval: V2 in
// seconds in 8 bits (RFC 3768 section 5.3.7), V3 in centiseconds in 12 bits
// (RFC 9568 section 5.2.7).
func (v Version) ValidInterval(d time.Duration) bool {
	unit, most := centisecond, time.Duration(intervalMask)
	if v == V2 {
		unit, most = time.Second, 255
	}
	return d >= unit && d <= most*unit && d%unit == 0
}

// Intervals describes the intervals that ValidInterval accepts.
func (v Version) Intervals() string {
	if v == V2 {
		return "1s to 255s in whole seconds"
	}
	return "10ms to 40.95s in steps of 10ms"
}

// checkSettings returns an error that names every setting that is invalid by itself,
// its value, and the valid ones.
func (s Settings) checkSettings() error {
	var errs []error
	bad := func(field string, value any, right string) {
		errs = append(errs, fieldError(field, value, right))
	}
	if s.Version != V2 && s.Version != V3 {
		bad("version", s.Version, "2 or 3")
	}
	if s.Priority < MinPriority || s.Priority > MaxPriority {
		bad("priority", s.Priority, fmt.Sprintf("%d to %d", MinPriority, MaxPriority))
	}
	if d := s.AdvertisementInterval; !s.Version.ValidInterval(d) {
		right := s.Version.Intervals()
		if s.Version == V2 {
			right += ", as version 2 has it"
		}
		bad("advertisement interval", d, right)
	}
	if n := s.DownAdverts; n < 0 || n > MaxDownAdverts {
		bad("down adverts", n, fmt.Sprintf("1 to %d, or 0 for %d", MaxDownAdverts, DefaultDownAdverts))
	}
	switch n := s.AdvertsPerInterval; {
	case n < 0 || n > MaxAdvertsPerInterval:
		bad("adverts per interval", n, fmt.Sprintf("1 to %d, or 0 for %d", MaxAdvertsPerInterval, DefaultAdvertsPerInterval))
	case n > 1 && s.Version == V2:
		bad("adverts per interval", n, "1, as version 2 has it")
	}
	if d := s.PreemptDelay; d < 0 || d > MaxPreemptDelay {
		bad("preempt delay", d, fmt.Sprintf("0 to %v", MaxPreemptDelay))
	}
	if s.Version != V2 && s.Password != (Password{}) {
		bad("password", s.Password, "none, as version 3 has no authentication")
	}
	return errors.Join(errs...)
}
