package engine

import "kube-vrrp-vip/pkg/desired"

// Config has the parts of an Engine.
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
	// Elevate raises the priority of the loop's thread as far as permitted. It
	// returns the policy obtained and why a better one was refused.
	Elevate func() (string, error)
	// OnTransition is called for every change of state, in order, by a goroutine
	// that it may block.
	OnTransition func(desired.Transition)
	// OnAlarm is called for every beginning and end of an alarm, in order and
	// with the transitions, by the same goroutine.
	OnAlarm func(desired.AlarmChange)
	// Release makes a Master that is stopped remove its addresses and advertise
	// priority 0. Without it the addresses are left to their lease.
	Release bool
}
