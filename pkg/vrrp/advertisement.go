package vrrp

import (
	"net/netip"
	"time"
)

// Advertisement is the one VRRP message.
type Advertisement struct {
	Version Version
	VRID    uint8
	// Priority 0 means the Master is leaving, 255 the address owner.
	Priority uint8
	// Interval is the Master's advertisement interval: Max Advertise
	// Interval in V3 (centiseconds on the wire), Adver Int in V2 (seconds).
	Interval time.Duration
	// Addresses are the virtual addresses, in the order on the wire.
	Addresses []netip.Addr
	// Checksum is the form that Append writes, as in Config. Parse sets it to
	// ChecksumNone and returns the form separately.
	Checksum ChecksumForm
	// Authentication and Password are for V2 only. Without authentication,
	// Password is zero.
	Authentication AuthenticationType
	Password       Password
}

// AuthenticationType is the field Authentication Type of V2 (RFC 2338 section 5.3.6).
type AuthenticationType uint8

// The types. Others, like RFC 2338's Authentication Header, are discarded.
const (
	AuthenticationNone               AuthenticationType = 0
	AuthenticationSimpleTextPassword AuthenticationType = 1
)

// authentication returns the authentication type of c.
func (c Config) authentication() AuthenticationType {
	if c.Password == (Password{}) {
		return AuthenticationNone
	}
	return AuthenticationSimpleTextPassword
}
