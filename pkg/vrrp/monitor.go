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

// ObservedRouter is the last observation of a sender of advertisements.
type ObservedRouter struct {
	Family    Family
	VRID      uint8
	Version   Version
	Source    netip.Addr
	Priority  uint8
	Interval  time.Duration
	Addresses []netip.Addr
	// First and Last are the times of the first and the last advertisement, Count
	// is their number.
	First, Last Time
	Count       uint64
}

const (
	// maxObservedPerVRID is how many senders are remembered for each VRID; more
	// are ignored. So routers that use every VRID, or a flood for one VRID, leave
	// room for the others.
	maxObservedPerVRID = 16
	// observationLifetime is the shortest time for which a sender is remembered.
	observationLifetime = time.Minute
	// maxBelievedInterval bounds the interval taken from an advertisement.
	maxBelievedInterval = 10 * time.Second
	// removePeriod is the time between two removals of expired senders.
	removePeriod = time.Second
)

// Monitor remembers the routers that advertise on an interface, for every virtual
// router, whether or not it is configured here. The zero value is empty and ready
// to use.
type Monitor struct {
	// seen has the observations by VRID and source.
	seen map[uint8]map[netip.Addr]*observation
	// nextRemoval is when expired senders are removed next.
	nextRemoval Time
}

// observation is the internal form of an ObservedRouter.
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
	// unchangedSince is the time since which, and unchangedCount the number of
	// advertisements for which, the sender has described the virtual router in
	// the same way. A conflict requires several, so that no single packet makes
	// one.
	unchangedSince Time
	unchangedCount int
}

// Observe records any advertisement, parsing it more leniently than Parse: it also
// accepts an advertisement that a Router discards because of its checksum,
// authentication or interval. It takes the same time for every packet, and
// allocates only for a new sender or for more addresses than before.
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

// parseLeniently parses a payload. The addresses of heard are part of payload.
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

// update records an advertisement of the sender.
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

// Conflict returns an unknown router that uses the VRID of c for another virtual
// router, and the difference: another version, another password, or none of c's
// addresses. With unicast, a router with none of the addresses is no conflict. A
// conflict begins with three equal advertisements over two of the sender's
// intervals, and ends three Master_Down_Intervals after the last. Of several such
// routers Conflict returns the one with the lowest address.
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

// Routers returns the routers observed lately, sorted by family, VRID and source.
func (m *Monitor) Routers(now Time) []ObservedRouter {
	var list []ObservedRouter
	for vrid := range m.seen {
		list = m.appendRouters(list, now, vrid)
	}
	sortRouters(list)
	return list
}

// RoutersWithVRID is like Routers, for one VRID.
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

// removeExpired removes the senders that have expired.
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

// expired reports whether the sender has been silent for too long to be remembered.
func (o *observation) expired(now Time) bool {
	return now.Sub(o.last) > max(3*o.masterDownInterval(), observationLifetime)
}

// believedInterval returns the sender's interval, within bounds.
func (o *observation) believedInterval() time.Duration {
	return min(max(o.interval, centisecond), maxBelievedInterval)
}

func (o *observation) masterDownInterval() time.Duration {
	return masterDownInterval(Config{Settings: Settings{Version: o.version}}, o.priority, o.believedInterval())
}

// mismatch describes in a few words why the sender is not in the virtual router of
// c. It returns "" if it is.
func (o *observation) mismatch(c Config) string {
	list := o.addressList()
	shared := slices.ContainsFunc(list, func(a netip.Addr) bool { return slices.Contains(c.Addresses, a) })
	switch {
	case c.Unicast && !shared:
		return "" // Only peers hear us, and we hear only peers.
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

// export returns an ObservedRouter that shares no memory with o.
func (o *observation) export(vrid uint8, source netip.Addr) ObservedRouter {
	return ObservedRouter{
		Family: o.family, VRID: vrid, Version: o.version, Source: source, Priority: o.priority,
		Interval: o.interval, Addresses: o.addressList(), First: o.first, Last: o.last, Count: o.count,
	}
}

// addressList returns the addresses, decoded.
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
