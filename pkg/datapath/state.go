package datapath

import (
	"maps"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/desired"
)

// state is a desired state, and the problems of the parts that cannot be written.
type state struct {
	forwards []desired.Forward // By VIP.
	pods     []netip.Prefix
	problems map[netip.Addr][]error // By VIP.
	// zones is the problem with the zones, which are of all VIPs.
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

// complete reports whether an update can begin with the state: all zones are known,
// and each VIP has one forward.
func (s *state) complete() bool {
	for i := 1; i < len(s.forwards); i++ {
		if s.forwards[i-1].VIP == s.forwards[i].VIP {
			return false
		}
	}
	return s.zones == nil
}

// allElements returns all elements of the next state, given the current ones, which say
// what zones there are.
func (r *Rules) allElements(next *state, current elements) elements {
	clear(next.problems)
	var zones map[zoneKey]uint16
	zones, next.zones = r.zones.assign(allZoneKeys(next.forwards), current)
	all := emptyElements()
	all.addPods(next.pods)
	for _, f := range next.forwards {
		next.addProblems(f.VIP, all.addForward(f, zones, r.portStays))
	}
	return all
}

// difference returns the elements of the forwards that differ: those of the last
// state, which the table has, and those of the next one.
func (r *Rules) difference(last, next *state) (old, new elements) {
	clear(next.problems)
	gone, come, same := compareForwards(last.forwards, next.forwards)
	for _, f := range same {
		next.addProblems(f.VIP, last.problems[f.VIP])
	}
	if len(gone) == 0 && len(come) == 0 {
		return nil, nil
	}
	old, new = emptyElements(), emptyElements()
	for _, f := range gone {
		old.addForward(f, r.zones.assigned, r.portStays)
	}
	next.zones = r.zones.reassign(allZoneKeys(gone), allZoneKeys(come))
	for _, f := range come {
		next.addProblems(f.VIP, new.addForward(f, r.zones.assigned, r.portStays))
	}
	// Only these elements may belong to several forwards.
	removePrivate(old, privateListeners(next.forwards))
	removePrivate(new, privateListeners(last.forwards))
	return old, new
}

// compareForwards returns the forwards of old that are not in new, those of new
// that are not in old, and those in both. Both lists are sorted by VIP.
func compareForwards(old, new []desired.Forward) (gone, come, same []desired.Forward) {
	for len(old) > 0 || len(new) > 0 {
		switch {
		case len(new) == 0 || len(old) > 0 && byVIP(old[0], new[0]) < 0:
			gone, old = append(gone, old[0]), old[1:]
		case len(old) == 0 || byVIP(old[0], new[0]) > 0:
			come, new = append(come, new[0]), new[1:]
		case equalForwards(old[0], new[0]):
			same, old, new = append(same, new[0]), old[1:], new[1:]
		default:
			gone, old = append(gone, old[0]), old[1:]
			come, new = append(come, new[0]), new[1:]
		}
	}
	return gone, come, same
}

// privateListeners returns the elements of the daemon's own listeners.
func privateListeners(forwards []desired.Forward) elements {
	all := emptyElements()
	for _, f := range forwards {
		family, ok := familyOf(f.VIP)
		for _, p := range f.Ports {
			if target, known := familyOf(p.Target.Addr()); ok && known && target.number == family.number {
				all.addPrivate(p)
			}
		}
	}
	return all
}

func removePrivate(from, listeners elements) {
	for _, f := range families {
		set := f.named(setPrivate)
		maps.DeleteFunc(from[set], func(key, _ string) bool { _, ok := listeners[set][key]; return ok })
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
