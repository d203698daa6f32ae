package controller

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/config"
)

// setsOf has a VIP for each of the words, which are sets of Services.
func setsOf(words ...string) (entries []config.Entry, sets map[netip.Addr]string) {
	sets = map[netip.Addr]string{}
	for i, set := range words {
		e := config.Entry{VIP: netip.AddrFrom4([4]byte{10, 4, byte(i >> 8), byte(i)})}
		entries = append(entries, e)
		if set != "" {
			sets[e.VIP] = set
		}
	}
	return entries, sets
}

func TestAutomaticVRIDs(t *testing.T) {
	t.Parallel()
	o := testOptions()
	entries, sets := setsOf("vip/web", "vip/dns", "vip/web", "", "vip/dns, vip/web")
	// A daemon of another version must come to the same numbers.
	want := map[string]uint8{"vip/web": 169, "vip/dns": 228, "vip/dns, vip/web": 250}
	if diff := cmp.Diff(want, automaticVRIDs(o, entries, sets)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The flag has the one, an entry the next after it.
	o.VRID = 169
	entries[3].VRID = 170
	want["vip/web"] = 171
	if diff := cmp.Diff(want, automaticVRIDs(o, entries, sets)); diff != "" {
		t.Errorf("VRIDs in use (-want +got):\n%s", diff)
	}
	// An entry that names its own needs no other.
	entries[0].VRID, entries[2].VRID = 60, 60
	delete(want, "vip/web")
	if diff := cmp.Diff(want, automaticVRIDs(o, entries, sets)); diff != "" {
		t.Errorf("VRID named (-want +got):\n%s", diff)
	}
}

// TestAutomaticVRIDsUsedUp: the sets that are left have none.
func TestAutomaticVRIDsUsedUp(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.VRIDs = config.VRIDRange{First: 100, Last: 253}
	entries, sets := setsOf("vip/a", "vip/b", "vip/c")
	got := automaticVRIDs(o, entries, sets)
	if vrids := slices.Sorted(maps.Values(got)); !slices.Equal(vrids, []uint8{254, 255}) || got["vip/c"] != 0 {
		t.Errorf("%v, want 254 and 255 for the first two", got)
	}
}

// TestAutomaticVRIDsStay: a set that comes or goes moves those that it stands
// in the way of, and no other.
func TestAutomaticVRIDsStay(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	moved, checked := 0, 0
	for range 200 {
		var words []string
		for range 1 + rng.IntN(40) {
			words = append(words, fmt.Sprintf("ns%d/svc%d", rng.IntN(5), rng.IntN(1000)))
		}
		entries, sets := setsOf(words...)
		before := automaticVRIDs(testOptions(), entries[1:], sets)
		after := automaticVRIDs(testOptions(), entries, sets)
		for set, vrid := range before {
			checked++
			if after[set] != vrid {
				moved++
			}
		}
	}
	if moved*50 > checked {
		t.Errorf("%d of %d sets moved when one came, want one in fifty at most", moved, checked)
	}
}

// TestAutomaticVRIDsApart: whatever the entries and flags are, VIPs of
// different sets share no automatic VRID, and other VIPs have none unless they
// ask for it.
func TestAutomaticVRIDsApart(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		o := testOptions()
		o.VRID = 1 + rng.IntN(255)
		if rng.IntN(2) == 0 {
			a, b := uint8(1+rng.IntN(255)), uint8(1+rng.IntN(255))
			o.VRIDs = config.VRIDRange{First: min(a, b), Last: max(a, b)}
		}
		var words []string
		services := 1 + rng.IntN(160)
		for range rng.IntN(200) {
			word := ""
			if rng.IntN(3) > 0 {
				word = fmt.Sprintf("vip/s%d", rng.IntN(services))
			}
			words = append(words, word)
		}
		entries, sets := setsOf(words...)
		for i := range entries {
			if rng.IntN(5) == 0 {
				entries[i].VRID = uint8(1 + rng.IntN(255))
			}
		}
		l := &locals{options: o, sets: sets, vrids: automaticVRIDs(o, entries, sets)}
		other := slices.Clone(entries)
		rng.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
		if !maps.Equal(l.vrids, automaticVRIDs(o, other, sets)) {
			t.Fatalf("seed %d: the VRIDs depend on the order of the entries", seed)
		}
		asked := func(vrid uint8) bool {
			return o.VRIDs.IsZero() && int(vrid) == o.VRID || !o.VRIDs.IsZero() && vrid >= o.VRIDs.First && vrid <= o.VRIDs.Last ||
				slices.ContainsFunc(entries, func(e config.Entry) bool { return e.VRID == vrid })
		}
		owner := map[uint8]string{}
		for _, e := range entries {
			vrid, set := l.vridOf(e), sets[e.VIP]
			if vrid == 0 || e.VRID != 0 && vrid != e.VRID {
				t.Fatalf("seed %d: VRID %d of %+v", seed, vrid, e)
			}
			if asked(vrid) {
				continue // Nobody's own.
			}
			if vrid < firstAutomaticVRID || set == "" {
				t.Fatalf("seed %d: VRID %d, which nobody asked for, of set %q", seed, vrid, set)
			}
			if first, ok := owner[vrid]; ok && first != set {
				t.Fatalf("seed %d: VRID %d of %q and of %q", seed, vrid, first, set)
			}
			owner[vrid] = set
		}
	}
}
