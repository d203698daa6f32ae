package nft

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	vipA = netip.MustParseAddr("192.0.2.100")
	vipB = netip.MustParseAddr("192.0.2.101")
	vipC = netip.MustParseAddr("192.0.2.102")
)

// zoneMap is the kernel's map of zones.
func zoneMap(zones map[netip.Addr]uint16) map[string]string {
	m := make(map[string]string)
	for vip, id := range zones {
		m[string(vip.AsSlice())] = string(binary.NativeEndian.AppendUint16(nil, id))
	}
	return m
}

// newZones returns zones of which some hold connections.
func newZones(busy ...uint16) *zones {
	return &zones{busy: func() (map[uint16]bool, error) {
		m := make(map[uint16]bool)
		for _, id := range busy {
			m[id] = true
		}
		return m, nil
	}}
}

func TestZones(t *testing.T) {
	t.Parallel()
	type step struct {
		vips   []netip.Addr
		kernel map[netip.Addr]uint16 // nil: what the step before returned.
		want   map[netip.Addr]uint16
	}
	for _, test := range []struct {
		name  string
		zones *zones
		steps []step
	}{
		{"fresh", newZones(), []step{
			{[]netip.Addr{vipA, vipB}, nil, map[netip.Addr]uint16{vipA: 20000, vipB: 20001}},
			{[]netip.Addr{vipA, vipB}, nil, map[netip.Addr]uint16{vipA: 20000, vipB: 20001}},
		}},
		{"a freed zone is not the next", newZones(), []step{
			{[]netip.Addr{vipA}, nil, map[netip.Addr]uint16{vipA: 20000}},
			{nil, nil, map[netip.Addr]uint16{}},
			{[]netip.Addr{vipB}, nil, map[netip.Addr]uint16{vipB: 20001}},
		}},
		{"a zone that becomes free just now", newZones(), []step{
			{[]netip.Addr{vipA}, map[netip.Addr]uint16{vipB: 29999}, map[netip.Addr]uint16{vipA: 20000}},
		}},
		{"adopted", newZones(), []step{
			{[]netip.Addr{vipA, vipB, vipC}, map[netip.Addr]uint16{vipB: 20005}, map[netip.Addr]uint16{vipB: 20005, vipA: 20006, vipC: 20007}},
		}},
		{"the table was removed", newZones(), []step{
			{[]netip.Addr{vipA}, map[netip.Addr]uint16{vipA: 20005}, map[netip.Addr]uint16{vipA: 20005}},
			{[]netip.Addr{vipA}, map[netip.Addr]uint16{}, map[netip.Addr]uint16{vipA: 20005}},
		}},
		{"somebody changed the map", newZones(), []step{
			{[]netip.Addr{vipA}, nil, map[netip.Addr]uint16{vipA: 20000}},
			{[]netip.Addr{vipA, vipB}, map[netip.Addr]uint16{vipA: 20009, vipB: 20000}, map[netip.Addr]uint16{vipA: 20000, vipB: 20001}},
		}},
		{"zones that are not ours", newZones(), []step{
			{[]netip.Addr{vipA, vipB}, map[netip.Addr]uint16{vipA: 7, vipB: 30000}, map[netip.Addr]uint16{vipA: 20000, vipB: 20001}},
		}},
		{"connections are left", newZones(20000, 20002), []step{
			{[]netip.Addr{vipA, vipB}, nil, map[netip.Addr]uint16{vipA: 20001, vipB: 20003}},
		}},
		{"round", newZones(), []step{
			{[]netip.Addr{vipA}, map[netip.Addr]uint16{vipA: 29998}, map[netip.Addr]uint16{vipA: 29998}},
			{[]netip.Addr{vipA, vipB, vipC}, nil, map[netip.Addr]uint16{vipA: 29998, vipB: 29999, vipC: 20000}},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var last map[netip.Addr]uint16
			for i, step := range test.steps {
				if step.kernel != nil {
					last = step.kernel
				}
				got, err := test.zones.assign(step.vips, zoneMap(last))
				if err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
				if diff := cmp.Diff(step.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
					t.Errorf("step %d: -want +got:\n%s", i, diff)
				}
				last = got
			}
		})
	}
}

func TestZonesJunk(t *testing.T) {
	t.Parallel()
	kernel := map[string]string{"": "", "abcd": "x", string(vipA.AsSlice()): "long"}
	got, err := newZones().assign([]netip.Addr{vipA}, kernel)
	if err != nil || got[vipA] != 20000 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestZonesUnknown gives zones also when the connections cannot be listed.
func TestZonesUnknown(t *testing.T) {
	t.Parallel()
	cause := errors.New("no conntrack")
	z := &zones{busy: func() (map[uint16]bool, error) { return nil, cause }}
	got, err := z.assign([]netip.Addr{vipA}, nil)
	if !errors.Is(err, cause) {
		t.Errorf("got error %v, want %v", err, cause)
	}
	if got[vipA] != 20000 {
		t.Errorf("got %v", got)
	}
	if _, err := z.assign([]netip.Addr{vipA}, nil); err != nil {
		t.Errorf("nothing to look for, and yet: %v", err)
	}
}

func TestZonesExhausted(t *testing.T) {
	t.Parallel()
	var vips []netip.Addr
	for vip := netip.MustParseAddr("10.0.0.0"); len(vips) < zoneMax-zoneMin+1; vip = vip.Next() {
		vips = append(vips, vip)
	}
	z := newZones()
	all, err := z.assign(vips, nil)
	if err != nil || len(all) != len(vips) {
		t.Fatalf("%d VIPs got %d zones, %v", len(vips), len(all), err)
	}
	more, err := z.assign(append([]netip.Addr{vipA}, vips...), zoneMap(all))
	if err == nil || !strings.Contains(err.Error(), "forward 192.0.2.100: no conntrack zone is free") {
		t.Errorf("got error %v", err)
	}
	if diff := cmp.Diff(all, more, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}
