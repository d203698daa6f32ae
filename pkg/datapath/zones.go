package datapath

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/internal/wire"
)

// zones gives every zoneKey a conntrack zone for as long as there is the key. A
// zone that becomes free is the last to be given away again, and not before
// all connections in it are gone: they would be taken for the next one's.
type zones struct {
	// busy returns the zones that hold connections.
	busy     func() (map[uint16]bool, error)
	assigned map[zoneKey]uint16
	// next is where the search for a free one begins; 0 at the start.
	next uint16
	// idle are zones that held no connections when they were listed, and were
	// unused since: they need no other look.
	idle map[uint16]bool
}

// assign returns the zones of the keys, of which some may be there twice. One
// that has none yet keeps the one it has in the kernel's table, so a restarted
// program goes on with the zones of the one before. With an error, which names
// the first that got none, the result is usable all the same.
func (z *zones) assign(keys []zoneKey, kernel elements) (map[zoneKey]uint16, error) {
	result := make(map[zoneKey]uint16, len(keys))
	// taken are the zones that no new key may have: besides those in use, the
	// ones that become free just now.
	taken := make([]bool, math.MaxUint16+1)
	for _, key := range keys {
		if id, ok := z.assigned[key]; ok {
			result[key] = id
			taken[id] = true
		}
	}
	adopted := readZones(kernel)
	for _, key := range keys {
		if _, ok := result[key]; ok {
			continue
		}
		if id, ok := adopted[key]; ok && !taken[id] {
			result[key] = id
			taken[id] = true
		}
	}
	for _, id := range z.assigned {
		taken[id] = true
	}
	for _, id := range adopted {
		taken[id] = true
	}
	err := z.allocate(keys, result, taken)
	z.assigned = result
	return result, err
}

// reassign is assign for the keys of some VIPs: the old ones, which are all
// assigned, and the new ones. All others keep their zones.
func (z *zones) reassign(old, new []zoneKey) error {
	// A zone that becomes free just now is given to no key yet.
	taken := make([]bool, math.MaxUint16+1)
	for _, id := range z.assigned {
		taken[id] = true
	}
	err := z.allocate(new, z.assigned, taken)
	left := make(map[zoneKey]bool, len(new))
	for _, key := range new {
		left[key] = true
	}
	for _, key := range old {
		if !left[key] {
			delete(z.assigned, key)
		}
	}
	return err
}

// allocate adds a zone to result for each key that has none. The error names the
// first key for which none is left.
func (z *zones) allocate(keys []zoneKey, result map[zoneKey]uint16, taken []bool) error {
	missing := missingKeys(keys, result)
	if len(missing) == 0 {
		return nil
	}
	lookErr := z.findIdle(len(missing), taken)
	if len(z.idle) < len(missing) {
		// The first zone of a VIP is that of most ports: it goes before those
		// of single ports, of whatever VIP.
		slices.SortStableFunc(missing, func(a, b zoneKey) int { return cmp.Compare(a.rank(), b.rank()) })
	}
	var without []zoneKey
	for _, key := range missing {
		if id, ok := z.takeIdle(); ok {
			result[key] = id
		} else {
			without = append(without, key)
		}
	}
	if lookErr != nil {
		clear(z.idle) // They may hold connections.
	}
	return errors.Join(lookErr, exhausted(without))
}

// missingKeys returns the keys that have no zone, each once.
func missingKeys(keys []zoneKey, zones map[zoneKey]uint16) []zoneKey {
	var missing []zoneKey
	seen := make(map[zoneKey]bool)
	for _, key := range keys {
		if _, ok := zones[key]; !ok && !seen[key] {
			missing = append(missing, key)
			seen[key] = true
		}
	}
	return missing
}

// findIdle looks for idle zones unless n are known. With an error, zones that may
// hold connections are taken for idle: better one of these than a VIP without.
func (z *zones) findIdle(n int, taken []bool) error {
	maps.DeleteFunc(z.idle, func(id uint16, _ bool) bool { return taken[id] })
	if z.next == 0 {
		z.next = wire.ZoneMin
		for id := uint16(wire.ZoneMin); id <= wire.ZoneMax; id++ {
			if taken[id] {
				z.next = id + 1
			}
		}
	}
	if len(z.idle) >= n {
		return nil
	}
	busy, err := z.busy()
	if err != nil {
		err = fmt.Errorf("look for connections in free conntrack zones: %w", err)
	}
	z.idle = make(map[uint16]bool)
	for id := uint16(wire.ZoneMin); id <= wire.ZoneMax; id++ {
		if !taken[id] && !busy[id] {
			z.idle[id] = true
		}
	}
	return err
}

// takeIdle returns the idle zone that comes next, if there is any.
func (z *zones) takeIdle() (uint16, bool) {
	for len(z.idle) > 0 {
		if z.next < wire.ZoneMin || z.next > wire.ZoneMax {
			z.next = wire.ZoneMin
		}
		id := z.next
		z.next++
		if z.idle[id] {
			delete(z.idle, id)
			return id, true
		}
	}
	return 0, false
}

// exhausted returns the error for keys that got no zone.
func exhausted(keys []zoneKey) error {
	if len(keys) == 0 {
		return nil
	}
	more := ""
	if len(keys) > 1 {
		more = fmt.Sprintf(" and %d more", len(keys)-1)
	}
	return fmt.Errorf("%s%s: no conntrack zone is free: of %d to %d, each VIP takes one and one more for each port that leads to another port", keys[0], more, wire.ZoneMin, wire.ZoneMax)
}

// readZones returns the zones that a table gives. The first zone of a VIP is in a
// map of its own, and may be that of limited ports too.
func readZones(have elements) map[zoneKey]uint16 {
	zones := make(map[zoneKey]uint16)
	known := make(map[uint16]bool)
	for _, f := range families {
		for vip, zone := range have[f.named(mapZone)] {
			if vip, ok := netip.AddrFromSlice([]byte(vip)); ok {
				if id := parseZone(zone); id != 0 {
					zones[zoneKey{vip: vip}] = id
					known[id] = true
				}
			}
		}
	}
	for _, f := range families {
		n := int(f.daddr.Length)
		for key, zone := range have[f.named(mapMappedZone)] {
			id := parseZone(zone)
			vip, ok := netip.AddrFromSlice([]byte(key[:min(n, len(key))]))
			if id == 0 || !ok || known[id] || len(key) != n+8 {
				continue
			}
			_, masqueraded := have[setMasquerade][zone]
			zoneKey := zoneKey{vip: vip, keep: !masqueraded}
			// The port is behind the protocol.
			if port := key[n+4 : n+6]; have[f.named(mapMappedPort)][key] != port {
				zoneKey.port = binary.BigEndian.Uint16([]byte(port))
			}
			zones[zoneKey] = id
		}
	}
	return zones
}

// parseZone returns the zone of the bytes in the kernel, 0 if it is none of ours.
func parseZone(value string) uint16 {
	if len(value) != 2 {
		return 0
	}
	id := binary.NativeEndian.Uint16([]byte(value))
	if id < wire.ZoneMin || id > wire.ZoneMax {
		return 0
	}
	return id
}
