package host

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// VirtualLink is a macvlan on an interface that has the MAC address of a
// virtual router (RFC 9568 section 7.3).
type VirtualLink struct {
	// Parent is the index of the interface; 0 stands for no VirtualLink.
	Parent int
	// IPv6 tells which of the two virtual routers with the VRID it is for.
	IPv6 bool
	VRID uint8
}

// Name is the one name that the link can have, at most 15 characters: vip4 or
// vip6, the parent's index to the base 36, and the VRID.
func (v VirtualLink) Name() string {
	return fmt.Sprintf("%s%s-%d", v.prefix(), strconv.FormatInt(int64(v.Parent), 36), v.VRID)
}

func (v VirtualLink) prefix() string {
	if v.IPv6 {
		return "vip6-"
	}
	return "vip4-"
}

// HardwareAddr is 00:00:5e:00:01:VRID or, for IPv6, 00:00:5e:00:02:VRID.
func (v VirtualLink) HardwareAddr() net.HardwareAddr {
	family := byte(1)
	if v.IPv6 {
		family = 2
	}
	return net.HardwareAddr{0, 0, 0x5e, 0, family, v.VRID}
}

// parseVirtualLink reads a link's name.
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
		// No other spelling, such as with a zero before a number.
		return v, v.Name() == name
	}
	return VirtualLink{}, false
}

// virtualLinkOf tells whether a link is one of ours: a macvlan in bridge mode
// that has the name and the MAC address of a VirtualLink.
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

// VirtualLinkError is the failure of one VirtualLink.
type VirtualLinkError struct {
	VirtualLink
	Err error
}

func (e *VirtualLinkError) Error() string { return e.Err.Error() }

func (e *VirtualLinkError) Unwrap() error { return e.Err }
