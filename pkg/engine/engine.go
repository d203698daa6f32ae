package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
)

// network is what the loop needs of the LANs. Times are nanoseconds of one
// monotonic clock. Only Wake may be called from another goroutine.
type network interface {
	Now() int64
	Use([]*lan.Port)
	Broken() []*lan.Port
	Wait(deadline int64) error
	Receive(*lan.Packet) bool
	Send(index int, source, destination netip.Addr, payload []byte) error
	SendVia(index, via int, source, destination netip.Addr, payload []byte) error
	Wake()
}

// ports opens and closes the sockets of an interface, which may block.
type ports interface {
	Open(lan.Interface) (*lan.Port, error)
	Close(*lan.Port) error
}

// addresses binds the virtual addresses.
type addresses interface {
	Set(want []host.VirtualAddress) error
	Removed() []host.VirtualAddress
	RemoveLeftovers() ([]host.VirtualAddress, error)
}

// announcer tells a LAN where an address is. Reply is the second form of
// telling it of an IPv4 address.
type announcer interface {
	Announce(index int, mac net.HardwareAddr, vips []netip.Addr) error
	Reply(index int, mac net.HardwareAddr, vips []netip.Addr) error
}

// neighbors keeps the interfaces that a VIP does not belong to from answering
// for it, and its own from doing so when the pulses have ceased.
type neighbors interface {
	Set(answers map[netip.Addr]desired.Answer) error
}

// watcher hears who claims addresses on the LANs, which it tells Engine.Heard, and
// asks who has them.
type watcher interface {
	Watch(vips map[int][]netip.Addr) error
	Probe(index int, mac net.HardwareAddr, source netip.Addr, vips []netip.Addr) error
}

// Config is what an Engine is made of.
type Config struct {
	Network   network
	Ports     ports
	Addresses addresses
	Announcer announcer
	Neighbors neighbors
	Watcher   watcher
	// Pulser may be nil, if Neighbors has no use for pulses.
	Pulser pulser
	// VirtualLinks are the links of VIPs with a virtual MAC address.
	VirtualLinks virtualLinks
	Senders      senders
	// Elevate raises the loop's thread as far as permitted; it says what was
	// reached and, if that is not everything, why not.
	Elevate func() (string, error)
	// OnTransition is called for every change of state, in order, by a
	// goroutine that may be blocked.
	OnTransition func(desired.Transition)
	// OnAlarm is called for every beginning and end of an alarm, in order and
	// with the transitions, by the same goroutine.
	OnAlarm func(desired.AlarmChange)
	// Release makes a Master that is stopped give its addresses away at once:
	// it lets go of them and advertises priority 0. Without it the addresses
	// are left to their lease.
	Release bool
}

// Engine runs the virtual routers of a node.
type Engine struct {
	config   Config
	inbox    inbox
	notifier *notifier
	status   atomic.Pointer[desired.Status]
	// beat is when the loop last went round, in nanoseconds after began, and 0
	// before that: a jump of the wall clock is no sign of a loop that hangs, and
	// does not hide one.
	beat  atomic.Int64
	began time.Time
}

// New returns an Engine that does nothing until Run.
func New(c Config) *Engine {
	e := &Engine{config: c, notifier: newNotifier(), began: wallClock()}
	e.status.Store(&desired.Status{})
	return e
}

// Apply makes s the State to run. It may be called by any goroutine and never
// blocks; the last State counts.
func (e *Engine) Apply(s desired.State) { e.tell(func(m *messages) { m.state = &s }) }

// Links tells which links and addresses the node has. It may be called by any
// goroutine and never blocks; the last Snapshot counts.
func (e *Engine) Links(s host.Snapshot) { e.tell(func(m *messages) { m.links = &s }) }

// Heard tells of an address that somebody on a LAN claims. It may be called by
// any goroutine and never blocks.
func (e *Engine) Heard(c lan.Claim) { e.tell(func(m *messages) { m.claims = append(m.claims, c) }) }

// Status returns what the engine is doing.
func (e *Engine) Status() desired.Status {
	s := *e.status.Load()
	if beat := e.beat.Load(); beat != 0 {
		now := wallClock()
		s.Beat = now.Add(time.Duration(beat) - now.Sub(e.began)).UnixNano()
	}
	return s
}

// Run removes what an earlier process has left bound and then runs the virtual
// routers until ctx ends and, where Release says so, they are released. It
// returns when everything it started has ended.
func (e *Engine) Run(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	removed, err := e.config.Addresses.RemoveLeftovers()
	if err != nil {
		return fmt.Errorf("remove addresses left by an earlier run: %w", err)
	}
	for _, a := range removed {
		logger.Info("Removed address left by an earlier run", "vip", a.Address, "link", a.Link)
	}

	if _, err := e.config.VirtualLinks.Set(nil); err != nil {
		// They have no addresses any more, and the linker tries again.
		logger.Error(err, "Virtual MAC address is not in place")
	}

	// What the loop leans on outlives ctx: it ends when the loop has.
	others, stopOthers := context.WithCancel(context.WithoutCancel(ctx))
	actuator := newActuator(e.config.Addresses, e.config.Announcer, e.config.Neighbors, func(r report) {
		e.tell(func(m *messages) { m.reports = append(m.reports, r) })
	})
	lookout := newLookout(e.config.Watcher, func(r report) {
		e.tell(func(m *messages) { m.reports = append(m.reports, r) })
	})
	listener := newListener(e.config.Ports, func(r listenReport) {
		e.tell(func(m *messages) { m.listening = append(m.listening, r) })
	})
	linker := newLinker(e.config.VirtualLinks, e.config.Senders, func(r virtualReport) { e.tell(func(m *messages) { m.virtual = &r }) })
	var wg sync.WaitGroup
	wg.Go(func() { actuator.run(others) })
	wg.Go(func() { linker.run(others) })
	wg.Go(func() { lookout.run(others) })
	var listenErr error
	wg.Go(func() { listenErr = listener.run(others) })
	wg.Go(func() { e.notifier.run(others) })
	stopWatching := context.AfterFunc(ctx, func() { e.tell(func(m *messages) { m.stop = true }) })

	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		// The thread's priority is raised: it is not given back.
		l := newLoop(e, logger, actuator.post, listener.post, lookout.post)
		l.makeLinks = linker.post
		reached, err := e.config.Elevate()
		e.notifier.tell(func() {
			if err != nil {
				logger.Info("Loop thread scheduled", "reason", reached, "err", err)
				return
			}
			logger.Info("Loop thread scheduled", "reason", reached)
		})
		done <- l.run()
	}()
	loopErr := <-done
	stopWatching()
	stopOthers()
	wg.Wait()
	if e.config.Release {
		_, err = e.config.VirtualLinks.Set(nil)
	}
	return errors.Join(loopErr, listenErr, err)
}

// tell leaves a message for the loop and wakes it.
func (e *Engine) tell(f func(*messages)) {
	e.inbox.update(f)
	e.config.Network.Wake()
}

// run goes round until it is told to stop and has released what it held.
func (l *loop) run() error {
	for {
		if err := l.network.Wait(int64(l.deadline())); err != nil {
			return fmt.Errorf("wait for packets: %w", err)
		}
		if l.turn() {
			return nil
		}
	}
}

// inbox takes what other goroutines have for the loop.
type inbox struct {
	mu       sync.Mutex
	messages messages
}

// messages are what came in since the loop last looked.
type messages struct {
	state     *desired.State
	links     *host.Snapshot
	virtual   *virtualReport
	listening []listenReport
	reports   []report
	claims    []lan.Claim
	stop      bool
}

func (i *inbox) update(f func(*messages)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f(&i.messages)
}

func (i *inbox) take() messages {
	i.mu.Lock()
	defer i.mu.Unlock()
	m := i.messages
	i.messages = messages{}
	return m
}

// notifier runs what must not be done by the loop, in order: writing a log
// line and telling others of a transition can block.
type notifier struct {
	queue *mailbox[[]func()]
}

func newNotifier() *notifier { return &notifier{queue: newMailbox[[]func()]()} }

// tell queues f. It never blocks.
func (n *notifier) tell(f func()) {
	n.queue.put([]func(){f}, func(old, v []func()) []func() { return append(old, v...) })
}

// run runs what is queued until ctx ends, and what is queued by then.
func (n *notifier) run(ctx context.Context) { n.queue.serve(ctx, runAll) }

func runAll(queue []func()) {
	for _, f := range queue {
		f()
	}
}

// wallClock returns the time of day, for showing only: every decision is made
// on the network's monotonic clock.
func wallClock() time.Time { return time.Now() }
