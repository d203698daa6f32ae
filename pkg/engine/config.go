package engine

import "kube-vrrp-vip/pkg/desired"

// Config is what an Engine is made of.
type Config struct {
	Poller           poller
	Conns            conns
	Addresses        addresses
	Announcer        announcer
	Neighbors        neighbors
	ConflictDetector conflictDetector
	// Heartbeats may be nil, if Neighbors does not need heartbeats.
	Heartbeats heartbeatSender
	// VirtualLinks are the links of VIPs with a virtual MAC address.
	VirtualLinks virtualLinks
	Senders      senders
	// Elevate raises the loop's thread as far as permitted; it says what was
	// reached and, if that is not everything, why not.
	Elevate func() (string, error)
	// OnTransition is called for every change of state, in order, by a
	// goroutine that may be blocked.
	OnTransition func(desired.Transition)
	// OnAlarm is called for every beginning and end of an alarm, in order and
	// with the transitions, by the same goroutine.
	OnAlarm func(desired.AlarmChange)
	// Release makes a Master that is stopped give its addresses away at once:
	// it lets go of them and advertises priority 0. Without it the addresses
	// are left to their lease.
	Release bool
}
