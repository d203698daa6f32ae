package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var (
	errTimeout = errors.New("timeout")
	errCut     = errors.New("closed before the answer was complete")
)

// errStatus is an answer other than 200.
type errStatus int

func (e errStatus) Error() string { return fmt.Sprintf("HTTP status %d", int(e)) }

// Kind is a kind of failure.
type Kind string

// The kinds of failures.
const (
	KindTimeout     Kind = "timeout"     // no complete answer within Timeout
	KindRefused     Kind = "refused"     // a reset, or an ICMP error, to the first packet
	KindReset       Kind = "reset"       // a reset later
	KindUnreachable Kind = "unreachable" // nobody has the address, or there is no route
	KindHTTP        Kind = "http"        // an answer that is not a good one
	KindOther       Kind = "other"
)

func kindOf(err error) Kind {
	var status errStatus
	switch {
	case errors.Is(err, errTimeout), errors.Is(err, unix.ETIMEDOUT):
		return KindTimeout
	case errors.Is(err, unix.ECONNREFUSED):
		return KindRefused
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return KindReset
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ENETDOWN):
		return KindUnreachable
	case errors.As(err, &status), errors.Is(err, errCut):
		return KindHTTP
	default:
		return KindOther
	}
}

// Success is an answer.
type Success struct {
	Begin time.Time // when the connection was begun
	End   time.Time // when the answer was complete
	Body  string
}

// Node returns the node that answered, if the answer is of the echo server.
func (s Success) Node() string { return Field(s.Body, "node") }

// Failure is a connection that brought no answer.
type Failure struct {
	At   time.Time // when it failed; it may have been begun up to Timeout before
	Kind Kind
	Err  error
}

// Result is what a probe has seen.
type Result struct {
	Begin, End time.Time
	Begun      int       // connections
	Successes  []Success // by their End
	Failures   []Failure
	// Lag is the longest time between two ticks: more than a little over the probe's
	// interval, and the machine was too busy to measure as exactly as that.
	Lag time.Duration

	bodies map[string]string
}

// succeed notes an answer. Bodies mostly differ in the client's port alone, which
// nobody wants to know at every tick; what is left is stored once.
func (r *Result) succeed(begin, end time.Time, body string) {
	body = strings.TrimSpace(body)
	if r.bodies == nil {
		r.bodies = map[string]string{}
	}
	if client := Field(body, "client"); client != "" {
		if i := strings.LastIndexByte(client, ':'); i >= 0 {
			body = strings.Replace(body, "client="+client, "client="+client[:i], 1)
		}
	}
	if _, ok := r.bodies[body]; !ok {
		r.bodies[strings.Clone(body)] = strings.Clone(body)
	}
	r.Successes = append(r.Successes, Success{begin, end, r.bodies[body]})
}

func (r *Result) fail(at time.Time, err error) {
	r.Failures = append(r.Failures, Failure{at, kindOf(err), err})
}

func (r *Result) clone() *Result {
	c := *r
	c.Successes = slices.Clone(r.Successes)
	c.Failures = slices.Clone(r.Failures)
	c.bodies = nil
	return &c
}

// next returns the Result that goes on where this one ends.
func (r *Result) next() Result {
	n := Result{Begin: r.Begin, End: r.End, bodies: r.bodies}
	if last := len(r.Successes) - 1; last >= 0 {
		n.Begin = r.Successes[last].End
	}
	return n
}

// Gap is a time without answers.
type Gap struct {
	From, To time.Time
	// Before and After are the last answer before it and the first one after it;
	// empty at the ends of the probing.
	Before, After string
}

// Duration is how long it was.
func (g Gap) Duration() time.Duration { return g.To.Sub(g.From) }

func (g Gap) String() string {
	return fmt.Sprintf("%s without an answer (before: %q, after: %q)", g.Duration().Round(100*time.Microsecond), g.Before, g.After)
}

// Gaps returns the times without answers that are at least that long.
func (r *Result) Gaps(atLeast time.Duration) []Gap {
	var gaps []Gap
	g := Gap{From: r.Begin}
	add := func(to time.Time, after string) {
		g.To, g.After = to, after
		if g.Duration() >= atLeast {
			gaps = append(gaps, g)
		}
		g = Gap{From: to, Before: after}
	}
	for _, s := range r.Successes {
		add(s.End, s.Body)
	}
	if r.End.After(g.From) {
		add(r.End, "")
	}
	return gaps
}

// Outage returns the longest time between consecutive answers. The beginning and
// the end of the probing count as answers, so that a service that was never there,
// or never came back, is not taken for a good one.
func (r *Result) Outage() time.Duration { return r.OutageAfter(r.Begin) }

// Longest returns the longest of the Gaps; the first one if there are several.
func (r *Result) Longest() Gap {
	var longest Gap
	for _, g := range r.Gaps(0) {
		if g.Duration() > longest.Duration() {
			longest = g
		}
	}
	return longest
}

// OutageAfter is Outage of the gaps that end after t. A gap that t is within counts
// with its whole length.
func (r *Result) OutageAfter(t time.Time) time.Duration {
	var longest time.Duration
	for _, g := range r.Gaps(0) {
		if g.To.After(t) {
			longest = max(longest, g.Duration())
		}
	}
	return longest
}

// Failed returns how many connections failed, by kind.
func (r *Result) Failed() map[Kind]int {
	n := map[Kind]int{}
	for _, f := range r.Failures {
		n[f.Kind]++
	}
	return n
}

// Nodes returns how many answers each node gave.
func (r *Result) Nodes() map[string]int {
	n := map[string]int{}
	for _, s := range r.Successes {
		n[s.Node()]++
	}
	return n
}

func (r *Result) String() string {
	var parts []string
	failed, nodes := r.Failed(), r.Nodes()
	for _, k := range slices.Sorted(maps.Keys(failed)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, failed[k]))
	}
	s := fmt.Sprintf("%d connections in %s: %d answers, %d failures", r.Begun, r.End.Sub(r.Begin).Round(time.Millisecond), len(r.Successes), len(r.Failures))
	if len(parts) > 0 {
		s += " (" + strings.Join(parts, ", ") + ")"
		last := r.Failures[len(r.Failures)-1]
		s += fmt.Sprintf(", last: %v", last.Err)
	}
	parts = nil
	for _, k := range slices.Sorted(maps.Keys(nodes)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, nodes[k]))
	}
	return s + fmt.Sprintf("; by node: %s; longest outage %s, lag %s", strings.Join(parts, ", "),
		r.Outage().Round(100*time.Microsecond), r.Lag.Round(100*time.Microsecond))
}

// Field returns the value of a name in an answer like that of the echo server,
// "host=a node=b client=c"; empty if it is not there.
func Field(body, name string) string {
	for f := range strings.FieldsSeq(body) {
		if v, ok := strings.CutPrefix(f, name+"="); ok {
			return v
		}
	}
	return ""
}

// parseAnswer reads an HTTP answer as far as it has come. One that has neither a
// length nor chunks counts as complete with its header.
func parseAnswer(data []byte) (body string, complete bool, err error) {
	if !bytes.Contains(data, []byte("\r\n\r\n")) {
		return "", false, nil
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), nil)
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", errCut, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", errCut, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", false, errStatus(resp.StatusCode)
	}
	return string(b), true, nil
}
