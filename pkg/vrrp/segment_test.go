package vrrp

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// segment is a simulated LAN on a virtual clock: hosts with one virtual router
// each, ours or a peer's model, and whole IP packets between them that are
// delayed, lost and cut off. It is a function of its seed and of the calls made
// to it.
type segment struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	now   Time
	hosts []*host
	// loss is the probability that a packet is lost on its way to one host,
	// and all that follow it for up to burst; duplicates that it arrives
	// twice. Of one sender's advertisements to one host never more than
	// lossRun in a row are lost, if that is not 0.
	loss, duplicates float64
	burst            time.Duration
	lossRun          int
	// maxDelay is the longest a packet is under way, maxLate the longest a
	// host takes to wake up, and maxNetlink the longest its kernel takes to
	// add or remove the addresses.
	maxDelay, maxLate, maxNetlink time.Duration
	// reorder lets packets overtake those of the same sender.
	reorder bool
	events  events
	serial  uint64
	// announcer is the Router that last set Output.Announce or became Master.
	announcer *host
	// doubles counts the promotions beside another Master.
	doubles int
	// drops counts the packets that models discarded.
	drops  int
	tenure tenure
	trace  []string
}

// tenure is how long the addresses were held by two hosts, or by none.
type tenure struct {
	holders   int
	since     Time
	two, none time.Duration // the longest
}

func (t *tenure) note(now Time, holders int) {
	switch since := now.Sub(t.since); {
	case t.holders == holders:
		return
	case t.holders > 1 && holders > 1:
		t.holders = holders
		return
	case t.holders > 1:
		t.two = max(t.two, since)
	case t.holders == 0:
		t.none = max(t.none, since)
	}
	t.holders, t.since = holders, now
}

// event is a packet that arrives at a host, or, without one, do.
type event struct {
	at     Time
	serial uint64
	to     *host
	packet []byte
	// announcement is whose announcement the packet is; nil for a message.
	announcement *host
	do           func()
}

type events []event

func (f events) Len() int { return len(f) }
func (f events) Less(i, j int) bool {
	return f[i].at < f[j].at || f[i].at == f[j].at && f[i].serial < f[j].serial
}
func (f events) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *events) Push(x any)   { *f = append(*f, x.(event)) }
func (f *events) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	(*f)[last] = event{}
	*f = (*f)[:last]
	return x
}

const (
	never    = Time(1<<63 - 1)
	minDelay = 20 * time.Microsecond
	// quickNetlink is the longest an idle kernel takes.
	quickNetlink = 100 * time.Microsecond
)

func newSegment(t *testing.T, seed uint64) *segment {
	return &segment{
		t:          t,
		seed:       seed,
		rng:        rand.New(rand.NewPCG(seed, 0)),
		maxDelay:   500 * time.Microsecond,
		maxLate:    200 * time.Microsecond,
		maxNetlink: quickNetlink,
	}
}

// pair returns a segment at rest whose host 0 is Master and host 1 Backup.
func pair(t *testing.T, changes ...func(c *Config)) (s *segment, master, backup *host) {
	t.Helper()
	s = newSegment(t, 1)
	for i, p := range []uint8{200, 100} {
		c := testConfig()
		c.Priority, c.Source = p, hostSource(i)
		for _, change := range changes {
			change(&c)
		}
		s.add(c).start()
	}
	s.run(10 * time.Second)
	if masters := s.masters(); len(masters) != 1 || masters[0] != s.hosts[0] {
		s.failf("not at rest")
	}
	return s, s.hosts[0], s.hosts[1]
}

// add adds a host that is down, with a Router.
func (s *segment) add(c Config) *host {
	h := &host{s: s, index: len(s.hosts), config: c}
	s.hosts = append(s.hosts, h)
	for _, other := range s.hosts {
		other.from = make([]link, len(s.hosts))
	}
	return h
}

// addPeer adds a host that is down, with the model of another implementation.
func (s *segment) addPeer(c Config, newPeer func(c Config) peer) *host {
	h := s.add(c)
	h.newPeer = newPeer
	return h
}

func newKeepalived(c Config) peer { return &keepalived{c: c} }

func newFRR(c Config) peer { return &frr{c: c} }

func (s *segment) logf(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%12.3f ms  ", float64(s.now)/float64(ms))+fmt.Sprintf(format, args...))
}

// failf fails the test with the trace.
func (s *segment) failf(format string, args ...any) {
	s.t.Helper()
	trace := strings.Join(s.trace[max(0, len(s.trace)-200):], "\n")
	s.t.Fatalf("%s\n%s\nseed %d; if this is TestSimulation, again: go test ./pkg/vrrp -run TestSimulation -vrrp.seed=%d",
		fmt.Sprintf(format, args...), trace, s.seed, s.seed)
}

// run advances the clock by d.
func (s *segment) run(d time.Duration) {
	s.t.Helper()
	s.runUntil(s.now.Add(d), func() bool { return false })
}

// runUntil advances the clock to end, or until done returns true.
func (s *segment) runUntil(end Time, done func() bool) {
	s.t.Helper()
	end = max(end, s.now)
	for !done() {
		var next *host
		at := end
		for _, h := range s.hosts {
			if h.up && h.wake < at {
				next, at = h, h.wake
			}
		}
		if len(s.events) > 0 && s.events[0].at <= at {
			e := heap.Pop(&s.events).(event)
			s.now = e.at
			switch {
			case e.do != nil:
				e.do()
			case e.announcement != nil:
				e.to.cache = e.announcement
			default:
				e.to.receive(e.packet)
			}
			continue
		}
		s.now = at
		if next == nil {
			return
		}
		next.loop()
	}
}

func (s *segment) push(e event) {
	s.serial++
	e.serial = s.serial
	heap.Push(&s.events, e)
}

// later calls do after d.
func (s *segment) later(d time.Duration, do func()) { s.push(event{at: s.now.Add(d), do: do}) }

// send sends a packet to all other hosts, or to the one with the destination address.
func (s *segment) send(from *host, destination netip.Addr, packet []byte) {
	for _, to := range s.hosts {
		if destination.IsMulticast() || destination == to.config.Source {
			s.carry(from, to, event{to: to, packet: packet})
		}
	}
}

// announce announces the addresses to all hosts.
func (s *segment) announce(from *host) {
	from.cache = from
	from.announced++
	for _, to := range s.hosts {
		s.carry(from, to, event{to: to, announcement: from})
	}
}

func (s *segment) carry(from, to *host, e event) {
	way := &to.from[from.index]
	if to == from || way.deaf {
		return
	}
	copies := 1
	if s.duplicates > 0 && s.rng.Float64() < s.duplicates {
		copies = 2
	}
	for range copies {
		if s.loses(way, e.announcement == nil) {
			continue
		}
		e.at = s.now.Add(minDelay + s.upTo(s.maxDelay-minDelay))
		if !s.reorder {
			e.at = max(e.at, way.last)
		}
		way.last = e.at
		s.push(e)
	}
}

// loses reports whether a packet is lost.
func (s *segment) loses(way *link, advertisement bool) bool {
	lost := s.now < way.lostUntil
	if !lost && s.loss > 0 && s.rng.Float64() < s.loss {
		lost = true
		way.lostUntil = s.now.Add(s.upTo(s.burst))
	}
	if !advertisement {
		return lost
	}
	if s.lossRun > 0 && way.lost >= s.lossRun {
		lost = false
	}
	way.lost++
	if !lost {
		way.lost = 0
	}
	return lost
}

func (s *segment) upTo(d time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(d) + 1))
}

// masters returns the hosts whose virtual router is Master.
func (s *segment) masters() []*host {
	var masters []*host
	for _, h := range s.hosts {
		if h.state() == Master {
			masters = append(masters, h)
		}
	}
	return masters
}

// holders returns the hosts whose kernels answer for the addresses.
func (s *segment) holders() []*host {
	var holders []*host
	for _, h := range s.hosts {
		if h.bound && (!h.frozen || s.now >= h.suspended) {
			holders = append(holders, h)
		}
	}
	return holders
}

// heal removes every fault of the LAN.
func (s *segment) heal() {
	s.logf("heal")
	s.loss, s.duplicates, s.burst, s.lossRun = 0, 0, 0, 0
	s.reorder, s.maxDelay = false, 500*time.Microsecond
	for _, h := range s.hosts {
		for i := range h.from {
			h.from[i].deaf, h.from[i].lostUntil = false, 0
		}
	}
}

// cut divides the LAN: hosts of different sides do not hear each other.
func (s *segment) cut(side func(h *host) int) {
	for _, h := range s.hosts {
		for _, other := range s.hosts {
			h.from[other.index].deaf = side(h) != side(other)
		}
	}
}
