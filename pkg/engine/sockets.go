package engine

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// poller receives and sends VRRP packets on the LANs for the loop. Times are
// nanoseconds of one monotonic clock. Only Wake may be called from another
// goroutine.
type poller interface {
	Now() int64
	Use([]*lan.Conn)
	Broken() []*lan.Conn
	Wait(deadline int64) error
	Receive(*lan.Packet) bool
	Send(index int, source, destination netip.Addr, payload []byte) error
	SendVia(index, via int, source, destination netip.Addr, payload []byte) error
	Wake()
}

// sockets are the connections that the loop listens on, and the routers heard there.
type sockets struct {
	poller poller
	post   func(socketOrder)
	events *events
	// wanted are the interfaces to listen on, conns the connections in use.
	wanted []lan.Interface
	conns  []*lan.Conn
	// listening has the time since which a connection is listened on, failed the error
	// of each connection that could not be opened.
	listening map[portKey]vrrp.Time
	failed    map[portKey]error
	// monitors are the routers heard on each connection since it is listened on, also
	// those of virtual routers that are not ours.
	monitors map[portKey]*vrrp.Monitor
	// unmatched counts the packets that belong to no virtual router, by reason.
	unmatched map[string]uint64
}

func newSockets(p poller, post func(socketOrder), e *events) *sockets {
	return &sockets{
		poller: p, post: post, events: e,
		listening: map[portKey]vrrp.Time{}, failed: map[portKey]error{}, monitors: map[portKey]*vrrp.Monitor{},
		unmatched: map[string]uint64{},
	}
}

// want sets the interfaces to listen on. A connection that is not wanted any more is
// used until the worker says that it is closed: it may be wanted again before
// the worker looks.
func (s *sockets) want(interfaces []lan.Interface) {
	s.wanted = interfaces
	s.post(socketOrder{interfaces: interfaces})
}

// opened replaces the connections by those of r, and gives back those that are not
// used any more. Every result must pass here: a connection that only one of them has is
// to be given back too.
func (s *sockets) opened(r socketResult, now vrrp.Time) {
	old := s.conns
	s.conns, s.failed = r.conns, r.failed
	s.poller.Use(s.conns)
	since := map[portKey]vrrp.Time{}
	for _, p := range s.conns {
		port := keyOf(p.Interface)
		since[port] = now
		if began, ok := s.listening[port]; ok && slices.Contains(old, p) {
			since[port] = began
		}
		if s.monitors[port] == nil {
			s.monitors[port] = &vrrp.Monitor{}
		}
	}
	s.listening = since
	maps.DeleteFunc(s.monitors, func(p portKey, _ *vrrp.Monitor) bool { _, ok := since[p]; return !ok })
	unused := slices.DeleteFunc(slices.Clone(old), func(p *lan.Conn) bool { return slices.Contains(s.conns, p) })
	if len(unused) > 0 {
		s.post(socketOrder{interfaces: s.wanted, unused: unused})
	}
	s.logFailures()
}

func (s *sockets) logFailures() {
	var errs []error
	for _, i := range s.wanted {
		if err := s.failed[keyOf(i)]; err != nil {
			errs = append(errs, err)
		}
	}
	s.events.logError(logKey{what: "listen"}, "Listening for VRRP is incomplete", errors.Join(errs...))
}

// retry asks for the connections that could not be opened, and for others in place of
// those that work no more. It reports whether there are such.
func (s *sockets) retry() (broken bool) {
	conns := s.poller.Broken()
	if len(s.failed) == 0 && len(conns) == 0 {
		return false
	}
	for _, p := range conns {
		delete(s.listening, keyOf(p.Interface))
	}
	s.post(socketOrder{interfaces: s.wanted, broken: conns})
	return len(conns) > 0
}

// deaf reports whether nothing can be heard on a connection: its sockets could not be
// opened or, for a router that runs, are not open, and silence would say nothing.
// A router that does not run yet waits for them.
func (s *sockets) deaf(p portKey, runs bool) bool {
	_, listening := s.listening[p]
	return s.failed[p] != nil || runs && !listening
}

// since returns the time since which a port is listened on.
func (s *sockets) since(p portKey) (since vrrp.Time, listening bool) {
	since, listening = s.listening[p]
	return since, listening
}

// seen returns the routers heard on a port, nil if it is not listened on.
func (s *sockets) seen(p portKey) *vrrp.Monitor { return s.monitors[p] }

// heardFor returns the routers heard on a port that use a VRID.
func (s *sockets) heardFor(p portKey, vrid uint8, now vrrp.Time) []vrrp.ObservedRouter {
	return s.monitors[p].RoutersWithVRID(now, vrid)
}

// observe records an advertisement of another node.
func (s *sockets) observe(p portKey, arrived vrrp.Time, h vrrp.Header, payload []byte) {
	if monitor := s.monitors[p]; monitor != nil {
		monitor.Observe(arrived, h, payload)
	}
}

// countUnmatched counts a packet that belongs to no virtual router.
func (s *sockets) countUnmatched(d vrrp.Discard) { s.unmatched[d.String()]++ }

// vridConflict returns the use of an instance's VRID for another virtual router, and
// suggests a VRID that is neither in use nor one of routers'.
func (s *sockets) vridConflict(in *instance, routers []desired.Router, now vrrp.Time) (desired.Cause, bool) {
	monitor := s.monitors[in.port()]
	with, detail, found := monitor.Conflict(now, in.applied)
	if !found {
		return desired.Cause{}, false
	}
	cause := desired.Cause{Reason: desired.FaultVRIDConflict, Message: fmt.Sprintf("%s uses it with %s", with.Source, detail)}
	ours := map[uint8]bool{}
	for i := range routers {
		ours[routers[i].VRID] = true
	}
	for i := range 254 {
		if vrid := uint8((int(in.key.VRID)+i)%255 + 1); !ours[vrid] && len(monitor.RoutersWithVRID(now, vrid)) == 0 {
			cause.Message += fmt.Sprintf("; VRID %d is free", vrid)
			break
		}
	}
	return cause, true
}

// names returns the interfaces that are listened on, sorted.
func (s *sockets) names() (names []string) {
	for _, p := range s.conns {
		if _, ok := s.listening[keyOf(p.Interface)]; ok {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names) // It has a connection for each family.
}

// foreign returns the routers heard whose virtual router is none of ours.
func (s *sockets) foreign(ours func(desired.RouterKey) bool, now vrrp.Time) (all []desired.ForeignRouter) {
	for _, p := range s.conns {
		if _, ok := s.listening[keyOf(p.Interface)]; !ok {
			continue
		}
		for _, h := range s.monitors[keyOf(p.Interface)].Routers(now) {
			key := desired.RouterKey{Interface: p.Name, Family: h.Family, VRID: h.VRID}
			if ours(key) {
				continue
			}
			all = append(all, desired.ForeignRouter{
				RouterKey: key, Source: h.Source, Version: h.Version, Priority: h.Priority, Interval: h.Interval, Addresses: h.Addresses,
			})
		}
	}
	return all
}
