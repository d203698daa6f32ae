package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// protocol is our mark on an address, as the daemon's own number among
	// those that the kernel does not use itself (linux/if_addr.h IFAPROT_*).
	protocol = 0xfb
	// attributeProtocol is IFA_PROTO; a kernel before 5.18 ignores it.
	attributeProtocol = 11
	// labelSuffix follows the link's name in our mark for those kernels.
	labelSuffix = ":vip"
	// maxLabel is IFNAMSIZ without the final zero.
	maxLabel = unix.IFNAMSIZ - 1
	// forever is what the kernel takes for a lifetime that never ends.
	forever = 0xffffffff
)

var errShort = errors.New("message is too short")

// parseLink reads an RTM_NEWLINK or RTM_DELLINK message: struct ifinfomsg
//
//	1 byte: family, 1 byte: padding, 2 bytes: device type
//	4 bytes: index
//	4 bytes: flags, 4 bytes: changed flags
//
// and attributes. ok is false for what a bridge or another protocol family
// has to say about a link.
func parseLink(b []byte) (l Link, ok bool, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return Link{}, false, fmt.Errorf("read link: %w", errShort)
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	l = Link{
		Index:     int(int32(binary.NativeEndian.Uint32(b[4:]))),
		Up:        flags&unix.IFF_UP != 0,
		Running:   flags&unix.IFF_LOWER_UP != 0,
		Loopback:  flags&unix.IFF_LOOPBACK != 0,
		Multicast: flags&unix.IFF_MULTICAST != 0,
	}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, false, fmt.Errorf("read link %d: %w", l.Index, err)
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			l.Name = ad.String()
		case unix.IFLA_ADDRESS:
			l.HardwareAddr = ad.Bytes()
		case unix.IFLA_LINKINFO:
			ad.Nested(func(info *netlink.AttributeDecoder) error {
				for info.Next() {
					if info.Type() == unix.IFLA_INFO_KIND {
						l.Kind = info.String()
					}
				}
				return nil
			})
		}
	}
	if err := ad.Err(); err != nil {
		return Link{}, false, fmt.Errorf("read link %d: %w", l.Index, err)
	}
	return l, b[0] == unix.AF_UNSPEC, nil
}

// parseAddress reads an RTM_NEWADDR or RTM_DELADDR message: struct ifaddrmsg
//
//	1 byte: family, 1 byte: prefix length, 1 byte: flags, 1 byte: scope
//	4 bytes: link
//
// and attributes. ok is false for an address that is not IPv4.
func parseAddress(b []byte) (link int, a Address, ok bool, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return 0, Address{}, false, fmt.Errorf("read address: %w", errShort)
	}
	if b[0] != unix.AF_INET {
		return 0, Address{}, false, nil
	}
	link = int(int32(binary.NativeEndian.Uint32(b[4:])))
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return 0, Address{}, false, fmt.Errorf("read address of link %d: %w", link, err)
	}
	flags := uint32(b[2])
	var local, peer []byte
	var mark uint8
	a.Scope = b[3]
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_LOCAL:
			local = ad.Bytes()
		case unix.IFA_ADDRESS:
			peer = ad.Bytes()
		case unix.IFA_LABEL:
			a.Label = ad.String()
		case unix.IFA_FLAGS:
			flags = ad.Uint32()
		case attributeProtocol:
			mark = ad.Uint8()
		}
	}
	if err := ad.Err(); err != nil {
		return 0, Address{}, false, fmt.Errorf("read address of link %d: %w", link, err)
	}
	if local == nil {
		local = peer
	}
	address, _ := netip.AddrFromSlice(local)
	if !address.Is4() || b[1] > 32 {
		return 0, Address{}, false, fmt.Errorf("read address of link %d: no IPv4 prefix", link)
	}
	a.Prefix = netip.PrefixFrom(address, int(b[1]))
	a.Permanent = flags&unix.IFA_F_PERMANENT != 0
	a.Secondary = flags&unix.IFA_F_SECONDARY != 0
	a.Ours = ours(a, mark)
	return link, a, true, nil
}

// ours tells whether an address with a protocol attribute, or 0 for none, is a
// virtual address of this daemon.
func ours(a Address, mark uint8) bool {
	if a.Permanent || !a.Prefix.IsSingleIP() {
		return false
	}
	return mark == protocol || mark == 0 && a.Scope == unix.RT_SCOPE_HOST && isLabel(a.Label)
}

// label returns the label of a virtual address on a link. It begins with the
// link's name, as getifaddrs(3) and its users want it: of a longer name's
// suffix there is only the beginning, and only a name that leaves no room even
// for the colon loses its last letter.
func label(link string) string {
	if link == "" {
		return ""
	}
	l := link[:min(len(link), maxLabel-1)] + labelSuffix
	return l[:min(len(l), maxLabel)]
}

// isLabel tells whether l is what label returns for some link.
func isLabel(l string) bool {
	_, suffix, ok := strings.Cut(l, ":")
	return ok && (":"+suffix == labelSuffix || len(l) == maxLabel && strings.HasPrefix(labelSuffix, ":"+suffix))
}

// newAddress is the request that binds a virtual address for a lifetime in
// seconds. It must not be there yet, unless it is to be renewed.
func newAddress(l labeled, lifetime uint32, renew bool) netlink.Message {
	flags := netlink.Request | netlink.Create | netlink.Excl
	if renew {
		flags = netlink.Request | netlink.Create | netlink.Replace
	}
	// struct ifa_cacheinfo: preferred (IPv4 makes nothing of it), valid,
	// created, updated.
	var cache [unix.SizeofIfaCacheinfo]byte
	binary.NativeEndian.PutUint32(cache[0:], lifetime)
	binary.NativeEndian.PutUint32(cache[4:], lifetime)

	data := appendAddress(nil, l)
	data = appendAttribute(data, unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, unix.IFA_F_NOPREFIXROUTE))
	data = appendAttribute(data, unix.IFA_CACHEINFO, cache[:])
	data = appendAttribute(data, attributeProtocol, []byte{protocol})
	return netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWADDR, Flags: flags}, Data: data}
}

// deleteAddress is the request that removes a virtual address.
func deleteAddress(l labeled) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: unix.RTM_DELADDR, Flags: netlink.Request},
		Data:   appendAddress(nil, l),
	}
}

// listAddresses is the body of a request for the addresses of a link, or of
// every link if link is 0.
func listAddresses(link int) []byte {
	return appendAddressHeader(nil, link, 0, 0)
}

// listLinks is the body of a request for a link, or for every link if link is
// 0.
func listLinks(link int) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(link))
	return b
}

func appendAddress(b []byte, l labeled) []byte {
	address := l.Address.As4()
	b = appendAddressHeader(b, l.Link, 32, unix.RT_SCOPE_HOST)
	b = appendAttribute(b, unix.IFA_LOCAL, address[:])
	b = appendAttribute(b, unix.IFA_ADDRESS, address[:])
	if l.label != "" {
		b = appendAttribute(b, unix.IFA_LABEL, append([]byte(l.label), 0))
	}
	return b
}

// appendAddressHeader appends the struct ifaddrmsg that parseAddress reads.
func appendAddressHeader(b []byte, link int, bits, scope uint8) []byte {
	b = append(b, unix.AF_INET, bits, 0, scope)
	return binary.NativeEndian.AppendUint32(b, uint32(link))
}

// appendAttribute appends a struct nlattr: the length without the padding, the
// type, the value, and zeros up to a multiple of 4 bytes.
func appendAttribute(b []byte, typ uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}
