package datapath

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/conntrack"
	"kube-vrrp-vip/pkg/internal/nfnetlink"
	"kube-vrrp-vip/pkg/internal/wire"
)

// flow is what the connections of a VIP's port have in common after the
// rewrite. In a zone every VIP's port has a target of its own.
type flow struct {
	zone     uint16
	protocol desired.Protocol
	target   netip.AddrPort
}

// flows returns where the elements of the datapath lead.
func (c elements) flows() map[flow]bool {
	flows := make(map[flow]bool)
	for _, f := range families {
		length := int(f.daddr.Length)
		add := func(key, target, port, zone string) {
			address, ok := netip.AddrFromSlice([]byte(target))
			id := parseZone(zone)
			if !ok || id == 0 || len(port) != 2 || len(key) < length+portOffset+2 {
				return // Another program's element.
			}
			number := binary.BigEndian.Uint16([]byte(port))
			flows[flow{id, desired.Protocol(key[length]), netip.AddrPortFrom(address, number)}] = true
		}
		for key, target := range c[f.named(mapTarget)] {
			if len(key) >= length+portOffset+2 {
				add(key, target, key[length+portOffset:][:2], c[f.named(mapZone)][key[:length]])
			}
		}
		for key, target := range c[f.named(mapMappedTarget)] {
			add(key, target, c[f.named(mapMappedPort)][key], c[f.named(mapMappedZone)][key])
		}
	}
	return flows
}

// portOffset is where the port is in a portKey, behind the address.
const portOffset = 4

// flowOf returns the flow that an entry belongs to, if it is in a zone of ours.
func flowOf(e conntrack.Entry) (flow, bool) {
	return flow{e.Zone, desired.Protocol(e.Protocol), e.Destination}, e.Zone >= wire.ZoneMin && e.Zone <= wire.ZoneMax
}

// busyZones returns the original-direction zones of ours that hold connections.
func busyZones() (map[uint16]bool, error) {
	busy := make(map[uint16]bool)
	if err := conntrack.List(func(e conntrack.Entry) {
		if f, ok := flowOf(e); ok {
			busy[f.zone] = true
		}
	}); err != nil {
		return nil, err
	}
	return busy, nil
}

// deleteConnections deletes the conntrack entries of flows that lead nowhere or
// elsewhere now.
func deleteConnections(of map[flow]bool) error {
	if len(of) == 0 {
		return nil
	}
	socket, err := nfnetlink.Dial()
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	var failed int
	var first error
	err = conntrack.List(func(e conntrack.Entry) {
		f, ours := flowOf(e)
		if !ours || !of[f] {
			return
		}
		if err := conntrack.Delete(socket, e); err != nil {
			failed++
			if first == nil {
				first = fmt.Errorf("of %s in conntrack zone %d: %w", f.target, f.zone, err)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	if first != nil {
		return fmt.Errorf("delete connections whose target has changed: %d not deleted, the first %w", failed, first)
	}
	return nil
}
