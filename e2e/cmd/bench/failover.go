package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/pkg/netns"
)

const (
	// tick is how often the client asks: what an outage is measured in.
	tick = 2 * time.Millisecond
	// firstPriority is the first node's; the others have one more each, as
	// kube-keepalived-vip numbers them.
	firstPriority = 100
	// outageLimit is when an outage is no longer waited for.
	outageLimit = 30 * time.Second
	readyLimit  = 2 * time.Minute
)

var vip = netip.MustParseAddr("192.0.2.100")

// site is a LAN of three nodes that run one kind of router, and a client.
type site struct {
	kind
	mode    mode
	lab     *lab.Lab
	nodes   []*netns.Process
	ping    *probe.Ping
	routers []virtualRouter

	// asking means that the client asks who has the VIP, too, and what came of it.
	asking bool
	staleness
}

func newSite(k kind, m mode) (*site, error) {
	l, err := lab.New(3)
	if err != nil {
		return nil, err
	}
	s := &site{kind: k, mode: m, lab: l, nodes: make([]*netns.Process, 3), routers: []virtualRouter{{defaultVRID, vip}}}
	for i := range s.nodes {
		if err := s.boot(i); err != nil {
			s.close()
			return nil, err
		}
	}
	if s.ping, err = probe.StartPing(l.Client.Path(), tick, vip); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *site) close() {
	if s.ping != nil {
		s.ping.Stop()
	}
	// What is left ends with this program.
	_ = s.lab.Close()
}

// boot starts a node's program, as after a reboot: with no VIP.
func (s *site) boot(i int) error {
	h := s.lab.Hosts[i]
	// Nothing to remove is the rule.
	_, _ = h.Run("ip", "addr", "del", vip.String()+"/32", "dev", "eth0")
	p, err := s.start(s.lab, h, s.mode, firstPriority+i, s.routers)
	s.nodes[i] = p
	return err
}

// ready waits until one node is Master and holds the VIP, the others are
// Backups, and the client has been answered for a while. It returns the Master.
func (s *site) ready(ctx context.Context) (int, error) {
	holder := -1
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	err := lab.Eventually(ctx, fmt.Sprintf("%v: one Master and two Backups", s.mode), func() error {
		holders := s.lab.Recorder.Holders(vip)
		if len(holders) != 1 {
			return fmt.Errorf("held by %v", holders)
		}
		holder = holders[0]
		for i, p := range s.nodes {
			want := backup
			if i == holder {
				want = master
			}
			if got := s.state(p); got != want {
				return fmt.Errorf("node %d is %q, held by %d", i, got, holder)
			}
		}
		if !s.ping.Steady(max(500*time.Millisecond, 3*s.mode.interval)) {
			return fmt.Errorf("the client is not answered steadily")
		}
		return nil
	})
	return holder, err
}

// outage waits until the client is answered again after something happened, by
// another node than before if that is asked for, and returns for how long it was
// not.
func (s *site) outage(ctx context.Context, since time.Time, old int) (time.Duration, error) {
	// Announcements of keepalived can take the VIP away once more within this.
	steady := max(time.Second, 3*s.mode.interval)
	for time.Since(since) < outageLimit {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		moved := slices.ContainsFunc(s.lab.Recorder.Holders(vip), func(i int) bool { return i != old })
		if moved && time.Since(since) > steady && s.ping.Steady(steady) {
			break
		}
		if s.asking && time.Since(s.lastAsked()) >= askEvery {
			if err := s.ask(); err != nil {
				return 0, err
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return s.ping.Outage(vip, since), nil
}

// event is something that happens to the Master.
type event struct {
	name string
	// cause makes it happen, and heal undoes it once the outage is measured.
	cause, heal func(s *site, master int) error
	// healing measures what undoing it costs the client too.
	healing string
	// stays means that the Master may stay the same.
	stays bool
}

var events = []event{
	{
		name: "crash (cable and processes)",
		cause: func(s *site, i int) error {
			err := s.lab.Cut(i)
			s.nodes[i].Kill()
			return err
		},
		heal: func(s *site, i int) error {
			// The VIP goes before the link comes back, as it does with a reboot.
			_, _ = s.lab.Hosts[i].Run("ip", "addr", "del", vip.String()+"/32", "dev", "eth0")
			if err := s.lab.Restore(i); err != nil {
				return err
			}
			return s.boot(i)
		},
	},
	{
		name:  "link cut",
		cause: func(s *site, i int) error { return s.lab.Cut(i) },
		heal:  func(s *site, i int) error { return s.lab.Restore(i) },
	},
	{
		name:  "SIGTERM",
		cause: func(s *site, i int) error { return s.nodes[i].Signal(syscall.SIGTERM) },
		heal: func(s *site, i int) error {
			<-s.nodes[i].Done()
			return s.boot(i)
		},
	},
	{
		name: "silent partition",
		cause: func(s *site, i int) error {
			port := s.lab.Port(i)
			return s.lab.Drop(fmt.Sprintf(`meta iifname "%s" drop; add rule bridge loss forward meta oifname "%s"`, port, port))
		},
		heal:    func(s *site, _ int) error { return s.lab.Pass() },
		healing: "silent partition, healing",
	},
}

// failovers measures every event runs times with both kinds in turn.
func failovers(ctx context.Context, m mode, runs int, kinds [2]kind, progress func(format string, args ...any)) ([]row, error) {
	var sites [2]*site
	for i, k := range kinds {
		s, err := newSite(k, m)
		if err != nil {
			return nil, err
		}
		defer s.close()
		sites[i] = s
	}
	var rows []row
	for _, e := range events {
		var outages, healings [2][]time.Duration
		for n := range runs {
			measure := func(i int) error {
				outage, healing, err := sites[i].run(ctx, e)
				outages[i] = append(outages[i], outage)
				healings[i] = append(healings[i], healing)
				return err
			}
			// In turn, so that what else happens on the machine hits both. Where
			// waiting is all there is to it, at the same time.
			if err := both(m.interval >= time.Second, measure); err != nil {
				return rows, fmt.Errorf("%v, %s, run %d: %w", m, e.name, n+1, err)
			}
			progress("%v, %s, run %d of %d: %v, keepalived %v", m, e.name, n+1, runs,
				outages[0][n].Round(time.Millisecond), outages[1][n].Round(time.Millisecond))
		}
		rows = append(rows, row{name: e.name, unit: "ms", ours: milliseconds(outages[0]), theirs: milliseconds(outages[1]), outages: true})
		if e.healing != "" {
			rows = append(rows, row{name: e.healing, unit: "ms", ours: milliseconds(healings[0]), theirs: milliseconds(healings[1]), outages: true})
		}
	}
	return rows, nil
}

// both calls f for the two kinds, together or one after the other.
func both(together bool, f func(i int) error) error {
	if !together {
		if err := f(0); err != nil {
			return err
		}
		return f(1)
	}
	other := make(chan error, 1)
	go func() { other <- f(1) }()
	err := f(0)
	if e := <-other; err == nil {
		err = e
	}
	return err
}

// run makes an event happen to the Master of a site at rest.
func (s *site) run(ctx context.Context, e event) (outage, healing time.Duration, err error) {
	i, err := s.ready(ctx)
	if err != nil {
		return 0, 0, err
	}
	// At any phase of the advertisements.
	time.Sleep(rand.N(s.mode.interval))
	begin := time.Now()
	s.began, s.asked = begin, nil
	if err := e.cause(s, i); err != nil {
		return 0, 0, err
	}
	old := i
	if e.stays {
		old = -1
	}
	if outage, err = s.outage(ctx, begin, old); err != nil {
		return 0, 0, err
	}
	if s.asking {
		if err := s.askOn(ctx, i); err != nil {
			return 0, 0, err
		}
	}
	healed := time.Now()
	if err := e.heal(s, i); err != nil || e.healing == "" {
		return outage, 0, err
	}
	healing, err = s.outage(ctx, healed, -1)
	return outage, healing, err
}
