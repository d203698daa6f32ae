package vrrp

import (
	"testing"
	"time"
)

// TestTimers: the intervals of RFC 9568 section 6.1, to the nanosecond.
func TestTimers(t *testing.T) {
	t.Parallel()
	const us = time.Microsecond
	tests := []struct {
		version     Version
		priority    uint8
		downAdverts int
		interval    time.Duration // Master_Adver_Interval
		skew, down  time.Duration
	}{
		{V3, 254, 0, 10 * time.Millisecond, 78125, 30*time.Millisecond + 78125},
		{V3, 253, 0, 10 * time.Millisecond, 117187, 30*time.Millisecond + 117187},
		{V3, 200, 0, 10 * time.Millisecond, 2187500, 32187500},
		{V3, 150, 3, 10 * time.Millisecond, 4140625, 34140625},
		{V3, 100, 5, 10 * time.Millisecond, 6093750, 56093750},
		{V3, 1, 1, 10 * time.Millisecond, 9960937, 19960937},
		{V3, 100, 0, 100 * time.Millisecond, 60937500, 360937500},
		{V3, 1, 0, 40950 * time.Millisecond, 40790039062, 163640039062},
		{V2, 254, 0, time.Second, 7812500, 3007812500},
		{V2, 100, 0, time.Second, 609375 * us, 3609375 * us},
		{V2, 100, 0, 255 * time.Second, 609375 * us, 765609375 * us},
		{V2, 1, 0, time.Second, 996093750, 3996093750},
	}
	for _, tt := range tests {
		c := Config{Settings: Settings{Version: tt.version, Priority: tt.priority, DownAdverts: tt.downAdverts}}
		if got := c.SkewTime(tt.interval); got != tt.skew {
			t.Errorf("version %d priority %d at %v: Skew_Time %v, want %v", tt.version, tt.priority, tt.interval, got, tt.skew)
		}
		if got := c.MasterDownInterval(tt.interval); got != tt.down {
			t.Errorf("version %d priority %d at %v: Master_Down_Interval %v, want %v", tt.version, tt.priority, tt.interval, got, tt.down)
		}
	}
}

// TestSkewTimeTellsPrioritiesApart: not so with the RFC's centiseconds.
func TestSkewTimeTellsPrioritiesApart(t *testing.T) {
	t.Parallel()
	for _, v := range []Version{V2, V3} {
		last := time.Duration(1<<63 - 1)
		for p := 1; p <= 254; p++ {
			skew := Config{Settings: Settings{Version: v, Priority: uint8(p)}}.SkewTime(10 * time.Millisecond)
			if skew <= 0 || skew >= last {
				t.Errorf("version %d priority %d: Skew_Time %v, that of %d %v", v, p, skew, p-1, last)
			}
			last = skew
		}
	}
}
