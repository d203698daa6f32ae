package vrrp

import "time"

// SkewTime is Skew_Time for a Master that advertises every
// masterAdverInterval.
func (c Config) SkewTime(masterAdverInterval time.Duration) time.Duration {
	return 0
}

// MasterDownInterval is Master_Down_Interval for a Master that advertises
// every masterAdverInterval.
func (c Config) MasterDownInterval(masterAdverInterval time.Duration) time.Duration {
	return 0
}
