package vrrp

import (
	"net/netip"
	"time"
)

// Family is the address family of a virtual router. IPv4 and IPv6 virtual
// routers with the same VRID have nothing to do with each other.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of a.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Version is the protocol version.
type Version uint8

// The versions.
const (
	V2 Version = 2
	V3 Version = 3
)

// Priorities with a meaning of their own (RFC 9568 section 5.2.4).
const (
	// PriorityResign in an advertisement says that the Master is leaving.
	PriorityResign uint8 = 0
	// PriorityOwner is the address owner's; this daemon never uses it.
	PriorityOwner uint8 = 255
)

// Config is what a virtual router is configured with. All of it may change
// while the router runs, but Version, Family and VRID.
type Config struct {
	Version Version
	Family  Family
	// VRID is the virtual router's identifier, 1 to 255.
	VRID uint8
	// Priority is 1 to 254.
	Priority uint8
	// AdvertisementInterval is 10 ms to 40.95 s in steps of 10 ms with V3,
	// 1 to 255 whole seconds with V2.
	AdvertisementInterval time.Duration
	// DownAdverts is how many advertisements in a row must be missed before
	// the Master counts as down: the 3 in the RFC's Master_Down_Interval.
	// 0 means 3.
	DownAdverts int
	// Preempt is Preempt_Mode: a Backup takes over from a Master of lower
	// priority.
	Preempt bool
	// TakeoverDelay is waited on top of Master_Down_Interval and Skew_Time
	// before promotion; a local matter, never on the wire.
	TakeoverDelay time.Duration
	// Addresses are IPvX_Addresses: what is advertised, in this order.
	Addresses []netip.Addr
	// Source is the primary address of the interface: the one our
	// advertisements come from, and the one that decides among equal
	// priorities.
	Source netip.Addr
}
