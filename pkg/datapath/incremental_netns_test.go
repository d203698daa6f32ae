package datapath

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
	"kube-vrrp-vip/pkg/nft"
)

// randomForward has few ports of few kinds, so that much of it is often the same.
func randomForward(r *rand.Rand, vip netip.Addr) desired.Forward {
	target, sources := netip.MustParseAddr("10.96.0.10"), []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}
	if vip.Is6() {
		target, sources = netip.MustParseAddr("fd10:96::10"), []netip.Prefix{netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("2001:db8::/64")}
	}
	f := desired.Forward{VIP: vip, Open: r.IntN(4) == 0}
	for _, protocol := range []desired.Protocol{desired.TCP, desired.UDP} {
		for port := uint16(80); port < 84; port++ {
			p := desired.Port{Protocol: protocol, Port: port, Target: netip.AddrPortFrom(target, port)}
			switch r.IntN(7) {
			case 0:
				continue
			case 1:
				p.Target = netip.AddrPortFrom(target, 8080)
			case 2:
				p.KeepSource = true
			case 3:
				p.Restricted, p.Sources = true, sources[r.IntN(2):]
			case 4: // Two VIPs may have one listener.
				p.Proxy, p.Target = desired.ProxyPlain, netip.AddrPortFrom(target.Next(), 40000+uint16(r.IntN(3)))
			case 5:
				p.Target = netip.AddrPortFrom(target.Next(), port)
			}
			f.Ports = append(f.Ports, p)
		}
	}
	if r.IntN(8) == 0 {
		f.Ports = append(f.Ports, desired.Port{Protocol: desired.SCTP, Port: 80}) // A problem: no target.
	}
	return f
}

// alter changes one thing of a forward.
func alter(r *rand.Rand, f desired.Forward) desired.Forward {
	if r.IntN(4) == 0 || len(f.Ports) == 0 {
		f.Open = !f.Open
		return f
	}
	f.Ports = slices.Clone(f.Ports)
	p := &f.Ports[r.IntN(len(f.Ports))]
	switch r.IntN(5) {
	case 0:
		p.KeepSource = !p.KeepSource
	case 1:
		p.Restricted = !p.Restricted
	case 2:
		p.Proxy = desired.ProxyPlain - p.Proxy
	case 3:
		p.Target = netip.AddrPortFrom(p.Target.Addr(), p.Target.Port()^1)
	case 4:
		p.Sources = p.Sources[min(1, len(p.Sources)):]
	}
	return f
}

// edit adds, changes or removes a forward.
func edit(r *rand.Rand, vips []netip.Addr, forwards map[netip.Addr]desired.Forward) {
	vip := vips[r.IntN(len(vips))]
	f, ok := forwards[vip]
	switch n := r.IntN(6); {
	case ok && n < 4:
		forwards[vip] = alter(r, f)
	case n == 4:
		delete(forwards, vip)
	default:
		forwards[vip] = randomForward(r, vip)
	}
}

// change is what the kernel does with the elements of a difference.
func (c elements) change(old, new elements) {
	for set := range old {
		maps.DeleteFunc(c[set], func(key, _ string) bool { _, ok := old[set][key]; return ok })
	}
	for set := range new {
		maps.Copy(c[set], new[set])
	}
}

// TestRandomDifferences changes states at random: the changes of the elements lead to what a
// fresh start makes of the same state, and a restart adopts all of it.
func TestRandomDifferences(t *testing.T) {
	t.Parallel()
	const seed = 4
	r := rand.New(rand.NewPCG(seed, seed))
	vips := []netip.Addr{vipA, vipB, vipC, netip.MustParseAddr("2001:db8::100"), netip.MustParseAddr("2001:db8::101"), {}}
	d := &Rules{zones: *newZones(), last: newState(desired.Datapath{})}
	kernel := d.allElements(d.last, nil)
	forwards := make(map[netip.Addr]desired.Forward)
	for step := range 2000 {
		for range r.IntN(3) {
			edit(r, vips, forwards)
		}
		var wanted desired.Datapath
		for _, f := range forwards { // In any order.
			wanted.Forwards = append(wanted.Forwards, f)
		}
		next := newState(wanted)
		if !next.complete() {
			t.Fatalf("step %d: not to begin with: %v", step, next)
		}
		old, new := d.difference(d.last, next)
		for set := range old {
			for key, value := range old[set] {
				if have, ok := kernel[set][key]; !ok || have != value {
					t.Fatalf("step %d: to go from %s: %x: %x, there is %x", step, set, key, value, have)
				}
			}
			for key := range new[set] {
				if _, ok := old[set][key]; ok {
					continue
				}
				if _, ok := kernel[set][key]; ok {
					t.Fatalf("step %d: to be added to %s: %x, which is there", step, set, key)
				}
			}
		}
		kernel.change(old, new)
		d.last = next

		fresh := &Rules{zones: *newZones()}
		fresh.zones.assigned = maps.Clone(d.zones.assigned)
		again := newState(wanted)
		want := fresh.allElements(again, kernel)
		if diff := cmp.Diff(want, kernel); diff != "" {
			t.Fatalf("step %d: -want +got:\n%s", step, diff)
		}
		if diff := cmp.Diff(texts(again.errors()), texts(next.errors())); diff != "" {
			t.Fatalf("step %d: problems -want +got:\n%s", step, diff)
		}
		if diff := cmp.Diff(fresh.zones.assigned, d.zones.assigned, cmp.AllowUnexported(zoneKey{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatalf("step %d: zones -want +got:\n%s", step, diff)
		}
		restarted := &Rules{zones: *newZones()}
		if diff := cmp.Diff(kernel, restarted.allElements(newState(wanted), kernel)); diff != "" {
			t.Fatalf("step %d: after a restart -want +got:\n%s", step, diff)
		}
		owner := make(map[uint16]zoneKey)
		for key, zone := range d.zones.assigned {
			if other, twice := owner[zone]; twice {
				t.Fatalf("step %d: %v and %v have zone %d", step, key, other, zone)
			}
			owner[zone] = key
		}
	}
}

func texts(errs []error) []string {
	var all []string
	for _, err := range errs {
		all = append(all, err.Error())
	}
	return all
}

// TestDifferenceNothing finds no difference, and has nothing to say to the kernel.
func TestDifferenceNothing(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	forwards := []desired.Forward{randomForward(r, vipA), randomForward(r, vipB)}
	d := &Rules{zones: *newZones(), last: newState(desired.Datapath{Forwards: forwards})}
	d.allElements(d.last, nil)
	reversed := slices.Clone(forwards)
	slices.Reverse(reversed)
	if old, new := d.difference(d.last, newState(desired.Datapath{Forwards: reversed})); len(old) != 0 || len(new) != 0 {
		t.Errorf("old %v, new %v", old, new)
	}
}

// TestStateBase knows what an update cannot begin with.
func TestStateBase(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		state *state
		want  bool
	}{
		{"nothing", newState(desired.Datapath{}), true},
		{"VIPs", newState(desired.Datapath{Forwards: []desired.Forward{{VIP: vipB}, {VIP: vipA}}}), true},
		{"a VIP twice", newState(desired.Datapath{Forwards: []desired.Forward{{VIP: vipA}, {VIP: vipB}, {VIP: vipA}}}), false},
		{"a zone missing", &state{zones: errors.New("no zone")}, false},
	} {
		if got := test.state.complete(); got != test.want {
			t.Errorf("%s: got %t", test.name, got)
		}
	}
}

// TestNetnsDifference has the kernel hold what an update takes it to hold.
func TestNetnsDifference(t *testing.T) {
	t.Parallel()
	netnstest.New(t, "node").Do(func() {
		r := rand.New(rand.NewPCG(5, 5))
		vips := []netip.Addr{vipA, vipB, netip.MustParseAddr("2001:db8::100"), netip.MustParseAddr("2001:db8::101")}
		pods := []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("10.244.2.0/24"), netip.MustParsePrefix("fd00::/64")}
		d := NewRules()
		forwards := make(map[netip.Addr]desired.Forward)
		var wanted desired.Datapath
		for step := range 200 {
			edit(r, vips, forwards)
			if step%10 == 0 {
				wanted.PodCIDRs = pods[r.IntN(3):]
			}
			wanted.Forwards = slices.Collect(maps.Values(forwards))
			err := d.Sync(wanted)
			if d.last == nil {
				t.Fatalf("step %d: %v", step, err)
			}
			known, _, err := d.table.Read()
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			got, specified, err := nft.NewTable(datapathSpec).Read()
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			if diff := cmp.Diff(known, got); diff != "" || !specified {
				t.Fatalf("step %d: specified %t, -known +read:\n%s", step, specified, diff)
			}
		}
		if n := d.Repairs(); n != 0 {
			t.Errorf("%d repairs", n)
		}
	})
}
