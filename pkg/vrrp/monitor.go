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

// ObservedRouter is a sender of advertisements as it was last heard.
type ObservedRouter struct {
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
	// maxObservedPerVRID is how many senders are remembered for each VRID. When there
	// are more, those that come last are not. A site where routers use every
	// VRID, or a flood for one, so leaves room for all others.
	maxObservedPerVRID = 16
	// observationLifetime is for how long a sender is remembered at least.
	observationLifetime = time.Minute
	// maxBelievedInterval is the longest interval that a sender is believed.
	maxBelievedInterval = 10 * time.Second
	// removePeriod is how often those are forgotten that are gone.
	removePeriod = time.Second
)

// Monitor remember who is heard on an interface, for which virtual routers,
// whether or not they are configured here. The zero value has heard nobody.
type Monitor struct {
	// seen is by VRID and source.
	seen        map[uint8]map[netip.Addr]*observation
	nextRemoval Time // when to look next for who is gone
}

// observation is a ObservedRouter as it is kept.
type observation struct {
	family         Family
	version        Version
	priority       uint8
	interval       time.Duration
	authentication AuthenticationType
	password       Password
	addresses      []byte // as on the wire

	first, last Time
	count       uint64
	// unchangedSince is since when, and unchangedCount for how many advertisements, it
	// has been telling the same about the virtual router, so that no single
	// packet makes a conflict.
	unchangedSince Time
	unchangedCount int
}

// Note takes in a packet, whoever it is for, and reads it with more patience
// than Parse: what a Router discards counts as well, whatever its checksum,
// authentication and interval. It takes the same time for every packet, and
// allocates only for a sender that is new or that sends more addresses than
// before.
func (m *Monitor) Observe(now Time, h Header, payload []byte) {
	heard, vrid, ok := parseLeniently(h, payload)
	if !ok {
		return
	}
	if m.seen == nil {
		m.seen = make(map[uint8]map[netip.Addr]*observation)
		m.nextRemoval = now
	}
	if now >= m.nextRemoval {
		m.removeExpired(now)
		m.nextRemoval = now.Add(removePeriod)
	}
	senders := m.seen[vrid]
	if senders == nil {
		senders = make(map[netip.Addr]*observation)
		m.seen[vrid] = senders
	}
	known := senders[h.Source]
	if known == nil {
		if len(senders) >= maxObservedPerVRID {
			return
		}
		known = &observation{family: heard.family, first: now}
		senders[h.Source] = known
	}
	known.update(now, heard)
}

// parseLeniently reads a packet. The addresses are part of payload.
func parseLeniently(h Header, payload []byte) (heard observation, vrid uint8, ok bool) {
	family := FamilyOf(h.Source)
	if !isHost(h.Source, family) || h.TTL != TTL || len(payload) < fixedLength {
		return observation{}, 0, false
	}
	version, end := Version(payload[0]>>4), fixedLength+int(payload[3])*addressLength(family)
	if version != V2 && version != V3 || payload[0]&0x0f != typeAdvertisement || payload[3] == 0 || len(payload) < end {
		return observation{}, 0, false
	}
	heard = observation{family: family, version: version, priority: payload[2], addresses: payload[fixedLength:end]}
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
func (o *observation) update(now Time, heard observation) {
	if heard.version != o.version || heard.authentication != o.authentication || heard.password != o.password ||
		!bytes.Equal(heard.addresses, o.addresses) {
		o.unchangedSince, o.unchangedCount = now, 0
	}
	o.version, o.priority, o.interval = heard.version, heard.priority, heard.interval
	o.authentication, o.password = heard.authentication, heard.password
	o.addresses = append(o.addresses[:0], heard.addresses...)
	o.last = now
	o.count++
	o.unchangedCount++
}

// Conflict returns a stranger that uses the VRID of c for something else, and
// why it is one: another version, another password, or none of c's addresses.
// With unicast, one that has none of them is no concern of ours. It takes three advertisements of the same over two of its intervals, and ends
// three Master_Down_Intervals after the last. Of several strangers it is the
// one of the lowest address.
func (m *Monitor) Conflict(now Time, c Config) (with ObservedRouter, detail string, found bool) {
	for source, heard := range m.seen[c.VRID] {
		if heard.family != c.Family || source == c.Source || slices.Contains(c.Peers, source) {
			continue
		}
		if heard.unchangedCount < minPackets || heard.last.Sub(heard.unchangedSince) < 2*heard.believedInterval() || now.Sub(heard.last) > 3*heard.masterDownInterval() {
			continue
		}
		if found && with.Source.Less(source) {
			continue
		}
		if why := heard.mismatch(c); why != "" {
			with, detail, found = heard.export(c.VRID, source), why, true
		}
	}
	return with, detail, found
}

// Heard returns everybody who was heard lately, sorted by family, VRID and
// source.
func (m *Monitor) Routers(now Time) []ObservedRouter {
	var list []ObservedRouter
	for vrid := range m.seen {
		list = m.appendRouters(list, now, vrid)
	}
	sortRouters(list)
	return list
}

// RoutersWithVRID is Heard for one VRID.
func (m *Monitor) RoutersWithVRID(now Time, vrid uint8) []ObservedRouter {
	list := m.appendRouters(nil, now, vrid)
	sortRouters(list)
	return list
}

func sortRouters(list []ObservedRouter) {
	slices.SortFunc(list, func(a, b ObservedRouter) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.VRID, b.VRID), a.Source.Compare(b.Source))
	})
}

func (m *Monitor) appendRouters(list []ObservedRouter, now Time, vrid uint8) []ObservedRouter {
	for source, heard := range m.seen[vrid] {
		if !heard.expired(now) {
			list = append(list, heard.export(vrid, source))
		}
	}
	return list
}

// forget forgets those that are gone.
func (m *Monitor) removeExpired(now Time) {
	for vrid, senders := range m.seen {
		for source, heard := range senders {
			if heard.expired(now) {
				delete(senders, source)
			}
		}
		if len(senders) == 0 {
			delete(m.seen, vrid)
		}
	}
}

// gone tells whether it is so long ago that the sender was heard.
func (o *observation) expired(now Time) bool {
	return now.Sub(o.last) > max(3*o.masterDownInterval(), observationLifetime)
}

// believed is the sender's interval as far as it is believed.
func (o *observation) believedInterval() time.Duration {
	return min(max(o.interval, centisecond), maxBelievedInterval)
}

func (o *observation) masterDownInterval() time.Duration {
	return masterDownInterval(Config{Settings: Settings{Version: o.version}}, o.priority, o.believedInterval())
}

// differs says in a few words why the sender is not in the same virtual router
// as c, and nothing if it is.
func (o *observation) mismatch(c Config) string {
	list := o.addressList()
	shared := slices.ContainsFunc(list, func(a netip.Addr) bool { return slices.Contains(c.Addresses, a) })
	switch {
	case c.Unicast && !shared:
		return "" // Only peers hear us, and we hear nobody else.
	case o.version != c.Version:
		return fmt.Sprintf("VRRPv%d", o.version)
	case o.authentication != c.authentication():
		return fmt.Sprintf("authentication type %d", o.authentication)
	case o.password != c.Password:
		return "another password"
	case shared:
		return ""
	default:
		return "addresses " + formatAddresses(list[:min(len(list), describedAddresses)], len(list))
	}
}

// export returns what there is to know, and shares nothing with s.
func (o *observation) export(vrid uint8, source netip.Addr) ObservedRouter {
	return ObservedRouter{
		Family: o.family, VRID: vrid, Version: o.version, Source: source, Priority: o.priority,
		Interval: o.interval, Addresses: o.addressList(), First: o.first, Last: o.last, Count: o.count,
	}
}

// list returns the addresses.
func (o *observation) addressList() []netip.Addr {
	list := make([]netip.Addr, 0, len(o.addresses)/addressLength(o.family))
	for octets := range slices.Chunk(o.addresses, addressLength(o.family)) {
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
