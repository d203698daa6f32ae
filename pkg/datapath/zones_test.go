package datapath

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/wire"
)

var (
	vipA = netip.MustParseAddr("192.0.2.100")
	vipB = netip.MustParseAddr("192.0.2.101")
	vipC = netip.MustParseAddr("192.0.2.102")
)

// assignVIPs gives VIPs the zones of their ports that keep their number, where the
// kernel has a map of zones.
func (z *zones) assignVIPs(vips []netip.Addr, kernel map[netip.Addr]uint16) (map[netip.Addr]uint16, error) {
	var keys []zoneKey
	for _, vip := range vips {
		keys = append(keys, zoneKey{vip: vip})
	}
	m := make(map[string]string)
	for vip, id := range kernel {
		m[string(vip.AsSlice())] = zoneBytes(id)
	}
	got, err := z.assign(keys, elements{"zone4": m})
	result := make(map[netip.Addr]uint16)
	for key, id := range got {
		result[key.vip] = id
	}
	return result, err
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
				got, err := test.zones.assignVIPs(step.vips, last)
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
	a := string(vipA.AsSlice())
	kernel := elements{
		"zone4":            {"": "", "abcd": "x", a: "long"},
		"mapped_zone4":     {"": zoneBytes(20003), a: zoneBytes(20004), a + "\x06\x00\x00\x00\x00\x50\x00\x00": "long"},
		"mapped_port4":     {a + "\x06\x00\x00\x00\x00\x50\x00\x00": ""},
		"masquerade_zones": {"": "", "long": ""},
	}
	got, err := newZones().assign([]zoneKey{{vip: vipA}, {vip: vipA, port: 80}}, kernel)
	if err != nil || got[zoneKey{vip: vipA}] != 20000 || got[zoneKey{vip: vipA, port: 80}] != 20001 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestZonesReadBack gives every key the zone that a table gives it, also if some
// of the table is missing.
func TestZonesReadBack(t *testing.T) {
	t.Parallel()
	v6 := netip.MustParseAddr("fd10:96::10")
	forwards := []desired.Forward{
		{VIP: vipA, Ports: []desired.Port{
			{Protocol: desired.TCP, Port: 80, Target: netip.MustParseAddrPort("10.96.0.10:8080")},
			{Protocol: desired.UDP, Port: 80, Target: netip.MustParseAddrPort("10.96.0.10:8080")},
			{Protocol: desired.TCP, Port: 81, Target: netip.MustParseAddrPort("10.96.0.10:8080")},
			{Protocol: desired.TCP, Port: 82, Target: netip.MustParseAddrPort("10.96.0.10:82")},
			{Protocol: desired.TCP, Port: 83, Target: netip.MustParseAddrPort("192.0.2.2:83"), KeepSource: true},
			{Protocol: desired.TCP, Port: 84, Target: netip.MustParseAddrPort("192.0.2.2:30084"), KeepSource: true},
			{Protocol: desired.UDP, Port: 84, Target: netip.MustParseAddrPort("192.0.2.2:30084")},
		}},
		{VIP: v6, Ports: []desired.Port{
			{Protocol: desired.TCP, Port: 80, Target: netip.MustParseAddrPort("[fd10:96::11]:8080"), Proxy: desired.ProxyPlain},
		}},
	}
	d := &Rules{zones: *newZones()}
	next := newState(desired.Datapath{Forwards: forwards})
	table := d.allElements(next, nil)
	problems := next.errors()
	if problems != nil {
		t.Fatal(problems)
	}
	want := d.zones.assigned
	if len(want) != 8 {
		t.Errorf("%d zones, want 8: %v", len(want), want)
	}
	var keys []zoneKey
	for _, f := range forwards {
		keys = append(keys, zoneKeys(f)...)
	}
	slices.Reverse(keys) // So that a fresh start would give others.
	for _, missing := range []string{"", "svc4", "back4", "back6", "mapped_back4", "mapped_back_port", "mapped_svc4"} {
		have := maps.Clone(table)
		delete(have, missing)
		z := newZones()
		z.next = 25000
		got, err := z.assign(keys, have)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(zoneKey{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("without %s: -want +got:\n%s", missing, diff)
		}
	}
}

// TestZonesLook lists the connections only when no zone is known to be idle.
func TestZonesLook(t *testing.T) {
	t.Parallel()
	looks, busy := 0, map[uint16]bool{}
	var failure error
	z := &zones{busy: func() (map[uint16]bool, error) {
		looks++
		return busy, failure
	}}
	vip := netip.MustParseAddr("10.0.0.0")
	var keys []zoneKey
	add := func(n, want int) {
		t.Helper()
		for range n {
			keys = append(keys, zoneKey{vip: vip})
			vip = vip.Next()
		}
		if _, err := z.assign(keys, nil); !errors.Is(err, failure) {
			t.Errorf("got error %v, want %v", err, failure)
		}
		if looks != want {
			t.Errorf("%d VIPs: looked %d times, want %d", len(keys), looks, want)
		}
	}
	add(1, 1)
	add(9000, 1)
	keys = keys[8000:] // Freed zones may hold connections.
	busy[20001] = true
	add(999, 1)
	add(1, 2)
	if len(z.assigned) != 2001 || z.assigned[keys[2000]] != 20000 {
		t.Errorf("%d zones, the last one is %d, want the first one that was freed", len(z.assigned), z.assigned[keys[2000]])
	}
	add(1, 2)
	if got := z.assigned[keys[2001]]; got != 20002 {
		t.Errorf("got zone %d, want 20002, beside the busy one", got)
	}
	z.idle, failure = nil, errors.New("no conntrack")
	add(1, 3)
	add(1, 4) // What was given without a look is looked for again.
}

// TestZonesUnknown gives zones also when the connections cannot be listed.
func TestZonesUnknown(t *testing.T) {
	t.Parallel()
	cause := errors.New("no conntrack")
	z := &zones{busy: func() (map[uint16]bool, error) { return nil, cause }}
	got, err := z.assignVIPs([]netip.Addr{vipA}, nil)
	if !errors.Is(err, cause) {
		t.Errorf("got error %v, want %v", err, cause)
	}
	if got[vipA] != 20000 {
		t.Errorf("got %v", got)
	}
	if _, err := z.assignVIPs([]netip.Addr{vipA}, nil); err != nil {
		t.Errorf("nothing to look for, and yet: %v", err)
	}
}

func TestZonesExhausted(t *testing.T) {
	t.Parallel()
	var vips []netip.Addr
	for vip := netip.MustParseAddr("10.0.0.0"); len(vips) < wire.Zones; vip = vip.Next() {
		vips = append(vips, vip)
	}
	z := newZones()
	all, err := z.assignVIPs(vips, nil)
	if err != nil || len(all) != len(vips) {
		t.Fatalf("%d VIPs got %d zones, %v", len(vips), len(all), err)
	}
	more, err := z.assignVIPs(append([]netip.Addr{vipA}, vips...), all)
	if err == nil || !strings.Contains(err.Error(), "forward 192.0.2.100: no conntrack zone is free") {
		t.Errorf("got error %v", err)
	}
	if diff := cmp.Diff(all, more, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

// TestZonesShort gives the zones that there are to VIPs before single ports: no
// VIP takes the ports that keep their number from another one.
func TestZonesShort(t *testing.T) {
	t.Parallel()
	const vips, mapped = 4096, 9
	target := netip.MustParseAddr("10.96.0.10")
	var wanted desired.Datapath
	vip := netip.MustParseAddr("10.4.0.0")
	for range vips {
		f := desired.Forward{VIP: vip}
		for _, protocol := range []desired.Protocol{desired.TCP, desired.UDP} {
			for port := range uint16(mapped) {
				f.Ports = append(f.Ports, desired.Port{Protocol: protocol, Port: 8080 + port, Target: netip.AddrPortFrom(target, 80)})
			}
		}
		f.Ports = append(f.Ports,
			desired.Port{Protocol: desired.TCP, Port: 80, Target: netip.AddrPortFrom(target, 80)},
			desired.Port{Protocol: desired.TCP, Port: 81, Target: netip.AddrPortFrom(target, 81), KeepSource: true})
		wanted.Forwards = append(wanted.Forwards, f)
		vip = vip.Next()
	}
	d := &Rules{zones: *newZones()}
	next := newState(wanted)
	got := d.allElements(next, nil)
	if n := len(got["svc4"]); n != vips {
		t.Errorf("%d ports of %d that keep their number", n, vips)
	}
	const zones, kept = wire.Zones, vips
	if n := len(got["mapped_svc4"]); n != kept+2*(zones-vips-kept) {
		t.Errorf("%d other ports", n)
	}
	want := "forward 10.4.0.200 port 8088 and 35055 more: no conntrack zone is free: of 20000 to 29999, each VIP takes one and one more for each port that leads to another port"
	if err := errors.Join(next.errors()...); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
