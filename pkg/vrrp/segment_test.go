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

// segment is a simulated LAN on a virtual clock: hosts with one Router each,
// and whole IPv4 packets between them that are delayed, lost and cut off. It is
// a function of its seed and of the calls made to it.
type segment struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	now   Time
	hosts []*host
	// loss is the probability that a packet is lost on its way to one host;
	// duplicates that it arrives twice.
	loss, duplicates float64
	// maxDelay is the longest a packet is under way, maxLate the longest a
	// host takes to wake up.
	maxDelay, maxLate time.Duration
	// reorder lets packets overtake those of the same sender.
	reorder bool
	flying  flights
	serial  uint64
	// announcer is who announced the addresses last, as the caches of hosts
	// on the LAN have it.
	announcer *host
	trace     []string
}

// host is a host of the segment and does what the caller's loop does.
type host struct {
	s      *segment
	index  int
	config Config
	router *Router // nil while the host is down
	deaf   []bool  // by index: whose packets do not arrive here
	last   []Time  // by index: when the last of whose packets arrives here
	inbox  []packet
	// suspended until then: nothing is done, and if frozen, as a virtual
	// machine is that moves, nothing is received either.
	suspended Time
	frozen    bool
	// wake is when the loop runs next, due when it ought to.
	wake, due Time
	advert    Advertisement
	watch     watch
}

// watch is what the simulation itself knows about what a Backup heard, to judge
// its promotions by.
type watch struct {
	// master is when the last advertisement of a Master to be followed
	// arrived, and interval what it said; resigned and lower are when the
	// first resignation since then, and the last Master to be preempted, was
	// heard.
	master, resigned, lower Time
	interval                time.Duration
}

type packet struct {
	arrived Time
	octets  []byte
}

type flight struct {
	at     Time
	serial uint64
	to     *host
	octets []byte
}

type flights []flight

func (f flights) Len() int { return len(f) }
func (f flights) Less(i, j int) bool {
	return f[i].at < f[j].at || f[i].at == f[j].at && f[i].serial < f[j].serial
}
func (f flights) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flights) Push(x any)   { *f = append(*f, x.(flight)) }
func (f *flights) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	*f = (*f)[:last]
	return x
}

const (
	never    = Time(1<<63 - 1)
	minDelay = 20 * time.Microsecond
)

func newSegment(t *testing.T, seed uint64) *segment {
	return &segment{
		t:        t,
		seed:     seed,
		rng:      rand.New(rand.NewPCG(seed, 0)),
		maxDelay: 500 * time.Microsecond,
		maxLate:  200 * time.Microsecond,
	}
}

// add adds a host that is down.
func (s *segment) add(c Config) *host {
	h := &host{s: s, index: len(s.hosts), config: c}
	s.hosts = append(s.hosts, h)
	for _, other := range s.hosts {
		other.deaf = make([]bool, len(s.hosts))
		other.last = make([]Time, len(s.hosts))
	}
	return h
}

func (s *segment) logf(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%12.3f ms  ", float64(s.now)/float64(ms))+fmt.Sprintf(format, args...))
}

// failf ends the test and tells how it came to that.
func (s *segment) failf(format string, args ...any) {
	s.t.Helper()
	trace := strings.Join(s.trace[max(0, len(s.trace)-200):], "\n")
	s.t.Fatalf("%s\n%s\nseed %d; if this is TestSimulation, again: go test ./pkg/vrrp -run TestSimulation -vrrp.seed=%d",
		fmt.Sprintf(format, args...), trace, s.seed, s.seed)
}

// run lets time go by.
func (s *segment) run(d time.Duration) {
	s.t.Helper()
	s.runUntil(s.now.Add(d), func() bool { return false })
}

// runUntil lets time go by until the end, or until done.
func (s *segment) runUntil(end Time, done func() bool) {
	for !done() {
		var next *host
		at := end
		for _, h := range s.hosts {
			if h.wake < at && h.router != nil {
				next, at = h, h.wake
			}
		}
		if len(s.flying) > 0 && s.flying[0].at <= at {
			f := heap.Pop(&s.flying).(flight)
			s.now = f.at
			f.to.receive(f.octets)
			continue
		}
		s.now = at
		if next == nil {
			return
		}
		next.loop()
	}
}

// send puts a packet on the way to all others.
func (s *segment) send(from *host, octets []byte) {
	for _, to := range s.hosts {
		if to == from || to.deaf[from.index] {
			continue
		}
		copies := 1
		if s.rng.Float64() < s.duplicates {
			copies = 2
		}
		for range copies {
			if s.rng.Float64() < s.loss {
				continue
			}
			s.serial++
			at := s.now.Add(minDelay + s.upTo(s.maxDelay-minDelay))
			if !s.reorder {
				at = max(at, to.last[from.index])
			}
			to.last[from.index] = at
			heap.Push(&s.flying, flight{at, s.serial, to, octets})
		}
	}
}

func (s *segment) upTo(d time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(d) + 1))
}

// masters are the hosts that hold the addresses.
func (s *segment) masters() []*host {
	var masters []*host
	for _, h := range s.hosts {
		if h.router != nil && h.router.State() == Master {
			masters = append(masters, h)
		}
	}
	return masters
}

// heal makes the LAN as good as it gets.
func (s *segment) heal() {
	s.logf("heal")
	s.loss, s.duplicates, s.reorder, s.maxDelay = 0, 0, false, 500*time.Microsecond
	for _, h := range s.hosts {
		clear(h.deaf)
	}
}

// cut divides the LAN: hosts of different sides do not hear each other.
func (s *segment) cut(side func(h *host) int) {
	for _, h := range s.hosts {
		for _, other := range s.hosts {
			h.deaf[other.index] = side(h) != side(other)
		}
	}
}

// start boots the host and starts its Router.
func (h *host) start() {
	h.s.logf("%d starts: priority %d, interval %v", h.index, h.config.Priority, h.config.AdvertisementInterval)
	h.router = NewRouter(h.config)
	h.inbox, h.suspended, h.frozen = nil, h.s.now, false
	h.watchAnew()
	h.call("Startup", func() Output { return h.router.Startup(h.s.now) })
	h.schedule()
}

// crash takes the host down as a power cut does.
func (h *host) crash() {
	h.s.logf("%d crashes", h.index)
	h.router, h.inbox = nil, nil
}

// stop takes it down in good order.
func (h *host) stop() {
	h.call("Shutdown", func() Output { return h.router.Shutdown(h.s.now) })
	h.router, h.inbox = nil, nil
}

// suspend makes the host's loop stand still.
func (h *host) suspend(d time.Duration, frozen bool) {
	h.s.logf("%d suspended for %v, frozen %v", h.index, d, frozen)
	h.suspended, h.frozen = h.s.now.Add(d), frozen
	h.wake = max(h.wake, h.suspended)
}

// change changes the configuration of the running Router.
func (h *host) change(change func(c *Config)) {
	change(&h.config)
	h.watch.interval = min(h.watch.interval, h.config.AdvertisementInterval)
	h.s.logf("%d changes to priority %d, interval %v", h.index, h.config.Priority, h.config.AdvertisementInterval)
	h.call("SetConfig", func() Output { return h.router.SetConfig(h.s.now, h.config) })
	h.schedule()
}

// receive is the kernel's side: it takes the packet and wakes up the loop.
func (h *host) receive(octets []byte) {
	if h.router == nil || h.frozen && h.s.now < h.suspended {
		return
	}
	h.inbox = append(h.inbox, packet{h.s.now, octets})
	if h.due > h.s.now {
		h.due = h.s.now
		h.wake = max(h.suspended, h.s.now.Add(h.s.upTo(h.s.maxLate)))
	}
}

// loop is one round of the caller's loop.
func (h *host) loop() {
	now, late := h.s.now, h.s.now.Sub(h.due)
	for _, p := range h.inbox {
		header, payload, d := ParseIP(p.octets)
		if d == DiscardNone {
			_, d = Parse(header, payload, &h.advert)
		}
		if d != DiscardNone {
			h.s.failf("%d discarded a packet: %v", h.index, d)
		}
		h.note(p.arrived)
		h.call("Receive", func() Output { return h.router.Receive(now, p.arrived, header, &h.advert) })
	}
	h.inbox = h.inbox[:0]
	h.call("Stalled", func() Output { return h.router.Stalled(now, late) })
	h.call("Expire", func() Output { return h.router.Expire(now) })
	h.schedule()
	if h.due <= now {
		h.s.failf("%d does not go to sleep", h.index)
	}
}

// note remembers what the advertisement means to a Backup by the RFC.
func (h *host) note(arrived Time) {
	switch a := &h.advert; {
	case a.Priority == PriorityResign:
		if h.watch.resigned < 0 {
			h.watch.resigned = arrived
		}
	case a.Priority >= h.config.Priority || !h.config.Preempt:
		h.watch.master, h.watch.resigned, h.watch.interval = arrived, -1, a.Interval
	default:
		h.watch.lower = arrived
	}
}

// call makes a call to the Router, checks the Output and does what it says.
func (h *host) call(what string, call func() Output) {
	before := h.router.State()
	out := call()
	if err := checkOutput(h.router, h.config, before, h.s.now, out); err != nil {
		h.s.failf("%d: %s: %v", h.index, what, err)
	}
	if out.Announce || h.router.State() == Master && out.Transition != nil {
		h.s.announcer = h
	}
	if tr := out.Transition; tr != nil {
		h.s.logf("%d %v: %v to %v, %s", h.index, what, tr.From, tr.To, tr.Reason)
		switch {
		case tr.To == Master:
			h.judge(tr.Reason)
		case what == "Stalled":
			h.watchAnew()
		}
	}
	if out.Send == nil {
		return
	}
	copies := 1
	if out.Send.Priority == PriorityResign {
		copies = 3
	}
	octets := ipv4Packet(out.Send.Append(nil, h.config.Source, GroupIPv4))
	source := h.config.Source.As4()
	copy(octets[12:], source[:])
	for range copies {
		h.s.send(h, octets)
	}
}

// watchAnew is what a Backup starts from that heard nobody.
func (h *host) watchAnew() {
	h.watch = watch{master: h.s.now, resigned: -1, lower: -1, interval: h.config.AdvertisementInterval}
}

// judge fails a promotion for which there was no reason: a Master was heard,
// and did not resign.
func (h *host) judge(why Reason) {
	h.s.t.Helper()
	w := &h.watch
	interval := min(w.interval, h.config.learn(w.interval))
	silence := h.s.now.Sub(w.master)
	needed := h.config.MasterDownInterval(interval) + h.config.TakeoverDelay
	switch why {
	case ReasonMasterDown:
	case ReasonPreempted:
		if w.lower < 0 || w.lower < w.master {
			h.s.failf("%d preempted nobody", h.index)
		}
	case ReasonMasterResigned:
		if w.resigned < 0 {
			h.s.failf("%d took over, and nobody resigned", h.index)
		}
		silence = h.s.now.Sub(w.resigned)
		needed = h.config.SkewTime(interval) + h.config.TakeoverDelay
	default:
		h.s.failf("%d became Master because of %s", h.index, why)
	}
	if silence < needed {
		h.s.failf("%d took over after %v of silence, want at least %v", h.index, silence, needed)
	}
}

// schedule sleeps until the Router's Deadline.
func (h *host) schedule() {
	h.due = never
	if deadline, running := h.router.Deadline(); running {
		h.due = deadline
	}
	if len(h.inbox) > 0 {
		h.due = min(h.due, h.s.now)
	}
	h.wake = max(h.suspended, max(h.due, h.s.now).Add(h.s.upTo(h.s.maxLate)))
}

func hostSource(index int) netip.Addr { return hostAddr(byte(index + 1)) }
