package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
)

// Engine runs the virtual routers of a node.
type Engine struct {
	config    Config
	inbox     *inbox
	events    *events
	publisher *publisher
}

// New returns an Engine that does nothing until Run.
func New(c Config) *Engine {
	return &Engine{config: c, inbox: &inbox{}, events: newEvents(c.OnTransition, c.OnAlarm), publisher: newPublisher()}
}

// Apply makes s the State to run. It may be called by any goroutine and never
// blocks; the last State counts.
func (e *Engine) Apply(s desired.State) { e.send(func(m *messages) { m.state = &s }) }

// Links sets the links and addresses of the node. It may be called by any
// goroutine and never blocks; the last Snapshot counts.
func (e *Engine) Links(s host.Snapshot) { e.send(func(m *messages) { m.links = &s }) }

// Heard reports a host that claims an address on a LAN. It may be called by
// any goroutine and never blocks.
func (e *Engine) Heard(c lan.NeighborEvent) {
	e.send(func(m *messages) { m.claims = append(m.claims, c) })
}

// Status returns a snapshot of what the engine is doing.
func (e *Engine) Status() desired.Status { return e.publisher.read() }

// Run removes the addresses that an earlier process left, and then runs the virtual
// routers until ctx ends and, with Release, they are released. It returns when
// every goroutine that it started has ended.
func (e *Engine) Run(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	e.events.logger = logger
	removed, err := e.config.Addresses.RemoveLeftovers()
	if err != nil {
		return fmt.Errorf("remove addresses left by an earlier run: %w", err)
	}
	for _, a := range removed {
		logger.Info("Removed address left by an earlier run", "vip", a.Address, "link", a.Link)
	}

	if _, err := e.config.VirtualLinks.Set(nil); err != nil {
		// The links have no addresses any more, and the worker tries again.
		logger.Error(err, "Virtual MAC address is not in place")
	}

	// The workers outlive ctx: they end when the loop has ended.
	working, stopWorkers := context.WithCancel(context.WithoutCancel(ctx))
	workers := e.newWorkers()
	var wg sync.WaitGroup
	var socketsErr error
	wg.Go(func() { workers.host.run(working) })
	wg.Go(func() { workers.macvlans.run(working) })
	wg.Go(func() { workers.probes.run(working) })
	wg.Go(func() { socketsErr = workers.sockets.run(working) })
	wg.Go(func() { e.events.queue.run(working) })
	stopWatching := context.AfterFunc(ctx, func() { e.send(func(m *messages) { m.stop = true }) })

	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		// The thread's priority is raised: it is not given back.
		l := newLoop(e.config, e.inbox, e.events, e.publisher, workers.posts())
		reached, err := e.config.Elevate()
		e.events.do(func() {
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
	stopWorkers()
	wg.Wait()
	if e.config.Release {
		_, err = e.config.VirtualLinks.Set(nil)
	}
	return errors.Join(loopErr, socketsErr, err)
}

// workers do the work of the loop that may block.
type workers struct {
	host     *hostWorkers
	sockets  *socketWorker
	macvlans *macvlanWorker
	probes   *probeWorker
}

// newWorkers returns workers that send their results to the loop.
func (e *Engine) newWorkers() workers {
	failed := func(o outcome) { e.send(func(m *messages) { m.outcomes = append(m.outcomes, o) }) }
	return workers{
		host: newHostWorkers(e.config.Addresses, e.config.Announcer, e.config.Neighbors, func(r leaseResult) {
			e.send(func(m *messages) { m.leases = append(m.leases, r) })
		}, failed),
		sockets: newSocketWorker(e.config.Conns, func(r socketResult) {
			e.send(func(m *messages) { m.sockets = append(m.sockets, r) })
		}),
		macvlans: newMacvlanWorker(e.config.VirtualLinks, e.config.Senders, func(r macvlanResult) {
			e.send(func(m *messages) { m.macvlans = &r })
		}),
		probes: newProbeWorker(e.config.ConflictDetector, failed),
	}
}

func (w workers) posts() posts {
	return posts{host: w.host.post, sockets: w.sockets.post, macvlans: w.macvlans.post, probes: w.probes.post}
}

// send leaves a message for the loop and wakes it.
func (e *Engine) send(f func(*messages)) {
	e.inbox.update(f)
	e.config.Poller.Wake()
}
