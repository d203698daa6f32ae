package host

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

// Addresses and links change between the list and the requests.
func TestNetnsAddressesRaces(t *testing.T) {
	ns := netnstest.New(t, "node")
	ns.Run("ip", "addr", "add", "192.0.2.51/32", "dev", "lo")
	ns.Run("ip", "addr", "add", "2001:db8::51/64", "dev", "lo")
	// Too narrow for IPv6 (RFC 8200 section 5), so it has none.
	ns.Run("ip", "link", "add", "br9", "mtu", "1000", "type", "bridge")
	const lo, gone = 1, 99
	narrow := ns.Index("br9")
	ns.Do(func() {
		a, err := NewAddresses(2 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		vip, vip6 := netip.MustParseAddr("192.0.2.50"), netip.MustParseAddr("2001:db8::50")
		expired := []addressWithLabel{{VirtualAddress{Link: lo, Address: vip}, "lo:vip"}, {VirtualAddress: VirtualAddress{Link: lo, Address: vip6}}}
		deleted := []addressWithLabel{{VirtualAddress{Link: gone, Address: vip}, "eth0:vip"}, {VirtualAddress: VirtualAddress{Link: gone, Address: vip6}}}
		without := []addressWithLabel{{VirtualAddress: VirtualAddress{Link: narrow, Address: vip6}}}
		if errs := a.remove(slices.Concat(expired, deleted, without)); len(errs) != 0 {
			t.Errorf("remove deleted addresses: %v", errs)
		}
		if errs := a.add(nil, expired); len(errs) != 0 {
			t.Errorf("renew expired addresses: %v", errs)
		}
		for _, foreign := range []string{"192.0.2.51", "2001:db8::51"} {
			foreign := VirtualAddress{Link: lo, Address: netip.MustParseAddr(foreign)}
			if errs := a.add([]VirtualAddress{foreign}, nil); len(errs) != 1 || !errors.Is(errs[0], ErrForeign) {
				t.Errorf("add addresses of another program: %v, want ErrForeign", errs)
			}
		}
		present, err := a.list(lo)
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range present[lo] {
			virtual := address.Prefix.Addr() == vip || address.Prefix.Addr() == vip6
			if address.Owned != virtual {
				t.Errorf("%+v, want owned %t", address, virtual)
			}
			if address.permanent == virtual {
				t.Errorf("%+v, want permanent %t", address, !virtual)
			}
		}
		if len(present[lo]) != 6 {
			t.Errorf("lo has %+v, want three addresses of each family", present[lo])
		}
	})
}

// A failed socket is an error, even if no address is wanted, and is reopened.
func TestNetnsAddressesSocketFails(t *testing.T) {
	ns := netnstest.New(t, "node")
	ns.Do(func() {
		a, err := NewAddresses(2 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		vip := VirtualAddress{Link: 1, Address: netip.MustParseAddr("192.0.2.50")}
		for _, want := range [][]VirtualAddress{{vip}, nil} {
			if err := a.Set([]VirtualAddress{vip}); err != nil {
				t.Fatal(err)
			}
			if err := a.conn.Close(); err != nil {
				t.Fatal(err)
			}
			err := a.Set(want)
			var ae *AddressError
			if err == nil || errors.As(err, &ae) != (len(want) > 0) {
				t.Errorf("error is %v for %v", err, want)
			}
		}
		if err := a.Set(nil); err != nil {
			t.Error(err)
		}
		present, err := a.list(1)
		if err != nil || len(present[1]) != 2 {
			t.Errorf("lo has %+v, error %v, want two addresses", present[1], err)
		}
	})
}

// A renewal keeps the mark and the other attributes of an address.
func TestNetnsAddressesKeepTheirMark(t *testing.T) {
	ns := netnstest.New(t, "node")
	ns.Do(func() {
		a, err := NewAddresses(2 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		vips := []VirtualAddress{{Link: 1, Address: netip.MustParseAddr("192.0.2.50")}, {Link: 1, Address: netip.MustParseAddr("2001:db8::50")}}
		for _, do := range []string{"add", "renew", "renew again"} {
			if err := a.Set(vips); err != nil {
				t.Fatal(err)
			}
			request := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
			request.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
			messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
			if err != nil {
				t.Fatal(err)
			}
			marked := 0
			for _, m := range messages {
				attributes, err := nl.ParseRouteAttr(m[unix.SizeofIfAddrmsg:])
				if err != nil {
					t.Fatal(err)
				}
				for _, at := range attributes {
					if at.Attr.Type == attributeProtocol && slices.Equal(at.Value, []byte{protocol}) {
						marked++
					}
				}
			}
			if marked != len(vips) {
				t.Errorf("%s: %d addresses have the mark, want %d", do, marked, len(vips))
			}
		}
	})
}

// A virtual link that cannot be set up gets no address, and a deleted one need not be
// set down.
func TestNetnsVirtualLinkRaces(t *testing.T) {
	ns := netnstest.New(t, "node")
	const lo, gone = 1, 99
	ns.Do(func() {
		a, err := NewAddresses(2 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		a.virtual[gone], a.names[gone] = true, "vip4-2-50"
		vip := netip.MustParseAddr("192.0.2.50")
		there, lost := VirtualAddress{Link: lo, Address: vip}, VirtualAddress{Link: gone, Address: vip}
		p := plan{renew: []addressWithLabel{{lost, ""}, {there, ""}}}
		errs := a.bringUp(&p)
		if len(errs) != 1 || !errors.Is(errs[0], unix.ENODEV) || len(p.renew) != 1 || p.renew[0].VirtualAddress != there {
			t.Errorf("errors %v, plan %+v", errs, p)
		}
		if errs := a.bringDown(nil); len(errs) != 0 || len(a.virtual) != 0 {
			t.Errorf("errors %v, virtual %v", errs, a.virtual)
		}
	})
}
