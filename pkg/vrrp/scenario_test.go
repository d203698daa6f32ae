package vrrp

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/internal/scenariotest"
)

// TestScenarios replays testdata/scenarios: routers, and models of keepalived and
// FRR, on one segment, with a client that believes the last announcement it heard.
func TestScenarios(t *testing.T) {
	t.Parallel()
	scenariotest.Run(t, func(t *testing.T) scenariotest.Command {
		s := &scenario{segment: newSegment(t, 1)}
		s.rng = rand.New(scenariotest.Steady{})
		s.client = s.named("client")
		return s.command
	})
}

// scenario is a segment whose hosts have names, and the output of its commands.
type scenario struct {
	*segment
	// names and shown are those of the hosts, by index.
	names []string
	shown []shown
	lines []string
	// client is a host that never starts. servedBy is the host that answers it,
	// nil since outage if none does.
	client   *host
	servedBy *host
	outage   Time
}

// shown is the state of a host as the output last showed it.
type shown struct {
	state     State
	bound     bool
	alarms    []Alarm
	counters  Counters
	announced int
}

// command is a scenariotest.Command. The commands are
//
//	router NAME OPTIONS       add a host with a router of ours: priority 100, 100 ms,
//	                          without Preempt_Mode, unless the options differ
//	keepalived NAME OPTIONS   add a host with keepalived, frr one with FRR; a host
//	                          of that name that is down changes its program
//	set NAME OPTIONS          change the options of a router that runs
//	start NAME...             start the virtual router
//	listen NAME...            start it as the daemon does, which listens first
//	stop NAME...              end the process gracefully (SIGTERM)
//	kill NAME...              end the process at once; the kernel goes on (SIGKILL)
//	crash NAME...             cut the power of the host
//	stall NAME FOR            suspend the process; the kernel goes on (SIGSTOP)
//	pause NAME FOR            suspend the virtual machine
//	cut NAME...               divide the LAN: those named on one side, all others on the other
//	deafen NAME TO            the first does not hear the second any more
//	heal                      undo cut and deafen
//	run FOR                   advance the clock
//	counters                  print the counters' growth since the last time
func (s *scenario) command(name string, args []string) (lines []string, err error) {
	if len(args) == 0 && name != "heal" && name != "counters" {
		return nil, errors.New("lacks its arguments")
	}
	switch name {
	case "router", "keepalived", "frr":
		err = s.declare(map[string]func(Config) peer{"keepalived": newKeepalived, "frr": newFRR}[name], args[0], args[1:])
	case "set":
		err = s.on(args[0], func(h *host) error {
			c := h.config
			if err := options(&c, args[1:]); err != nil {
				return err
			}
			h.change(func(old *Config) { *old = c })
			return nil
		})
	case "start":
		err = s.each(args, (*host).start)
	case "listen":
		err = s.each(args, (*host).listen)
	case "stop":
		err = s.each(args, func(h *host) { s.printf("%s: stopped", s.names[h.index]); h.stop() })
	case "kill":
		err = s.each(args, func(h *host) { s.printf("%s: killed", s.names[h.index]); h.kill() })
	case "crash":
		err = s.each(args, func(h *host) { s.printf("%s: lost power", s.names[h.index]); h.crash() })
	case "stall", "pause":
		err = s.on(args[0], func(h *host) error {
			d, err := time.ParseDuration(args[len(args)-1])
			s.printf("%s: stands still for %v", args[0], d)
			h.suspend(d, name == "pause")
			return err
		})
	case "cut":
		s.cut(func(h *host) int { return min(slices.Index(args, s.names[h.index]), 0) })
	case "deafen":
		err = s.on(args[0], func(h *host) error {
			return s.each(args[1:], func(other *host) { h.from[other.index].deaf = true })
		})
	case "heal":
		s.heal()
	case "run":
		var d time.Duration
		d, err = time.ParseDuration(args[0])
		s.runUntil(s.now.Add(d), s.observe)
	case "counters":
		s.count()
	default:
		err = errors.New("unknown command")
	}
	s.observe()
	lines, s.lines = s.lines, nil
	return lines, err
}

// on calls do for the host of that name.
func (s *scenario) on(name string, do func(h *host) error) error {
	i := slices.Index(s.names, name)
	if i < 0 {
		return fmt.Errorf("no host %s", name)
	}
	return do(s.hosts[i])
}

// each calls do for the hosts of those names.
func (s *scenario) each(names []string, do func(h *host)) error {
	for _, name := range names {
		if err := s.on(name, func(h *host) error { do(h); return nil }); err != nil {
			return err
		}
	}
	return nil
}

// named adds a host of that name.
func (s *scenario) named(name string) *host {
	s.names, s.shown = append(s.names, name), append(s.shown, shown{})
	return s.add(Config{
		Settings: Settings{Version: V3, Priority: 100, AdvertisementInterval: 100 * ms},
		Family:   IPv4, VRID: 50, Addresses: addrs("192.0.2.50", "192.0.2.51"),
		Source: hostSource(len(s.hosts) - 1), // The client, which is the first, needs none.
	})
}

// declare adds a host, or changes the options and the program of one that is down.
// newPeer is nil for a router of ours.
func (s *scenario) declare(newPeer func(Config) peer, name string, args []string) error {
	if !slices.Contains(s.names, name) {
		s.named(name)
	}
	h := s.hosts[slices.Index(s.names, name)]
	if h.up {
		return fmt.Errorf("%s runs", name)
	}
	h.newPeer = newPeer
	return options(&h.config, args)
}

// options changes a configuration by options, each a name and a value.
func options(c *Config, args []string) error {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	priority := flags.Uint("priority", uint(c.Priority), "")
	flags.DurationVar(&c.AdvertisementInterval, "interval", c.AdvertisementInterval, "")
	flags.BoolVar(&c.Preempt, "preempt", c.Preempt, "")
	flags.DurationVar(&c.PreemptDelay, "preempt-delay", c.PreemptDelay, "")
	flags.DurationVar(&c.TakeoverDelay, "takeover-delay", c.TakeoverDelay, "")
	scenariotest.AddressesVar(flags, &c.Addresses, "vips")
	err := scenariotest.Options(flags, args)
	c.Priority = uint8(*priority)
	return err
}

func (s *scenario) printf(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf("%9.3f  ", s.now.Sub(0).Seconds())+fmt.Sprintf(format, args...))
}

// observe prints what has changed. It returns false, so that time goes on.
func (s *scenario) observe() bool {
	for i, h := range s.hosts {
		was := &s.shown[i]
		if state := h.state(); state != was.state {
			if h.up {
				s.printf("%s: %v -> %v%s", s.names[i], was.state, state, why(h))
			}
			was.state = state
		}
		if !h.up {
			was.counters = Counters{} // The next process begins at 0.
		}
		if h.bound != was.bound {
			s.printf("%s: VIPs %s", s.names[i], map[bool]string{true: "bound", false: "released"}[h.bound])
			was.bound = h.bound
		}
		s.observeAlarms(h, was)
	}
	s.observeClient()
	return false
}

// why returns the reason for the router's last change of state.
func why(h *host) string {
	if !h.ours() {
		return ""
	}
	status := h.router.Status()
	if status.State == Master && status.Heard {
		return fmt.Sprintf(" (%s, %d ms after the last advertisement)", status.Reason, h.s.now.Sub(status.LastHeard).Milliseconds())
	}
	return fmt.Sprintf(" (%s)", status.Reason)
}

func (s *scenario) observeAlarms(h *host, was *shown) {
	var alarms []Alarm
	if h.up && h.ours() {
		alarms = h.router.Alarms(s.now)
	}
	without := func(all []Alarm, reason AlarmReason) bool {
		return !slices.ContainsFunc(all, func(a Alarm) bool { return a.Reason == reason })
	}
	for _, a := range alarms {
		if without(was.alarms, a.Reason) {
			s.printf("%s: alarm %s from %s: %s", s.names[h.index], a.Reason, a.Source, a.Detail)
		}
	}
	for _, a := range was.alarms {
		if without(alarms, a.Reason) {
			s.printf("%s: alarm %s ended", s.names[h.index], a.Reason)
		}
	}
	was.alarms = alarms
}

// observeClient prints a change of the host that answers the client: the one that
// it heard announce the VIPs last, if that has them and can be reached.
func (s *scenario) observeClient() {
	by := s.client.cache
	if by != nil && (!by.bound || by.frozen && s.now < by.suspended || by.from[s.client.index].deaf) {
		by = nil
	}
	if by == s.servedBy {
		return
	}
	switch {
	case by == nil:
		s.printf("client: no answer")
		s.outage = s.now
	case s.servedBy == nil && s.outage > 0:
		s.printf("client: answered by %s after %.1f ms", s.names[by.index], s.now.Sub(s.outage).Seconds()*1000)
	default:
		s.printf("client: answered by %s", s.names[by.index])
	}
	s.servedBy = by
}

// count prints what was counted at each host that is up since the last time.
func (s *scenario) count() {
	for i, h := range s.hosts {
		was := &s.shown[i]
		if h.up && h.ours() {
			now := h.router.Status().Counters
			line := fmt.Sprintf("%s: sent %d, announced %d", s.names[i], now.AdvertisementsSent-was.counters.AdvertisementsSent, h.announced-was.announced)
			for _, reason := range slices.Sorted(maps.Keys(now.Warnings)) {
				if n := now.Warnings[reason] - was.counters.Warnings[reason]; n > 0 {
					line += fmt.Sprintf(", warned of %s %d", reason, n)
				}
			}
			if list := h.router.Status().AdvertisingListOf; list.IsValid() {
				line += fmt.Sprintf(", with the address list of %s", list)
			}
			s.printf("%s", line)
			was.counters = now
		} else if h.up {
			s.printf("%s: announced %d", s.names[i], h.announced-was.announced)
		}
		was.announced = h.announced
	}
}

// The hosts of one side of a partition send to the loser if they heard it last. So
// the winner must learn of the loser, whichever of them is heard first.
func TestScenarioPartitionHeals(t *testing.T) {
	t.Parallel()
	for phase := time.Duration(0); phase < 100*ms; phase += 7 * ms {
		s, master, backup := pair(t)
		s.cut(func(h *host) int { return h.index })
		s.run(time.Second + phase)
		if s.announcer != backup {
			s.failf("the other side has no Master")
		}
		s.heal()
		s.run(150 * ms)
		if m := s.masters(); len(m) != 1 || m[0] != master || s.announcer != master {
			s.failf("the Master did not announce")
		}
	}
}
