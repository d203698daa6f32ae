package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// protocol marks the virtual addresses of the daemon. The kernel does not use this
	// number itself (linux/if_addr.h IFAPROT_*).
	protocol = 0xfb
	// attributeProtocol is IFA_PROTO; a kernel before 5.18 ignores it.
	attributeProtocol = 11
	// labelSuffix follows the link's name in the label that marks a virtual address for
	// those kernels.
	labelSuffix = ":vip"
	// maxLabel is the length in bytes of the longest label: IFNAMSIZ without the final
	// zero.
	maxLabel = unix.IFNAMSIZ - 1
	// maxUnmarked is the longest lifetime in seconds of an IPv6 address that the daemon
	// owns without a mark.
	maxUnmarked = 2
	// virtualFlags are the flags of an IPv6 virtual address: it is usable at once, and
	// adds no prefix route.
	virtualFlags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
	// forever is the kernel's number for a lifetime that never ends.
	forever = 0xffffffff
)

var errMalformed = errors.New("message is malformed")

// parseLink parses an RTM_NEWLINK or RTM_DELLINK message. ok is false for a message
// about a link from a bridge or another protocol family.
func parseLink(b []byte) (l Link, ok bool, err error) {
	if !wellFormed(b, unix.SizeofIfInfomsg) {
		return Link{}, false, fmt.Errorf("read link: %w", errMalformed)
	}
	header := nl.DeserializeIfInfomsg(b)
	if header.Family != unix.AF_UNSPEC {
		return Link{}, false, nil
	}
	link, err := netlink.LinkDeserialize(nil, b)
	if err != nil {
		return Link{}, false, fmt.Errorf("read link %d: %w", header.Index, err)
	}
	return newLink(link), true, nil
}

// newLink returns l as a Link without addresses.
func newLink(l netlink.Link) Link {
	a := l.Attrs()
	link := Link{
		Index: a.Index,
		Name:  a.Name,
		// The library's slice keeps the whole message in memory.
		HardwareAddr: slices.Clone(a.HardwareAddr),
		Up:           a.RawFlags&unix.IFF_UP != 0,
		Running:      a.RawFlags&unix.IFF_LOWER_UP != 0,
		Loopback:     a.RawFlags&unix.IFF_LOOPBACK != 0,
		Multicast:    a.RawFlags&unix.IFF_MULTICAST != 0,
	}
	if _, hardware := l.(*netlink.Device); !hardware {
		link.Kind = l.Type()
	}
	link.Virtual, _ = virtualLinkOf(l)
	return link
}

// parseAddress parses an RTM_NEWADDR or RTM_DELADDR message. It starts with struct
// ifaddrmsg, with offsets and lengths in bytes,
//
//	0  1  family
//	1  1  prefix length
//	2  1  flags
//	3  1  scope
//	4  4  link index, in native byte order
//
// and ends with attributes. ok is false for an address that is neither IPv4 nor IPv6.
func parseAddress(b []byte) (link int, a Address, ok bool, err error) {
	if !wellFormed(b, unix.SizeofIfAddrmsg) {
		return 0, Address{}, false, fmt.Errorf("read address: %w", errMalformed)
	}
	header := nl.DeserializeIfAddrmsg(b)
	if header.Family != unix.AF_INET && header.Family != unix.AF_INET6 {
		return 0, Address{}, false, nil
	}
	link = int(int32(header.Index))
	attributes, err := nl.ParseRouteAttr(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return 0, Address{}, false, fmt.Errorf("read address of link %d: %w", link, err)
	}
	flags := uint32(header.Flags)
	var local, peer []byte
	var mark uint8
	valid := uint32(forever)
	for _, at := range attributes {
		switch v := at.Value; at.Attr.Type {
		case unix.IFA_LOCAL:
			local = v
		case unix.IFA_ADDRESS:
			peer = v
		case unix.IFA_LABEL:
			a.label = unix.ByteSliceToString(v)
		case unix.IFA_FLAGS:
			if len(v) != 4 {
				return 0, Address{}, false, fmt.Errorf("read flags of an address of link %d: %w", link, errMalformed)
			}
			flags = nl.NativeEndian().Uint32(v)
		case unix.IFA_CACHEINFO:
			if len(v) != unix.SizeofIfaCacheinfo {
				return 0, Address{}, false, fmt.Errorf("read lifetime of an address of link %d: %w", link, errMalformed)
			}
			valid = nl.NativeEndian().Uint32(v[4:])
		case attributeProtocol:
			if len(v) != 1 {
				return 0, Address{}, false, fmt.Errorf("read protocol of an address of link %d: %w", link, errMalformed)
			}
			mark = v[0]
		}
	}
	if local == nil {
		local = peer
	}
	address, _ := netip.AddrFromSlice(local)
	if !address.IsValid() || address.Is4() != (header.Family == unix.AF_INET) || int(header.Prefixlen) > address.BitLen() {
		return 0, Address{}, false, fmt.Errorf("read address of link %d: no IPv4 or IPv6 prefix", link)
	}
	a.Prefix = netip.PrefixFrom(address, int(header.Prefixlen))
	a.scope = header.Scope
	a.permanent = flags&unix.IFA_F_PERMANENT != 0
	// With IPv6 this bit is IFA_F_TEMPORARY.
	a.Secondary = address.Is4() && flags&unix.IFA_F_SECONDARY != 0
	a.Tentative = flags&unix.IFA_F_DADFAILED != 0 || flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC) == unix.IFA_F_TENTATIVE
	a.Owned = owned(a, flags, valid, mark)
	return link, a, true, nil
}

// wellFormed reports whether a message has room for a header of the given length and
// ends where an attribute can end: nl reads beyond the end of others.
func wellFormed(b []byte, header int) bool {
	return len(b) >= header && len(b)%unix.NLMSG_ALIGNTO == 0
}

// owned reports whether the daemon owns the address a. valid is the lifetime that is
// left, in seconds. mark is the protocol attribute, or 0 if there is none.
func owned(a Address, flags, valid uint32, mark uint8) bool {
	if a.permanent || !a.Prefix.IsSingleIP() {
		return false
	}
	if mark != 0 {
		return mark == protocol
	}
	if a.Prefix.Addr().Is4() {
		return a.scope == unix.RT_SCOPE_HOST && isLabel(a.label)
	}
	// A DHCPv6 lease has such a lifetime at its end, but its client must perform
	// duplicate address detection (RFC 8415 section 18.2.10.1).
	const unmarked = virtualFlags | unix.IFA_F_DEPRECATED
	return flags&unmarked == unmarked && valid <= maxUnmarked
}

// label returns the label of a virtual address on a link. It starts with the link's
// name, as users of getifaddrs(3) expect. If the name is long, the suffix is cut off at
// its end; only a name that leaves no room for the colon loses its last letter.
func label(link string) string {
	if link == "" {
		return ""
	}
	l := link[:min(len(link), maxLabel-1)] + labelSuffix
	return l[:min(len(l), maxLabel)]
}

// isLabel reports whether label returns l for some link.
func isLabel(l string) bool {
	_, suffix, ok := strings.Cut(l, ":")
	return ok && (":"+suffix == labelSuffix || len(l) == maxLabel && strings.HasPrefix(labelSuffix, ":"+suffix))
}

// newAddress returns the request that binds a virtual address for a lifetime in
// seconds. With renew it renews a bound address; without, it fails with EEXIST if the
// address is bound.
func newAddress(l addressWithLabel, lifetime uint32, renew bool) *nl.NetlinkRequest {
	flags := unix.NLM_F_CREATE | unix.NLM_F_EXCL
	if renew {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	lease := nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Valid: lifetime}}
	var addressFlags uint32 = virtualFlags
	if l.Address.Is4() {
		// IPv4 ignores the preferred lifetime, but rejects 0.
		lease.Prefered = lifetime //nolint:misspell // The name in x/sys.
		addressFlags = unix.IFA_F_NOPREFIXROUTE
	}

	r := addressRequest(unix.RTM_NEWADDR, flags, l)
	r.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(addressFlags)))
	r.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, lease.Serialize()))
	r.AddData(nl.NewRtAttr(attributeProtocol, nl.Uint8Attr(protocol)))
	return r
}

// setLink returns the request that sets a link up or down.
func setLink(index int, up bool) *nl.NetlinkRequest {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	header.Change = unix.IFF_UP
	if up {
		header.Flags = unix.IFF_UP
	}
	r := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
	r.AddData(header)
	return r
}

// deleteAddress returns the request that removes a virtual address.
func deleteAddress(l addressWithLabel) *nl.NetlinkRequest {
	return addressRequest(unix.RTM_DELADDR, 0, l)
}

// addressRequest returns a request of the given type with the address and its label.
func addressRequest(typ, flags int, l addressWithLabel) *nl.NetlinkRequest {
	header := nl.NewIfAddrmsg(unix.AF_INET6)
	if l.Address.Is4() {
		header.Family = unix.AF_INET
		// The kernel derives the scope of an IPv6 address from the address.
		header.Scope = unix.RT_SCOPE_HOST
	}
	header.Prefixlen = uint8(l.Address.BitLen())
	header.Index = uint32(l.Link)
	address := l.Address.AsSlice()

	r := nl.NewNetlinkRequest(typ, flags)
	r.AddData(header)
	r.AddData(nl.NewRtAttr(unix.IFA_LOCAL, address))
	r.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, address))
	if l.label != "" {
		r.AddData(nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(l.label)))
	}
	return r
}
