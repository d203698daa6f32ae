// Package conntrack lists and deletes entries of the kernel's connection tracking
// by netlink (linux/netfilter/nfnetlink_conntrack.h).
package conntrack

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
)

const (
	msgGet      = 1 // IPCTNL_MSG_CT_GET
	msgDelete   = 2 // IPCTNL_MSG_CT_DELETE
	msgGetStats = 4 // IPCTNL_MSG_CT_GET_STATS_CPU

	attrTupleOrig  = 1  // CTA_TUPLE_ORIG
	attrID         = 12 // CTA_ID
	attrTupleIP    = 1  // CTA_TUPLE_IP
	attrTupleProto = 2  // CTA_TUPLE_PROTO
	attrTupleZone  = 3  // CTA_TUPLE_ZONE
	attrIPv4Dst    = 2  // CTA_IP_V4_DST
	attrIPv6Dst    = 4  // CTA_IP_V6_DST
	attrProtoNum   = 1  // CTA_PROTO_NUM
	attrProtoDport = 3  // CTA_PROTO_DST_PORT
)

// Entry is an entry as its original direction has it.
type Entry struct {
	// Zone is that of the original direction alone; 0 is the default zone.
	Zone        uint16
	Protocol    uint8 // IPPROTO_...
	Destination netip.AddrPort
	// ID is the kernel's.
	ID string

	family byte // AF_INET or AF_INET6
	// tuple is CTA_TUPLE_ORIG as the kernel gave it.
	tuple []byte
}

// List calls fn for each entry. The kernel can filter its table by one zone only,
// and not before Linux 6.8, so all of it is listed; it is not kept in memory.
func List(fn func(Entry)) error {
	socket, err := nfnetlink.Dial()
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	// Both families.
	if _, err := socket.Send(nfnetlink.Message(messageType(msgGet), netlink.Dump, unix.AF_UNSPEC, nil)); err != nil {
		return err
	}
	for m, err := range socket.ReceiveIter() {
		if err != nil {
			return err
		}
		entry, err := parse(m)
		if err != nil {
			return fmt.Errorf("parse connection: %w", err)
		}
		fn(entry)
	}
	return nil
}

// Delete deletes an entry by the socket, which nfnetlink.Dial opens. That the entry
// is gone is success. It is named to the kernel by its tuple, with its zone, and by
// its id, so no other one is ever hit.
func Delete(socket *netlink.Conn, e Entry) error {
	// Without a tuple, the kernel would delete all there are.
	_, err := socket.Execute(nfnetlink.Message(messageType(msgDelete), netlink.Acknowledge, e.family, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(netlink.Nested|attrTupleOrig, e.tuple)
		ae.Bytes(attrID, []byte(e.ID))
	}))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// Supported asks the kernel for something small, its statistics. The error is
// EINVAL if it has no such netlink interface (NF_CT_NETLINK).
func Supported() error { return askStatistics(unix.NFNL_SUBSYS_CTNETLINK) }

func askStatistics(subsystem uint16) error {
	socket, err := nfnetlink.Dial()
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	_, err = socket.Execute(nfnetlink.Message(nfnetlink.Type(subsystem, msgGetStats), netlink.Dump, unix.AF_UNSPEC, nil))
	return err
}

func messageType(message uint16) netlink.HeaderType {
	return nfnetlink.Type(unix.NFNL_SUBSYS_CTNETLINK, message)
}

func parse(m netlink.Message) (Entry, error) {
	var e Entry
	var address netip.Addr
	var port uint16
	err := nfnetlink.Decode(m, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case attrID:
			e.ID = string(ad.Bytes())
		case attrTupleOrig:
			e.tuple = ad.Bytes()
			nfnetlink.DecodeNested(ad, func(ad *netlink.AttributeDecoder) {
				switch ad.Type() {
				case attrTupleZone:
					e.Zone = ad.Uint16()
				case attrTupleIP:
					nfnetlink.DecodeNested(ad, func(ad *netlink.AttributeDecoder) {
						if ad.Type() == attrIPv4Dst || ad.Type() == attrIPv6Dst {
							address, _ = netip.AddrFromSlice(ad.Bytes())
						}
					})
				case attrTupleProto:
					nfnetlink.DecodeNested(ad, func(ad *netlink.AttributeDecoder) {
						switch ad.Type() {
						case attrProtoNum:
							e.Protocol = ad.Uint8()
						case attrProtoDport:
							port = ad.Uint16()
						}
					})
				}
			})
		}
	})
	if err != nil {
		return Entry{}, err
	}
	e.family = m.Data[0] // nfgen_family
	e.Destination = netip.AddrPortFrom(address, port)
	return e, nil
}
