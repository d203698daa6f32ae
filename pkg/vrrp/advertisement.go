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
}
