package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The conntrack zones that are ours. Another program on the node that uses
// zones, as Open vSwitch does, must use others.
const (
	zoneMin = 20000
	zoneMax = 29999
)

// zones gives every VIP a conntrack zone for as long as there is the VIP. A
// zone that becomes free is the last to be given away again, and not before
// all connections in it are gone: they would be taken for the next VIP's.
type zones struct {
	// busy returns the zones that hold connections.
	busy     func() (map[uint16]bool, error)
	assigned map[netip.Addr]uint16
	// next is where the search for a free one begins; 0 at the start.
	next uint16
}

// assign returns the zones of the VIPs. A VIP that has none yet keeps the one
// it has in the kernel's map of them, so a restarted program goes on with the
// zones of the one before. With an error the result is usable all the same.
func (z *zones) assign(vips []netip.Addr, kernel map[string]string) (map[netip.Addr]uint16, error) {
	result := make(map[netip.Addr]uint16, len(vips))
	// taken are the zones that nobody new may have: besides those in use, the
	// ones that become free just now.
	taken := make([]bool, math.MaxUint16+1)
	for _, vip := range vips {
		if id, ok := z.assigned[vip]; ok {
			result[vip] = id
			taken[id] = true
		}
	}
	for _, vip := range vips {
		if _, ok := result[vip]; ok {
			continue
		}
		if id := parseZone(kernel[string(vip.AsSlice())]); id != 0 && !taken[id] {
			result[vip] = id
			taken[id] = true
		}
	}
	for _, id := range z.assigned {
		taken[id] = true
	}
	for _, id := range kernel {
		taken[parseZone(id)] = true
	}
	err := z.allocate(vips, result, taken)
	z.assigned = result
	return result, err
}

// allocate adds a zone for each VIP that has none.
func (z *zones) allocate(vips []netip.Addr, result map[netip.Addr]uint16, taken []bool) error {
	if len(result) == len(vips) {
		return nil
	}
	busy, err := z.busy()
	if err != nil {
		// Better a zone that may hold old connections than a VIP without.
		err = fmt.Errorf("look for connections in free conntrack zones: %w", err)
	}
	if z.next == 0 {
		z.next = zoneMin
		for id := uint16(zoneMin); id <= zoneMax; id++ {
			if taken[id] {
				z.next = id + 1
			}
		}
	}
	left := zoneMax - zoneMin + 1
	for _, vip := range vips {
		if _, ok := result[vip]; ok {
			continue
		}
		for ; left > 0; left-- {
			if z.next < zoneMin || z.next > zoneMax {
				z.next = zoneMin
			}
			id := z.next
			z.next++
			if !taken[id] && !busy[id] {
				result[vip] = id
				taken[id] = true
				break
			}
		}
		if _, ok := result[vip]; !ok {
			return errors.Join(err, fmt.Errorf("forward %s: no conntrack zone is free", vip))
		}
	}
	return err
}

// parseZone returns the zone of a value of mapZone, 0 if it is none of ours.
func parseZone(value string) uint16 {
	if len(value) != 2 {
		return 0
	}
	id := binary.NativeEndian.Uint16([]byte(value))
	if id < zoneMin || id > zoneMax {
		return 0
	}
	return id
}

// Of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGet       = 1 // IPCTNL_MSG_CT_GET
	ctTupleOrig = 1 // CTA_TUPLE_ORIG
	ctTupleZone = 3 // CTA_TUPLE_ZONE
)

// busyZones returns the original-direction zones of ours that hold
// connections. The kernel can filter its table by one zone only, and not
// before Linux 6.8, so the table is listed; it is not kept in memory.
func busyZones() (map[uint16]bool, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	_, err = c.socket.Send(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | ctGet),
			Flags: netlink.Request | netlink.Dump,
		},
		Data: nfgenmsg(unix.AF_INET, 0),
	})
	if err != nil {
		return nil, err
	}
	busy := make(map[uint16]bool)
	for m, err := range c.socket.ReceiveIter() {
		if err != nil {
			return nil, err
		}
		if err := decode(m, func(ad *netlink.AttributeDecoder) {
			if ad.Type() != ctTupleOrig {
				return
			}
			each(ad, func(ad *netlink.AttributeDecoder) {
				if ad.Type() == ctTupleZone {
					busy[ad.Uint16()] = true
				}
			})
		}); err != nil {
			return nil, err
		}
	}
	return busy, nil
}
