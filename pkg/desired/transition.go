package desired

import (
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// Transition is a state change of a virtual router. A transition from Initialize to
// Initialize reports that the router cannot run, or that the fault has changed.
type Transition struct {
	RouterKey
	From vrrp.State
	To   vrrp.State
	// Cause is the reason for the transition or, into Initialize, the fault.
	Cause
	// Time is the wall clock time, for display only.
	Time time.Time
	// Silence is, in a transition to Master, the time since the last advertisement
	// of a Master; zero if none was ever received.
	Silence time.Duration
	// VIPs are the addresses of the router at that time.
	VIPs []netip.Addr
}

// AlarmChange is the beginning or the end of an Alarm.
type AlarmChange struct {
	RouterKey
	Alarm
	// On reports whether the alarm began. Otherwise it has ended.
	On bool
	// VIPs are the addresses of the router.
	VIPs []netip.Addr
}
