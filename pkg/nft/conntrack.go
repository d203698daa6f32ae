package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
)

// flow is what the connections of a VIP's port have in common after the
// rewrite. In a zone every VIP's port has a target of its own.
type flow struct {
	zone     uint16
	protocol desired.Protocol
	target   netip.AddrPort
}

// flows returns where the elements of the datapath lead.
func (c contents) flows() map[flow]bool {
	flows := make(map[flow]bool)
	for _, f := range families {
		length := int(f.address.Bytes)
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
	list, err := dial()
	if err != nil {
		return err
	}
	defer list.close()
	del, err := dial()
	if err != nil {
		return err
	}
	defer del.close()
	var failed int
	var first error
	err = list.connections(func(c connection) {
		if !of[c.flow] {
			return
		}
		if err := del.deleteConnection(c); err != nil {
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
func (c *conn) deleteConnection(of connection) error {
	_, err := c.socket.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | ctDelete),
			Flags: netlink.Request | netlink.Acknowledge,
		},
		// Without a tuple, the kernel would delete all there are.
		Data: append(nfgenmsg(of.family, 0), encode(func(ae *netlink.AttributeEncoder) {
			ae.Bytes(netlink.Nested|ctTupleOrig, of.tuple)
			ae.Bytes(ctID, of.id)
		})...),
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// connections calls fn for each connection in a zone of ours. The kernel can
// filter its table by one zone only, and not before Linux 6.8, so all of it is
// listed; it is not kept in memory.
func (c *conn) connections(fn func(connection)) error {
	if _, err := c.socket.Send(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | ctGet),
			Flags: netlink.Request | netlink.Dump,
		},
		Data: nfgenmsg(unix.AF_UNSPEC, 0), // Both families.
	}); err != nil {
		return err
	}
	for m, err := range c.socket.ReceiveIter() {
		if err != nil {
			return err
		}
		entry, err := parseConnection(m)
		if err != nil {
			return fmt.Errorf("parse connection: %w", err)
		}
		if entry.zone >= zoneMin && entry.zone <= zoneMax {
			fn(entry)
		}
	}
	return nil
}

func parseConnection(m netlink.Message) (connection, error) {
	var c connection
	var address netip.Addr
	var port uint16
	err := decode(m, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case ctID:
			c.id = ad.Bytes()
		case ctTupleOrig:
			c.tuple = ad.Bytes()
			each(ad, func(ad *netlink.AttributeDecoder) {
				switch ad.Type() {
				case ctTupleZone:
					c.zone = ad.Uint16()
				case ctTupleIP:
					each(ad, func(ad *netlink.AttributeDecoder) {
						if ad.Type() == ctIPv4Dst || ad.Type() == ctIPv6Dst {
							address, _ = netip.AddrFromSlice(ad.Bytes())
						}
					})
				case ctTupleProto:
					each(ad, func(ad *netlink.AttributeDecoder) {
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
