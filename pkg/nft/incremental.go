package nft

import (
	"maps"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/desired"
)

// state is a desired state, and what of it cannot be done.
type state struct {
	forwards []desired.Forward // By VIP.
	pods     []netip.Prefix
	problems map[netip.Addr][]error // By VIP.
	// zones is what is wrong with the zones, which are of all VIPs.
	zones error
}

func newState(d desired.Datapath) *state {
	s := &state{forwards: d.Forwards, pods: d.PodCIDRs, problems: make(map[netip.Addr][]error)}
	if !slices.IsSortedFunc(s.forwards, byVIP) {
		s.forwards = slices.SortedStableFunc(slices.Values(s.forwards), byVIP)
	}
	return s
}

func byVIP(a, b desired.Forward) int { return a.VIP.Compare(b.VIP) }

// errors are the problems in the order of the VIPs.
func (s *state) errors() []error {
	var all []error
	if len(s.problems) > 0 {
		for i, f := range s.forwards {
			if i == 0 || s.forwards[i-1].VIP != f.VIP {
				all = append(all, s.problems[f.VIP]...)
			}
		}
	}
	if s.zones != nil {
		all = append(all, s.zones)
	}
	return all
}

func (s *state) addProblems(vip netip.Addr, problems []error) {
	if len(problems) > 0 {
		s.problems[vip] = append(s.problems[vip], problems...)
	}
}

// base tells that what differs from the state can be added to its elements: all
// zones are known, and each VIP has one forward.
func (s *state) base() bool {
	for i := 1; i < len(s.forwards); i++ {
		if s.forwards[i-1].VIP == s.forwards[i].VIP {
			return false
		}
	}
	return s.zones == nil
}

// whole returns all elements that are wanted, given those that there are.
func (d *Datapath) whole(next *state, have contents) contents {
	clear(next.problems)
	var zones map[zoneKey]uint16
	zones, next.zones = d.zones.assign(allZoneKeys(next.forwards), have)
	want := emptyContents()
	want.addPods(next.pods)
	for _, f := range next.forwards {
		next.addProblems(f.VIP, want.addForward(f, zones, d.portStays))
	}
	return want
}

// part returns the elements of the forwards that differ from those of the last
// state, which there are: what they were and what they are to be.
func (d *Datapath) part(next *state, have contents) (was, is contents) {
	clear(next.problems)
	var gone, come []desired.Forward
	same := func(f desired.Forward) { next.addProblems(f.VIP, d.last.problems[f.VIP]) }
	before, after := d.last.forwards, next.forwards
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && byVIP(before[0], after[0]) < 0:
			gone, before = append(gone, before[0]), before[1:]
		case len(before) == 0 || byVIP(before[0], after[0]) > 0:
			come, after = append(come, after[0]), after[1:]
		default:
			if equalForwards(before[0], after[0]) {
				same(after[0])
			} else {
				gone, come = append(gone, before[0]), append(come, after[0])
			}
			before, after = before[1:], after[1:]
		}
	}
	was, is = make(contents), make(contents)
	if len(gone) == 0 && len(come) == 0 {
		return was, is
	}
	was, is = emptyContents(), emptyContents()
	for _, f := range gone {
		was.addForward(f, d.zones.assigned, d.portStays)
	}
	next.zones = d.zones.change(allZoneKeys(gone), allZoneKeys(come))
	for _, f := range come {
		next.addProblems(f.VIP, is.addForward(f, d.zones.assigned, d.portStays))
	}
	sharePrivate(was, is, have, next.forwards)
	return was, is
}

// sharePrivate leaves out what is no difference of the daemon's listeners, which
// are the only elements that several VIPs may have in common.
func sharePrivate(was, is, have contents, forwards []desired.Forward) {
	all := emptyContents()
	for _, f := range forwards {
		for _, p := range f.Ports {
			if f.VIP.Is4() == p.Target.Addr().Is4() && f.VIP.IsValid() {
				all.addPrivate(p)
			}
		}
	}
	for _, f := range families {
		set := f.named(setPrivate)
		maps.DeleteFunc(was[set], func(key, _ string) bool { _, left := all[set][key]; return left })
		maps.DeleteFunc(is[set], func(key, _ string) bool { _, there := have[set][key]; return there })
	}
}

func allZoneKeys(forwards []desired.Forward) []zoneKey {
	var keys []zoneKey
	for _, f := range forwards {
		if _, ok := familyOf(f.VIP); ok {
			keys = append(keys, zoneKeys(f)...)
		}
	}
	return keys
}

func equalForwards(a, b desired.Forward) bool {
	return a.VIP == b.VIP && a.Open == b.Open && slices.EqualFunc(a.Ports, b.Ports, equalPorts)
}

func equalPorts(a, b desired.Port) bool {
	sources := slices.Equal(a.Sources, b.Sources)
	a.Sources, b.Sources = nil, nil
	return sources && a.Protocol == b.Protocol && a.Port == b.Port && a.Target == b.Target &&
		a.KeepSource == b.KeepSource && a.Restricted == b.Restricted && a.Proxy == b.Proxy
}
