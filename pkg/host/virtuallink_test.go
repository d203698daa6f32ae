package host

import (
	"math"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestVirtualLinkName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		link      VirtualLink
		name, mac string
	}{
		{VirtualLink{Parent: 2, VRID: 50}, "vip4-2-50", "00:00:5e:00:01:32"},
		{VirtualLink{Parent: 2, IPv6: true, VRID: 50}, "vip6-2-50", "00:00:5e:00:02:32"},
		{VirtualLink{Parent: 36, VRID: 1}, "vip4-10-1", "00:00:5e:00:01:01"},
		{VirtualLink{Parent: math.MaxInt32, IPv6: true, VRID: 255}, "vip6-zik0zj-255", "00:00:5e:00:02:ff"},
	} {
		if got := c.link.Name(); got != c.name || len(got) > 15 {
			t.Errorf("%+v has the name %q, want %q", c.link, got, c.name)
		}
		if got := c.link.HardwareAddr().String(); got != c.mac {
			t.Errorf("%+v has %s, want %s", c.link, got, c.mac)
		}
		if got, ok := parseVirtualLink(c.name); !ok || got != c.link {
			t.Errorf("%q is %+v, %t; want %+v", c.name, got, ok, c.link)
		}
	}
	for _, name := range []string{
		"", "eth0", "vip4", "vip4-", "vip4-2", "vip4-2-", "vip4-2-0", "vip4-2-256", "vip4-0-50", "vip4-02-50", "vip4-2-050",
		"vip4--2-50", "vip4-+2-50", "vip4-2-50-1", "vip5-2-50", "vip4-A-50", "vip4-zik0zk-50", "vrrp.50", "vrrp4-2-50",
	} {
		if got, ok := parseVirtualLink(name); ok {
			t.Errorf("%q is %+v, want no virtual link", name, got)
		}
	}
}

// The daemon owns a link only if its kind, mode, name and MAC address all match.
func TestVirtualLinkOf(t *testing.T) {
	t.Parallel()
	link := func(name, mac string, mode netlink.MacvlanMode) netlink.Link {
		hardwareAddr, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		return &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: hardwareAddr}, Mode: mode}
	}
	const bridge, private = netlink.MACVLAN_MODE_BRIDGE, netlink.MACVLAN_MODE_PRIVATE
	if v, ok := virtualLinkOf(link("vip6-2-50", "00:00:5e:00:02:32", bridge)); !ok || v != (VirtualLink{2, true, 50}) {
		t.Errorf("got %+v, %t", v, ok)
	}
	for _, l := range []netlink.Link{
		link("vip4-2-50", "00:00:5e:00:01:33", bridge),
		link("vip4-2-50", "00:00:5e:00:02:32", bridge),
		link("vip4-2-50", "02:00:5e:00:01:32", bridge),
		link("vip4-2-50", "00:00:5e:00:01:32", private),
		link("vrrp4-2-50", "00:00:5e:00:01:32", bridge),
		&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "vip4-2-50", HardwareAddr: net.HardwareAddr{0, 0, 0x5e, 0, 1, 50}}},
	} {
		if v, ok := virtualLinkOf(l); ok {
			t.Errorf("%s %+v is taken for %+v", l.Type(), l.Attrs(), v)
		}
	}
}
