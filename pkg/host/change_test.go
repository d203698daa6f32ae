package host

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestIsChange(t *testing.T) {
	t.Parallel()
	link := func(index int, name string) []byte {
		return append(linkHeader(index), attribute(unix.IFLA_IFNAME, name+"\x00")...)
	}
	vip := addressWithLabel{VirtualAddress{Link: 3, Address: netip.MustParseAddr("10.4.0.50")}, "eth0:vip"}
	other := addressWithLabel{VirtualAddress{Link: 3, Address: netip.MustParseAddr("10.4.0.51")}, "eth0:vip"}
	bridge := link(3, "other")
	bridge[0] = unix.AF_BRIDGE
	known := Snapshot{Links: []Link{
		{Index: 1, Name: "lo"},
		{Index: 3, Name: "eth0", Addresses: []Address{{
			Prefix: netip.MustParsePrefix("10.4.0.50/32"), Owned: true, scope: unix.RT_SCOPE_HOST, label: "eth0:vip",
		}, {
			Prefix: netip.MustParsePrefix("2001:db8::50/64"), permanent: true,
		}, {
			Prefix: netip.MustParsePrefix("2001:db8::51/64"), permanent: true, Tentative: true,
		}}},
	}}
	address6 := func(last byte, flags uint32) []byte {
		header := nl.NewIfAddrmsg(unix.AF_INET6)
		header.Index, header.Prefixlen = 3, 64
		return slices.Concat(
			header.Serialize(),
			attribute(unix.IFA_ADDRESS, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+string(rune(last))),
			attribute(unix.IFA_FLAGS, string(nl.Uint32Attr(flags|unix.IFA_F_PERMANENT))),
		)
	}
	tests := []struct {
		name string
		typ  uint16
		data []byte
		want bool
	}{
		{"a link as it is", unix.RTM_NEWLINK, link(3, "eth0"), false},
		{"a link renamed", unix.RTM_NEWLINK, link(3, "eth1"), true},
		{"a link added", unix.RTM_NEWLINK, link(4, "eth1"), true},
		{"a link deleted", unix.RTM_DELLINK, link(3, "eth0"), true},
		{"a link deleted that was never seen", unix.RTM_DELLINK, link(4, "eth1"), false},
		{"a port left its bridge", unix.RTM_DELLINK, bridge, false},
		{"a lifetime renewed", unix.RTM_NEWADDR, data(newAddress(vip, 2, true)), false},
		{"an address added", unix.RTM_NEWADDR, data(newAddress(other, 2, true)), true},
		{"an address removed", unix.RTM_DELADDR, data(newAddress(vip, 2, true)), true},
		{"an address removed that was never seen", unix.RTM_DELADDR, data(newAddress(other, 2, true)), false},
		{"an IPv6 address as it is", unix.RTM_NEWADDR, address6(0x50, 0), false},
		{"duplicate address detection goes on", unix.RTM_NEWADDR, address6(0x51, unix.IFA_F_TENTATIVE), false},
		{"duplicate address detection has ended", unix.RTM_NEWADDR, address6(0x51, 0), true},
		{"an IPv6 address added", unix.RTM_NEWADDR, address6(0x52, 0), true},
		{"an IPv6 address removed", unix.RTM_DELADDR, address6(0x50, 0), true},
		{"an IPv6 address removed whose flags have changed", unix.RTM_DELADDR, address6(0x50, unix.IFA_F_TENTATIVE), true},
		{"an IPv6 address removed that was never seen", unix.RTM_DELADDR, address6(0x52, 0), false},
		{"an address that cannot be read", unix.RTM_NEWADDR, nil, true},
		{"a link that cannot be read", unix.RTM_NEWLINK, nil, true},
		{"something else", unix.RTM_NEWROUTE, nil, false},
	}
	for _, tt := range tests {
		m := syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: tt.typ}, Data: tt.data}
		if got := isChange(known, m); got != tt.want {
			t.Errorf("%s: isChange = %t, want %t", tt.name, got, tt.want)
		}
	}
}
