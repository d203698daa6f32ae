package vrrp

import (
	"net/netip"
	"testing"
	"time"
)

// FromMember works before the virtual router has started.
func TestFromMember(t *testing.T) {
	t.Parallel()
	own, peer, unknown := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.9")
	c := Config{
		Settings: Settings{Version: V3, Priority: 100, AdvertisementInterval: 100 * time.Millisecond}, Family: IPv4, VRID: 50,
		Source: own, Peers: []netip.Addr{peer}, Addresses: addrs("192.0.2.50"),
	}
	for _, tt := range []struct {
		unicast             bool
		source, destination netip.Addr
		want                bool
	}{
		{false, peer, GroupIPv4, true},
		{false, unknown, GroupIPv4, true},
		{false, own, GroupIPv4, false},
		{false, peer, own, false},
		{true, peer, own, true},
		{true, unknown, own, false},
		{true, peer, GroupIPv4, false},
	} {
		c.Unicast = tt.unicast
		if got := NewRouter(c).FromMember(Header{Source: tt.source, Destination: tt.destination}); got != tt.want {
			t.Errorf("unicast %t, from %s to %s: %t, want %t", tt.unicast, tt.source, tt.destination, got, tt.want)
		}
	}
}
