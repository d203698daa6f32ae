package failures

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
)

// What a cell measures, each since the fault began.
const (
	outage  = "no answer"        // the longest time without an answer to new connections
	two     = "two answer"       // in which the old Master answered ARP or ND beside the new
	silent  = "old one answers"  // until the last ARP or ND answer of the old Master
	gone    = "old address gone" // until the old Master no longer had the address
	back    = "back after"       // until the address was there again
	noticed = "noticed after"    // until the daemon called itself unhealthy
)

const (
	// crash, release and lease are the targets: a takeover after silence, a
	// planned one, and the end of an address that nobody renews.
	crash   = 450 * time.Millisecond
	release = 150 * time.Millisecond
	lease   = 3 * time.Second
	// silence is the target for the answers of a host whose daemon is dead.
	silence = 600 * time.Millisecond
	// least is what a test bound is not below.
	least = 5 * time.Second
	// answersEnd bounds how long a host whose daemon is dead, hangs or stands still
	// may answer ARP and ND for its addresses: the kernel's answers depend on pulses
	// that only a healthy Master sends.
	answersEnd = time.Second
	// leaseEnd bounds how long it may hold them.
	leaseEnd = 5 * time.Second
)

// cell is a fault and what is seen of it.
type cell struct {
	name string
	// The texts of its row: what happens, what clients see, what an operator
	// sees beside sees, and what is to be done.
	event, clients, operator, remedy string
	sees                             []sight

	// args are flags of all daemons, command what they are started by; stranger
	// asks for a fourth host without a daemon.
	args     []string
	command  func(host int) []string
	stranger bool

	// fault makes the fault, and heal ends it.
	fault, heal func(s *site) error
	// during checks what is to be seen while the fault lasts; it waits for it.
	during func(s *site)
	// stays means that the VIPs stay where they are, only4 that the IPv6 VIP does.
	stays bool
	only4 bool
	// returns means that the VIPs go back with the healing.
	returns bool
	// graceful means that the old Master lets go first: two never answer.
	graceful bool
	// dead means that the daemon cannot let go: the kernel does.
	dead bool
	// split means that the old Master does not hear the other virtual router's.
	split bool
	// everyone means that the fault is not of one node: the other virtual router
	// is concerned, too.
	everyone bool
	// silentLog means that the daemons' logs cannot be read.
	silentLog bool
	// whole is for faults that are another course of events altogether.
	whole func(s *site)
	// targets are of what is measured; without one of outage it is crash, or
	// release for a graceful fault.
	targets map[string]time.Duration
}

// target returns the target of a figure of the cell.
func (c *cell) target(what string) time.Duration {
	if t, ok := c.targets[what]; ok {
		return t
	}
	switch {
	case what == outage && c.graceful, what == silent && c.graceful, what == gone && c.graceful:
		return release
	case what == outage, what == two && !c.dead, what == silent && !c.dead, what == gone && !c.dead:
		return crash
	}
	if c.dead && (what == silent || what == two) {
		return silence
	}
	return lease
}

// bound returns what the cell asserts of a figure.
func (c *cell) bound(what string) time.Duration {
	switch {
	case what == two && c.graceful:
		return 0
	case c.dead && (what == two || what == silent):
		return answersEnd
	case c.dead && what == gone:
		return leaseEnd
	}
	return max(5*c.target(what), least)
}

// sight is a line of a log that tells the operator, and the Event that does.
type sight struct {
	who    int
	line   string
	fields []string
	event  string
	text   string // what the document says of it
}

// hosts are where it may be: on a busy machine the third may be the first to take over.
func (w sight) hosts() []int {
	if w.who == next {
		return []int{next, third}
	}
	return []int{w.who}
}

// became is a change of state.
func became(who int, state, reason string) sight {
	event := state
	if state == "Initialize" {
		event = "Fault"
		if reason == "shutdown" {
			event = "Shutdown"
		}
	}
	return sight{
		who: who, line: "Virtual router changed state", fields: []string{`state="` + state + `"`, `reason="` + reason}, event: event,
		text: fmt.Sprintf("%s: `%s`, `%s`", roles[who], state, reason),
	}
}

// alarmed is the beginning of an alarm.
func alarmed(who int, reason string) sight {
	return sight{
		who: who, line: "Alarm began", fields: []string{`reason="` + reason + `"`}, event: "Alarm",
		text: fmt.Sprintf("%s: alarm `%s`", roles[who], reason),
	}
}

// logged is another line.
func logged(who int, line string, fields ...string) sight {
	return sight{who: who, line: line, fields: fields, text: fmt.Sprintf("%s: log `%s`", roles[who], line)}
}

// seen reports whether the operator sees it.
func (s *site) seen(w sight) error {
	if w.event != "" && !slices.ContainsFunc(s.API.Events()[s.events:], func(e lab.Event) bool {
		return e.Reason == w.event && slices.ContainsFunc(w.hosts(), func(host int) bool {
			return e.Node == s.Hosts[host].Name || strings.HasPrefix(e.Message, s.Hosts[host].Name+" ")
		})
	}) {
		return fmt.Errorf("no Event %s of n%v", w.event, w.hosts())
	}
	if s.cell.silentLog {
		return nil
	}
	for _, host := range w.hosts() {
		if slices.ContainsFunc(s.lines(host), func(line string) bool {
			return strings.Contains(line, w.line) && !slices.ContainsFunc(w.fields, func(f string) bool { return !strings.Contains(line, f) })
		}) {
			return nil
		}
	}
	return fmt.Errorf("no line %q with %q of n%v", w.line, w.fields, w.hosts())
}

// run tries the cell, and returns what it has measured. A fault that a busy machine
// keeps from being what it is to be is tried several times.
func (c *cell) run(t *testing.T, tries int) map[string]time.Duration {
	s := newSite(t, c)
	s.begin()
	if c.whole != nil {
		c.whole(s)
		if _, away := s.figures[gone]; !away {
			s.figures[outage] = s.outage(vips...)
		}
		s.look(c)
		s.judge()
		return s.figures
	}
	err := c.fault(s)
	if errors.Is(err, errSlow) && tries > 1 {
		return c.run(t, tries-1)
	}
	s.check(err)
	moving := vips
	if c.only4 {
		moving = []netip.Addr{vip4}
	}
	if !c.stays {
		// Who holds it is known later than that another does: the old may go on.
		for _, a := range moving {
			s.eventually("another is to hold "+a.String(), func() error {
				if got := s.Recorder.Holders(a); len(got) == 0 || got[len(got)-1] == old {
					return fmt.Errorf("%s is held by %v", a, got)
				}
				return nil
			})
		}
	}
	if c.during != nil {
		c.during(s)
	} else {
		s.waitSettled(moving...)
	}
	s.waitAnswered(20, vips...)
	s.bystander()
	if !c.stays {
		for _, a := range moving {
			s.measure(a)
		}
	}

	if c.heal != nil {
		s.check(c.heal(s))
	}
	if c.stays {
		s.waitAlone(old, moving...)
	} else if s.waitSettled(moving...); !c.returns {
		s.waitState(old, "Backup", moving...)
	}
	s.bystander()
	s.waitAnswered(20)
	s.figures[outage] = s.outage(moving...)
	if _, ok := c.targets[back]; ok {
		// What is away for less than the recorder takes to read it was not away.
		s.figures[back] = 0
		if at, ok := s.rebound(vip4); ok {
			s.figures[back] = at.Sub(s.at)
		}
	}
	s.look(c)
	s.judge()
	s.again(moving...)
	return s.figures
}

// look waits until the operator has seen what there is to see.
func (s *site) look(c *cell) {
	s.t.Helper()
	for _, w := range c.sees {
		s.eventually("the operator sees it", func() error { return s.seen(w) })
	}
}

// again lets the VIPs fail over once more: to the healed node, if it lost them.
func (s *site) again(moving ...netip.Addr) {
	s.t.Helper()
	s.waitState(next, "Backup", s.heldBy(old, moving...)...)
	holders := map[int]bool{}
	for _, a := range moving {
		holders[s.Recorder.Holders(a)[0]] = true
	}
	for host := range holders {
		s.check(s.daemons[host].Terminate())
	}
	s.waitSettled(moving...)
	if !holders[old] {
		s.waitAlone(old, moving...)
	}
	s.waitAnswered(20, moving...)
}

// bystander checks that the other virtual router has lost nothing.
func (s *site) bystander() {
	s.t.Helper()
	if s.cell.everyone {
		return
	}
	for _, b := range s.Recorder.Bindings(s.at, other) {
		if !s.cell.split || b.Host == third {
			s.t.Errorf("the other VIP: n%d holds it: %v", b.Host, b.Held)
		}
	}
	if got := s.questions.Repliers(other, s.at); !s.cell.split && !slices.Equal(got, []int{third}) {
		s.t.Errorf("the other VIP is answered for by %v", got)
	}
	for _, f := range s.probes[other].Snapshot().Failures {
		s.t.Errorf("the other VIP: a connection failed: %v", f.Err)
	}
	for _, line := range s.lines(third) {
		if strings.Contains(line, "Virtual router changed state") && strings.Contains(line, "vrid=53") {
			s.t.Errorf("the other virtual router: %s", line)
		}
	}
}

// outage returns the longest time without an answer since the fault.
func (s *site) outage(addresses ...netip.Addr) time.Duration {
	var longest time.Duration
	for _, a := range addresses {
		longest = max(longest, s.probes[a].Snapshot().OutageAfter(s.at))
	}
	return longest
}

// measure adds what an address's move showed: of several addresses the longest.
func (s *site) measure(a netip.Addr) {
	figures := s.figures
	var last time.Time
	moved, both := false, 0
	for _, r := range s.questions.Replies(a, s.at) {
		switch {
		case r.Host != old:
			moved = true
		case moved:
			both++
			fallthrough
		default:
			last = r.At
		}
	}
	if !moved {
		s.t.Errorf("nobody was seen to answer for %s", a)
	}
	figures[two] = max(figures[two], time.Duration(both)*askEvery)
	figures[silent] = max(figures[silent], 0)
	if !last.IsZero() {
		figures[silent] = max(figures[silent], last.Sub(s.at))
	}
	for _, b := range s.Recorder.Bindings(s.at, a) {
		if b.Host == old && !b.Held {
			figures[gone] = max(figures[gone], b.At.Sub(s.at))
		}
	}
}

// rebound returns when the old Master got an address again that it had lost.
func (s *site) rebound(a netip.Addr) (at time.Time, ok bool) {
	for _, b := range s.Recorder.Bindings(s.at, a) {
		if b.Host == old && b.Held {
			at, ok = b.At, true
		}
	}
	return at, ok
}

// judge prints the figures and compares them with their bounds.
func (s *site) judge() {
	s.t.Helper()
	for _, what := range figureNames {
		d, ok := s.figures[what]
		if !ok {
			continue
		}
		s.t.Logf("measured: failures_%s_%s_ms=%s target=%d", s.cell.name, strings.ReplaceAll(what, " ", "_"), millis(d), s.cell.target(what).Milliseconds())
		if bound := s.cell.bound(what); d > bound {
			s.t.Errorf("%s %v, want at most %v", what, d, bound)
		}
	}
}

// figureNames are all, in the order of the document.
var figureNames = []string{outage, two, silent, gone, back, noticed}

// millis shows a time with three digits at least.
func millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 100 {
		return fmt.Sprintf("%.3g", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}
