// Package wire has the numbers that packages must agree on which do not import
// each other.
package wire

// EtherTypePulse is the type of the frames on lo that are pulses of a Master:
// IEEE 802's first one for local experiments.
const EtherTypePulse = 0x88b5

// The conntrack zones that are ours, of the original direction. Another program on
// the node that uses zones, as Open vSwitch does, must use others.
const (
	ZoneMin = 20000
	ZoneMax = 29999
	Zones   = ZoneMax - ZoneMin + 1
)
