package vrrp

import "time"

// SkewTime returns Skew_Time (RFC 9568 section 6.1) for a Master that advertises
// every masterAdverInterval. The division comes last and the unit is the
// nanosecond: in the RFC's centiseconds all priorities would have the same skew
// at short intervals, and all Backups would become Master together.
// With version 2 it does not depend on the interval (RFC 3768 section 6.1).
func (c Config) SkewTime(masterAdverInterval time.Duration) time.Duration {
	return skewTime(c.Version, c.Priority, masterAdverInterval)
}

// MasterDownInterval returns Master_Down_Interval (RFC 9568 section 6.1) for a
// Master that advertises every masterAdverInterval.
func (c Config) MasterDownInterval(masterAdverInterval time.Duration) time.Duration {
	return masterDownInterval(c, c.Priority, masterAdverInterval)
}

// adverTimer returns the time between two advertisements that we send: the
// interval divided by AdvertsPerInterval.
func (c Config) adverTimer() time.Duration {
	return c.AdvertisementInterval / time.Duration(max(c.AdvertsPerInterval, 1))
}

// shortestMasterDownInterval returns the Master_Down_Interval of a peer with the
// highest priority and otherwise our configuration, while we are Master.
func (c Config) shortestMasterDownInterval() time.Duration {
	return masterDownInterval(c, MaxPriority, c.AdvertisementInterval)
}

// shortestSkewTime returns the Skew_Time of that peer.
func (c Config) shortestSkewTime() time.Duration {
	return skewTime(c.Version, MaxPriority, c.AdvertisementInterval)
}

// boundInterval returns the Master_Adver_Interval to learn from an advertised
// interval. Without the bound, one forged advertisement with the longest interval,
// 40.95 s, would keep every Backup from taking over for two minutes.
func (c Config) boundInterval(interval time.Duration) time.Duration {
	return min(interval, max(10*c.AdvertisementInterval, time.Second))
}

// grace is the delay and jitter that a Backup allows an advertisement. It wakes up
// that long after an advertisement is due to see whether it came; sooner, it would
// often wake up in vain.
func grace(masterAdverInterval time.Duration) time.Duration { return masterAdverInterval / 4 }

// backupStall is the lateness beyond which a Backup counts as stalled. A Backup
// that is late by less has missed at most two advertisements for certain:
//
//	wake-up of the Backup          due + grace + late
//	third advertisement, if early  due + 2*interval - grace
//
// where due is the time of the first advertisement that it may have missed. The
// wake-up comes first as long as late < 2*interval - 2*grace.
func backupStall(masterAdverInterval time.Duration) time.Duration {
	return 2*masterAdverInterval - 2*grace(masterAdverInterval)
}

// masterStall is the lateness beyond which a Master counts as stalled: then its
// peers have heard nothing for three intervals.
//
//	last advertisement  due - adverTimer
//	wake-up             due + late
//
// The silence between the two exceeds 3*interval if late > 3*interval - adverTimer.
func (c Config) masterStall() time.Duration {
	return 3*c.AdvertisementInterval - c.adverTimer()
}

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
