package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
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

// Of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGet        = 1  // IPCTNL_MSG_CT_GET
	ctDelete     = 2  // IPCTNL_MSG_CT_DELETE
	ctTupleOrig  = 1  // CTA_TUPLE_ORIG
	ctID         = 12 // CTA_ID
	ctTupleIP    = 1  // CTA_TUPLE_IP
	ctTupleProto = 2  // CTA_TUPLE_PROTO
	ctTupleZone  = 3  // CTA_TUPLE_ZONE
	ctIPv4Dst    = 2  // CTA_IP_V4_DST
	ctIPv6Dst    = 4  // CTA_IP_V6_DST
	ctProtoNum   = 1  // CTA_PROTO_NUM
	ctProtoDport = 3  // CTA_PROTO_DST_PORT
)

// connection is an entry of conntrack, as far as it concerns us.
type connection struct {
	flow
	family byte // AF_INET or AF_INET6
	// tuple is CTA_TUPLE_ORIG and id CTA_ID, as the kernel gave them.
	tuple, id []byte
}

// deleteConnections deletes the conntrack entries of flows that lead nowhere or
// elsewhere now. An entry is named to the kernel by its own tuple, with its
// zone, and by its id, so no other flow's is ever hit.
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
	err = listConnections(func(c connection) {
		if !of[c.flow] {
			return
		}
		if err := deleteConnection(socket, c); err != nil {
			failed++
			if first == nil {
				first = fmt.Errorf("of %s in conntrack zone %d: %w", c.target, c.zone, err)
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

// deleteConnection deletes one entry. That it is gone is success.
func deleteConnection(socket *netlink.Conn, of connection) error {
	// Without a tuple, the kernel would delete all there are.
	_, err := socket.Execute(nfnetlink.Message(conntrackType(ctDelete), netlink.Acknowledge, of.family, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(netlink.Nested|ctTupleOrig, of.tuple)
		ae.Bytes(ctID, of.id)
	}))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// listConnections calls fn for each connection in a zone of ours. The kernel can
// filter its table by one zone only, and not before Linux 6.8, so all of it is
// listed; it is not kept in memory.
func listConnections(fn func(connection)) error {
	socket, err := nfnetlink.Dial()
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	// Both families.
	if _, err := socket.Send(nfnetlink.Message(conntrackType(ctGet), netlink.Dump, unix.AF_UNSPEC, nil)); err != nil {
		return err
	}
	for m, err := range socket.ReceiveIter() {
		if err != nil {
			return err
		}
		entry, err := parseConnection(m)
		if err != nil {
			return fmt.Errorf("parse connection: %w", err)
		}
		if entry.zone >= wire.ZoneMin && entry.zone <= wire.ZoneMax {
			fn(entry)
		}
	}
	return nil
}

func conntrackType(message uint16) netlink.HeaderType {
	return nfnetlink.Type(unix.NFNL_SUBSYS_CTNETLINK, message)
}

func parseConnection(m netlink.Message) (connection, error) {
	var c connection
	var address netip.Addr
	var port uint16
	err := nfnetlink.Decode(m, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case ctID:
			c.id = ad.Bytes()
		case ctTupleOrig:
			c.tuple = ad.Bytes()
			nfnetlink.DecodeNested(ad, func(ad *netlink.AttributeDecoder) {
				switch ad.Type() {
				case ctTupleZone:
					c.zone = ad.Uint16()
				case ctTupleIP:
					nfnetlink.DecodeNested(ad, func(ad *netlink.AttributeDecoder) {
						if ad.Type() == ctIPv4Dst || ad.Type() == ctIPv6Dst {
							address, _ = netip.AddrFromSlice(ad.Bytes())
						}
					})
				case ctTupleProto:
					nfnetlink.DecodeNested(ad, func(ad *netlink.AttributeDecoder) {
						switch ad.Type() {
						case ctProtoNum:
							c.protocol = desired.Protocol(ad.Uint8())
						case ctProtoDport:
							port = ad.Uint16()
						}
					})
				}
			})
		}
	})
	if err != nil {
		return connection{}, err
	}
	c.family = m.Data[0] // nfgen_family
	c.target = netip.AddrPortFrom(address, port)
	return c, nil
}
