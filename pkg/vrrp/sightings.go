package vrrp

import (
	"net/netip"
	"time"
)

// Sighting is a sender of advertisements as it was last heard.
type Sighting struct {
	Family    Family
	VRID      uint8
	Version   Version
	Source    netip.Addr
	Priority  uint8
	Interval  time.Duration
	Addresses []netip.Addr
	// First and Last are when it was heard first and last, Count how often.
	First, Last Time
	Count       uint64
}

// Sightings remember who is heard on an interface, for which virtual routers,
// whether or not they are configured here.
type Sightings struct{}

// Note takes in a packet, whoever it is for.
func (s *Sightings) Note(_ Time, _ Header, _ []byte) {}

// Conflict returns a stranger that uses the VRID of c for something else, and
// why it is one.
func (s *Sightings) Conflict(_ Time, _ Config) (with Sighting, detail string, found bool) {
	return Sighting{}, "", false
}

// Heard returns everybody who was heard lately, sorted by family, VRID and
// source.
func (s *Sightings) Heard(_ Time) []Sighting { return nil }
