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

// FamilyOf returns the family of a. An IPv4-mapped address is one of IPv6.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Password is the authentication data of RFC 2338 section 5.3.10: at most 8
// bytes, padded with zeros. It never shows in logs and metrics.
type Password [8]byte

// String hides the password.
func (p Password) String() string {
	if p == (Password{}) {
		return "none"
	}
	return "hidden"
}

// GoString hides the password from %#v.
func (p Password) GoString() string { return p.String() }

// MarshalText hides the password, in JSON too.
func (p Password) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Version is the protocol version.
type Version uint8

// The versions.
const (
	V2 Version = 2
	V3 Version = 3
)

// Priorities with a meaning of their own (RFC 9568 section 5.2.4).
const (
	// PriorityResign in an advertisement means that the Master is leaving.
	PriorityResign uint8 = 0
	// PriorityOwner is the priority of the address owner; this daemon never uses
	// it.
	PriorityOwner uint8 = 255
)

// Config is the configuration of a virtual router. Everything but Version, Family
// and VRID may change while the router runs.
type Config struct {
	Settings
	Family Family
	// VRID is the virtual router's identifier, 1 to 255.
	VRID uint8
	// TakeoverDelay is added to Master_Down_Interval, and to Skew_Time after a
	// resignation, before a Backup becomes Master. It is 0 to MaxTakeoverDelay and
	// never on the wire.
	TakeoverDelay time.Duration
	// TakeoverStep is the part of TakeoverDelay for each peer that is preferred
	// to us. It is subtracted if the Master last heard is such a peer, because
	// that peer has gone.
	TakeoverStep time.Duration
	// Peers are the known source addresses of the other members. With multicast
	// they only distinguish members from unknown routers.
	Peers []netip.Addr
	// Addresses are IPvX_Addresses, advertised in this order.
	Addresses []netip.Addr
	// Source is the primary address of the interface: the source of our
	// advertisements, and the tie-breaker between equal priorities.
	Source netip.Addr
}
