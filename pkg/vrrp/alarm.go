package vrrp

import "net/netip"

// AlarmReason says what an operator must look at. The words are part of what
// operators see in logs, Events and metrics.
type AlarmReason string

// The reasons.
const (
	// AlarmIncompatiblePeer: somebody sends advertisements for this virtual
	// router that must be discarded; Detail is the Discard. Both sides will be
	// Master.
	AlarmIncompatiblePeer AlarmReason = "incompatiblePeer"
	// AlarmSplitBrain: another Master goes on beside us.
	AlarmSplitBrain AlarmReason = "splitBrain"
	// AlarmPeerDeaf: it goes on although we answered it again and again, so
	// it does not hear us.
	AlarmPeerDeaf AlarmReason = "peerDeaf"
	// AlarmAddressList: a Master advertises addresses that are not ours;
	// keepalived discards advertisements with another list than its own.
	AlarmAddressList AlarmReason = "addressList"
	// AlarmAddressOwner: a stranger claims priority 255.
	AlarmAddressOwner AlarmReason = "addressOwner"
	// AlarmOwnSource: somebody else sends from our own address.
	AlarmOwnSource AlarmReason = "ownSource"
	// AlarmVRIDConflict: other routers use this VRID for other addresses.
	AlarmVRIDConflict AlarmReason = "vridConflict"
)

// Alarm is something about a virtual router that an operator must look at.
type Alarm struct {
	Reason AlarmReason
	// Source is who sent what caused it.
	Source netip.Addr
	// Detail says more in a few words.
	Detail string
	// Since is when it began.
	Since Time
}

// Alarms returns the alarms that are on, in a fixed order.
func (r *Router) Alarms(_ Time) []Alarm { return nil }
