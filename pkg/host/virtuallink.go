package host

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// VirtualLink is a macvlan link with the virtual MAC address of a virtual router
// (RFC 9568 section 7.3).
type VirtualLink struct {
	// Parent is the index of the interface under the macvlan; 0 means no VirtualLink.
	Parent int
	// IPv6 selects the IPv6 virtual router with the VRID instead of the IPv4 one.
	IPv6 bool
	// VRID is the virtual router identifier, 1 to 255.
	VRID uint8
}

// Name returns the link's name, at most 15 characters: vip4 or vip6, the parent's index
// in base 36, and the VRID, as in "vip4-3-51".
func (v VirtualLink) Name() string {
	return fmt.Sprintf("%s%s-%d", v.prefix(), strconv.FormatInt(int64(v.Parent), 36), v.VRID)
}

// prefix returns the first part of the name.
func (v VirtualLink) prefix() string {
	if v.IPv6 {
		return "vip6-"
	}
	return "vip4-"
}

// HardwareAddr returns the virtual MAC address: 00:00:5e:00:01:VRID for IPv4 or
// 00:00:5e:00:02:VRID for IPv6.
func (v VirtualLink) HardwareAddr() net.HardwareAddr {
	family := byte(1)
	if v.IPv6 {
		family = 2
	}
	return net.HardwareAddr{0, 0, 0x5e, 0, family, v.VRID}
}

// parseVirtualLink returns the VirtualLink with the given name, if there is one.
func parseVirtualLink(name string) (v VirtualLink, ok bool) {
	for _, v.IPv6 = range []bool{false, true} {
		rest, found := strings.CutPrefix(name, v.prefix())
		parent, vrid, _ := strings.Cut(rest, "-")
		index, err := strconv.ParseInt(parent, 36, 32)
		number, err2 := strconv.ParseUint(vrid, 10, 8)
		if !found || err != nil || err2 != nil || index <= 0 || number == 0 {
			continue
		}
		v.Parent, v.VRID = int(index), uint8(number)
		// Reject other spellings, such as a number with a leading zero.
		return v, v.Name() == name
	}
	return VirtualLink{}, false
}

// virtualLinkOf returns the VirtualLink that l is. The result is false unless l is a
// macvlan in bridge mode with the name and the MAC address of a VirtualLink.
func virtualLinkOf(l netlink.Link) (VirtualLink, bool) {
	m, ok := l.(*netlink.Macvlan)
	if !ok || m.Mode != netlink.MACVLAN_MODE_BRIDGE {
		return VirtualLink{}, false
	}
	v, ok := parseVirtualLink(m.Name)
	if !ok || !bytes.Equal(m.HardwareAddr, v.HardwareAddr()) {
		return VirtualLink{}, false
	}
	return v, true
}

// VirtualLinkError is the error of one VirtualLink.
type VirtualLinkError struct {
	VirtualLink
	Err error
}

// Error returns the text of e.Err, which names the link.
func (e *VirtualLinkError) Error() string { return e.Err.Error() }

// Unwrap returns e.Err.
func (e *VirtualLinkError) Unwrap() error { return e.Err }
