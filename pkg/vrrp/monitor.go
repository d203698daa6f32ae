package vrrp

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
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

const (
	// maxSightings is how many senders are remembered for each VRID. When there
	// are more, those that come last are not. A site where routers use every
	// VRID, or a flood for one, so leaves room for all others.
	maxSightings = 16
	// sightingMemory is for how long a sender is remembered at least.
	sightingMemory = time.Minute
	// longestSighting is the longest interval that a sender is believed.
	longestSighting = 10 * time.Second
	// sweepPeriod is how often those are forgotten that are gone.
	sweepPeriod = time.Second
)

// Sightings remember who is heard on an interface, for which virtual routers,
// whether or not they are configured here. The zero value has heard nobody.
type Sightings struct {
	// seen is by VRID and source.
	seen  map[uint8]map[netip.Addr]*sighting
	sweep Time // when to look next for who is gone
}

// sighting is a Sighting as it is kept.
type sighting struct {
	family         Family
	version        Version
	priority       uint8
	interval       time.Duration
	authentication AuthenticationType
	password       Password
	addresses      []byte // as on the wire

	first, last Time
	count       uint64
	// steady is since when, and steadyCount for how many advertisements, it
	// has been telling the same about the virtual router, so that no single
	// packet makes a conflict.
	steady      Time
	steadyCount int
}

// Note takes in a packet, whoever it is for, and reads it with more patience
// than Parse: what a Router discards counts as well, whatever its checksum,
// authentication and interval. It takes the same time for every packet, and
// allocates only for a sender that is new or that sends more addresses than
// before.
func (s *Sightings) Note(now Time, h Header, payload []byte) {
	heard, vrid, ok := readLeniently(h, payload)
	if !ok {
		return
	}
	if s.seen == nil {
		s.seen = make(map[uint8]map[netip.Addr]*sighting)
		s.sweep = now
	}
	if now >= s.sweep {
		s.forget(now)
		s.sweep = now.Add(sweepPeriod)
	}
	senders := s.seen[vrid]
	if senders == nil {
		senders = make(map[netip.Addr]*sighting)
		s.seen[vrid] = senders
	}
	known := senders[h.Source]
	if known == nil {
		if len(senders) >= maxSightings {
			return
		}
		known = &sighting{family: heard.family, first: now}
		senders[h.Source] = known
	}
	known.take(now, heard)
}

// readLeniently reads a packet. The addresses are part of payload.
func readLeniently(h Header, payload []byte) (heard sighting, vrid uint8, ok bool) {
	family := FamilyOf(h.Source)
	if !isHost(h.Source, family) || h.TTL != TTL || len(payload) < fixedLength {
		return sighting{}, 0, false
	}
	version, end := Version(payload[0]>>4), fixedLength+int(payload[3])*addressLength(family)
	if version != V2 && version != V3 || payload[0]&0x0f != typeAdvertisement || payload[3] == 0 || len(payload) < end {
		return sighting{}, 0, false
	}
	heard = sighting{family: family, version: version, priority: payload[2], addresses: payload[fixedLength:end]}
	if version == V2 {
		heard.authentication = AuthenticationType(payload[4])
		heard.interval = time.Duration(payload[5]) * time.Second
		if heard.authentication != AuthenticationNone {
			copy(heard.password[:], payload[end:])
		}
	} else {
		heard.interval = time.Duration(binary.BigEndian.Uint16(payload[4:])&intervalMask) * centisecond
	}
	return heard, payload[1], true
}

// take takes in what was heard of a sender.
func (s *sighting) take(now Time, heard sighting) {
	if heard.version != s.version || heard.authentication != s.authentication || heard.password != s.password ||
		!bytes.Equal(heard.addresses, s.addresses) {
		s.steady, s.steadyCount = now, 0
	}
	s.version, s.priority, s.interval = heard.version, heard.priority, heard.interval
	s.authentication, s.password = heard.authentication, heard.password
	s.addresses = append(s.addresses[:0], heard.addresses...)
	s.last = now
	s.count++
	s.steadyCount++
}

// Conflict returns a stranger that uses the VRID of c for something else, and
// why it is one: another version, another password, or none of c's addresses.
// With unicast, one that has none of them is no concern of ours. It takes three advertisements of the same over two of its intervals, and ends
// three Master_Down_Intervals after the last. Of several strangers it is the
// one of the lowest address.
func (s *Sightings) Conflict(now Time, c Config) (with Sighting, detail string, found bool) {
	for source, heard := range s.seen[c.VRID] {
		if heard.family != c.Family || source == c.Source || slices.Contains(c.Peers, source) {
			continue
		}
		if heard.steadyCount < strayPackets || heard.last.Sub(heard.steady) < 2*heard.believed() || now.Sub(heard.last) > 3*heard.masterDownInterval() {
			continue
		}
		if found && with.Source.Less(source) {
			continue
		}
		if why := heard.differs(c); why != "" {
			with, detail, found = heard.export(c.VRID, source), why, true
		}
	}
	return with, detail, found
}

// Heard returns everybody who was heard lately, sorted by family, VRID and
// source.
func (s *Sightings) Heard(now Time) []Sighting {
	var list []Sighting
	for vrid := range s.seen {
		list = s.appendHeard(list, now, vrid)
	}
	sortSightings(list)
	return list
}

// HeardFor is Heard for one VRID.
func (s *Sightings) HeardFor(now Time, vrid uint8) []Sighting {
	list := s.appendHeard(nil, now, vrid)
	sortSightings(list)
	return list
}

func sortSightings(list []Sighting) {
	slices.SortFunc(list, func(a, b Sighting) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.VRID, b.VRID), a.Source.Compare(b.Source))
	})
}

func (s *Sightings) appendHeard(list []Sighting, now Time, vrid uint8) []Sighting {
	for source, heard := range s.seen[vrid] {
		if !heard.gone(now) {
			list = append(list, heard.export(vrid, source))
		}
	}
	return list
}

// forget forgets those that are gone.
func (s *Sightings) forget(now Time) {
	for vrid, senders := range s.seen {
		for source, heard := range senders {
			if heard.gone(now) {
				delete(senders, source)
			}
		}
		if len(senders) == 0 {
			delete(s.seen, vrid)
		}
	}
}

// gone tells whether it is so long ago that the sender was heard.
func (s *sighting) gone(now Time) bool {
	return now.Sub(s.last) > max(3*s.masterDownInterval(), sightingMemory)
}

// believed is the sender's interval as far as it is believed.
func (s *sighting) believed() time.Duration {
	return min(max(s.interval, centisecond), longestSighting)
}

func (s *sighting) masterDownInterval() time.Duration {
	return masterDownInterval(Config{Settings: Settings{Version: s.version}}, s.priority, s.believed())
}

// differs says in a few words why the sender is not in the same virtual router
// as c, and nothing if it is.
func (s *sighting) differs(c Config) string {
	list := s.list()
	shared := slices.ContainsFunc(list, func(a netip.Addr) bool { return slices.Contains(c.Addresses, a) })
	switch {
	case c.Unicast && !shared:
		return "" // Only peers hear us, and we hear nobody else.
	case s.version != c.Version:
		return fmt.Sprintf("VRRPv%d", s.version)
	case s.authentication != c.authentication():
		return fmt.Sprintf("authentication type %d", s.authentication)
	case s.password != c.Password:
		return "another password"
	case shared:
		return ""
	default:
		return "addresses " + describe(list[:min(len(list), describedAddresses)], len(list))
	}
}

// export returns what there is to know, and shares nothing with s.
func (s *sighting) export(vrid uint8, source netip.Addr) Sighting {
	return Sighting{
		Family: s.family, VRID: vrid, Version: s.version, Source: source, Priority: s.priority,
		Interval: s.interval, Addresses: s.list(), First: s.first, Last: s.last, Count: s.count,
	}
}

// list returns the addresses.
func (s *sighting) list() []netip.Addr {
	list := make([]netip.Addr, 0, len(s.addresses)/addressLength(s.family))
	for octets := range slices.Chunk(s.addresses, addressLength(s.family)) {
		a, _ := netip.AddrFromSlice(octets)
		list = append(list, a)
	}
	return list
}

func addressLength(f Family) int {
	if f == IPv6 {
		return addressLengthIPv6
	}
	return addressLengthIPv4
}
