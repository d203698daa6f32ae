package vrrp

import (
	"net/netip"
	"time"
)

// Status is what there is to know about a Router.
type Status struct {
	State State
	// Reason is the last transition's; empty before the first.
	Reason Reason
	// Since is when that transition happened.
	Since Time
	// Master is the address of the Master last heard, our own while we are
	// it, and invalid if none was heard since Startup.
	Master netip.Addr
	// MasterPriority is what that Master advertised.
	MasterPriority uint8
	// MasterAdverInterval is Master_Adver_Interval: learned from the Master
	// with version 3, our own until one was heard.
	MasterAdverInterval time.Duration
	// Heard tells that another Master was heard since Startup, and LastHeard
	// when that was last. Becoming Master does not change them.
	Heard     bool
	LastHeard Time
	Counters  Counters
}
