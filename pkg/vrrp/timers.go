package vrrp

import "time"

// SkewTime is Skew_Time (RFC 9568 section 6.1) for a Master that advertises
// every masterAdverInterval. The division comes last and the unit is the
// nanosecond: in the RFC's centiseconds all priorities would have the same
// skew at short intervals, and all Backups would promote themselves together.
// With version 2 it does not depend on the interval (RFC 3768 section 6.1).
func (c Config) SkewTime(masterAdverInterval time.Duration) time.Duration {
	return skewTime(c.Version, c.Priority, masterAdverInterval)
}

// MasterDownInterval is Master_Down_Interval (RFC 9568 section 6.1) for a
// Master that advertises every masterAdverInterval.
func (c Config) MasterDownInterval(masterAdverInterval time.Duration) time.Duration {
	return masterDownInterval(c, c.Priority, masterAdverInterval)
}

// adverTimer is what Adver_Timer runs for: the interval, or its part if more
// than one advertisement is sent in it.
func (c Config) adverTimer() time.Duration {
	return c.AdvertisementInterval / time.Duration(max(c.AdvertsPerInterval, 1))
}

// shortestMasterDownInterval is the Master_Down_Interval of the quickest
// possible peer that is configured as we are, while we are Master.
func (c Config) shortestMasterDownInterval() time.Duration {
	return masterDownInterval(c, MaxPriority, c.AdvertisementInterval)
}

// shortestSkewTime is the Skew_Time of that peer.
func (c Config) shortestSkewTime() time.Duration {
	return skewTime(c.Version, MaxPriority, c.AdvertisementInterval)
}

// learn returns the Master_Adver_Interval to take from an advertisement's.
// One forged advertisement with the longest interval, 40.95 s, would else keep
// every Backup from noticing anything for two minutes.
func (c Config) boundInterval(interval time.Duration) time.Duration {
	return min(interval, max(10*c.AdvertisementInterval, time.Second))
}

// grace is what a Backup allows for delay and jitter. So long after an
// advertisement is due it looks whether it came; sooner, it would wake up for
// nothing. And it counts as having stood still if it is late for that by two
// intervals less twice as much; any later, it could have missed three
// advertisements of which the third came early.
func grace(masterAdverInterval time.Duration) time.Duration { return masterAdverInterval / 4 }

func masterDownInterval(c Config, priority uint8, masterAdverInterval time.Duration) time.Duration {
	adverts := c.DownAdverts
	if adverts == 0 {
		adverts = DefaultDownAdverts
	}
	return time.Duration(adverts)*masterAdverInterval + skewTime(c.Version, priority, masterAdverInterval)
}

func skewTime(v Version, priority uint8, masterAdverInterval time.Duration) time.Duration {
	if v == V2 {
		masterAdverInterval = time.Second
	}
	return (256 - time.Duration(priority)) * masterAdverInterval / 256
}
