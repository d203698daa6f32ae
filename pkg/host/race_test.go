package host

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/internal/netnstest"
)

// What changes between the look at what is there and the requests.
func TestNetnsAddressesRaces(t *testing.T) {
	ns := netnstest.New(t, "node")
	ns.Run("ip", "addr", "add", "192.0.2.51/32", "dev", "lo")
	const lo, gone = 1, 99
	ns.Do(func() {
		a, err := NewAddresses(2 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		vip := netip.MustParseAddr("192.0.2.50")
		expired := labeled{VirtualAddress{Link: lo, Address: vip}, "lo:vip"}
		deleted := labeled{VirtualAddress{Link: gone, Address: vip}, "eth0:vip"}
		if errs := a.remove([]labeled{expired, deleted}); len(errs) != 0 {
			t.Errorf("remove what is gone: %v", errs)
		}
		if errs := a.add(nil, []labeled{expired}); len(errs) != 0 {
			t.Errorf("renew what has expired: %v", errs)
		}
		foreign := VirtualAddress{Link: lo, Address: netip.MustParseAddr("192.0.2.51")}
		if errs := a.add([]VirtualAddress{foreign}, nil); len(errs) != 1 || !errors.Is(errs[0], ErrForeign) {
			t.Errorf("add what somebody has added: %v, want ErrForeign", errs)
		}
		present, err := a.list(lo)
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range present[lo] {
			if want := address.Prefix.Addr() == vip; address.Ours != want {
				t.Errorf("%+v, want ours %t", address, want)
			}
			if want := address.Prefix.Addr() != vip; address.Permanent != want {
				t.Errorf("%+v, want permanent %t", address, want)
			}
		}
		if len(present[lo]) != 3 {
			t.Errorf("lo has %+v, want three addresses", present[lo])
		}
	})
}

// A socket that has failed is reported, also if nothing is wanted, and opened
// again.
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
		if err != nil || len(present[1]) != 1 {
			t.Errorf("lo has %+v, error %v, want one address", present[1], err)
		}
	})
}
