package desired

import (
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// Transition is one change of state of one virtual router. From Initialize to
// Initialize it says that a router cannot run, or cannot for another reason
// than before.
type Transition struct {
	RouterKey
	From vrrp.State
	To   vrrp.State
	// Cause has a word of vrrp.Reason's or, into Initialize, the fault.
	Cause
	// Time is the wall clock, for showing only.
	Time time.Time
	// Silence is, on becoming Master, how long no Master was heard; zero if
	// none was ever heard.
	Silence time.Duration
	// VIPs are the router's addresses at that moment.
	VIPs []netip.Addr
}

// AlarmChange is the beginning or the end of an Alarm.
type AlarmChange struct {
	RouterKey
	Alarm
	// On tells that it began; else it has ended.
	On bool
	// VIPs are the router's addresses.
	VIPs []netip.Addr
}
