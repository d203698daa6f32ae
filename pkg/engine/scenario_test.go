package engine

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2/textlogger"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/scenariotest"
	"kube-vrrp-vip/pkg/vrrp"
)

// TestScenarios replays testdata/scenarios: whole engines on a simulated LAN. The
// output is their log, the addresses that their kernels have, and the answers that
// clients of the VIPs get.
func TestScenarios(t *testing.T) {
	t.Parallel()
	scenariotest.Run(t, func(t *testing.T) scenariotest.Command {
		return (&scenario{t: t}).command
	})
}

// scenario is a world whose nodes have names, and the output of its commands.
type scenario struct {
	t *testing.T
	// world is nil until a command needs it: by then all nodes are known.
	*world
	// names, priorities and shown are those of the nodes, by number.
	names      []string
	priorities []uint8
	shown      []shown
	state      desired.State
	lines      []string
	clients    map[netip.Addr]*client
}

// shown is the state of a node as the output last showed it.
type shown struct {
	held                []netip.Addr
	announcements, sent int
}

// client is the client of a VIP. servedBy is the name of the host that answers it,
// empty since outage if none does.
type client struct {
	servedBy string
	outage   int64
}

// command is a scenariotest.Command. The commands are
//
//	node NAME [priority N]     add a node; its daemon does not run yet
//	router VRID OPTIONS        configure a virtual router on all nodes, or change it
//	remove VRID                remove it from the configuration
//	start NAME...              start the daemon; a node without power boots
//	stop NAME...               end the daemon in good order (SIGTERM)
//	kill NAME...               end it at once; the kernel goes on (SIGKILL)
//	crash NAME...              cut the power of the node
//	stall NAME...              the daemon stands still; the kernel goes on (SIGSTOP)
//	continue NAME...           and goes on (SIGCONT)
//	unplug NAME..., plug       pull the cable of eth0 out, plug it in
//	block NAME TO, unblock     the first node cannot send to the second
//	kernel-hangs NAME...       the kernel changes no addresses, but their leases end
//	kernel-works NAME...
//	printer VIP [announces]    another host has the VIP
//	printer gone
//	foreign VRID OPTIONS       a router that is none of the nodes advertises
//	foreign gone
//	run FOR                    let time go on
//	status                     print the status of the daemons that run
//	counters                   print the counters' growth since the last time
func (s *scenario) command(name string, args []string) (lines []string, err error) {
	if len(args) == 0 && name != "status" && name != "counters" {
		return nil, errors.New("lacks its arguments")
	}
	if name != "node" && name != "router" {
		s.begin()
	}
	switch name {
	case "node":
		err = s.addNode(args[0], args[1:])
	case "router":
		err = s.configure(args[0], args[1:])
	case "remove":
		s.state.Routers = slices.DeleteFunc(s.state.Routers, func(r desired.Router) bool { return fmt.Sprint(r.VRID) == args[0] })
		s.applyAll()
	case "start":
		err = s.each(args, s.start)
	case "stop":
		err = s.each(args, func(n *simNode) {
			n.engine.send(func(m *messages) { m.stop = true })
			n.turn()
			n.dead = true
		})
	case "kill":
		err = s.each(args, func(n *simNode) { s.printf(n, "killed"); n.kill() })
	case "crash":
		err = s.each(args, func(n *simNode) { s.printf(n, "lost power"); n.crash() })
	case "stall":
		err = s.each(args, func(n *simNode) { s.printf(n, "stands still"); n.frozen = true })
	case "continue":
		err = s.each(args, func(n *simNode) { s.printf(n, "goes on"); n.frozen = false })
	case "unplug", "plug":
		err = s.each(args, func(n *simNode) { n.linkDown = name == "unplug"; n.linksChanged() })
	case "block":
		err = s.on(args[0], func(n *simNode) error {
			return s.each(args[1:], func(to *simNode) { n.sendFailsTo = to.address })
		})
	case "unblock":
		err = s.each(args, func(n *simNode) { n.sendFailsTo = netip.Addr{} })
	case "kernel-hangs", "kernel-works":
		err = s.each(args, func(n *simNode) { n.kernelHangs = name == "kernel-hangs" })
	case "printer":
		err = s.printer(args[0], len(args) > 1)
	case "foreign":
		err = s.foreign(args[0], args[1:])
	case "run":
		err = s.runFor(args[0])
	case "status":
		s.printStatus()
	case "counters":
		s.count()
	default:
		err = errors.New("unknown command")
	}
	s.observe()
	lines, s.lines = s.lines, nil
	return lines, err
}

// on calls do for the node of that name.
func (s *scenario) on(name string, do func(n *simNode) error) error {
	i := slices.Index(s.names, name)
	if i < 0 {
		return fmt.Errorf("no node %s", name)
	}
	return do(s.nodes[i])
}

// each calls do for the nodes of those names.
func (s *scenario) each(names []string, do func(n *simNode)) error {
	for _, name := range names {
		if err := s.on(name, func(n *simNode) error { do(n); return nil }); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) addNode(name string, args []string) error {
	if s.world != nil {
		return errors.New("comes too late")
	}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	priority := flags.Uint("priority", 150, "")
	err := scenariotest.Options(flags, args)
	s.names, s.priorities, s.shown = append(s.names, name), append(s.priorities, uint8(*priority)), append(s.shown, shown{})
	return err
}

// begin makes the world, in which no daemon runs, if there is none.
func (s *scenario) begin() {
	if s.world != nil {
		return
	}
	s.world = newWorld(s.t, 1, len(s.names))
	s.rng, s.claims = rand.New(scenariotest.Steady{}), rand.New(scenariotest.Steady{})
	s.logger = s.nodeLogger
	for _, n := range s.nodes {
		n.dead = true
	}
	s.clients = map[netip.Addr]*client{}
}

func (s *scenario) start(n *simNode) {
	n.boot(nil)
	s.apply(n)
}

// apply gives a node the configuration with its own priority and rank.
func (s *scenario) apply(n *simNode) {
	byRank := slices.SortedFunc(slices.Values(s.nodes), func(a, b *simNode) int {
		return cmp.Or(cmp.Compare(s.priorities[b.id], s.priorities[a.id]), b.address.Compare(a.address))
	})
	s.rank[n.id] = slices.Index(byRank, n)
	state := s.state
	state.Routers = slices.Clone(state.Routers)
	for i := range state.Routers {
		r := &state.Routers[i]
		r.Priority, r.TakeoverStep = s.priorities[n.id], r.AdvertisementInterval/16
	}
	n.applyNow(state)
}

func (s *scenario) applyAll() {
	if s.world == nil {
		return
	}
	for _, n := range s.nodes {
		if !n.dead {
			s.apply(n)
		}
	}
}

// configure adds a virtual router to the configuration, or changes it.
func (s *scenario) configure(vrid string, args []string) error {
	i := slices.IndexFunc(s.state.Routers, func(r desired.Router) bool { return fmt.Sprint(r.VRID) == vrid })
	if i < 0 {
		i = len(s.state.Routers)
		s.state.Routers = append(s.state.Routers, routerOf(0, vipA))
	}
	r := &s.state.Routers[i]
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.BoolVar(&r.Preempt, "preempt", r.Preempt, "")
	flags.BoolVar(&r.Unicast, "unicast", r.Unicast, "")
	flags.BoolVar(&r.Force, "force", r.Force, "")
	number := flags.Uint("vrid", 0, "")
	var vips []netip.Addr
	scenariotest.AddressesVar(flags, &vips, "vips")
	err := scenariotest.Options(flags, append([]string{"vrid", vrid}, args...))
	r.VRID = uint8(*number)
	if vips != nil {
		r.VIPs = nil
	}
	for _, vip := range vips {
		r.VIPs = append(r.VIPs, desired.VIP{Address: vip})
	}
	s.applyAll()
	return err
}

// printer gives a VIP to another host, or removes that host.
func (s *scenario) printer(vip string, announces bool) error {
	if vip == "gone" {
		s.squatters = nil
		return nil
	}
	a, err := netip.ParseAddr(vip)
	if err != nil {
		return err
	}
	claim := s.squat(a).claim()
	if announces {
		s.cache[a] = -1
		s.say(nil, claim, nil)
	}
	return nil
}

// foreign makes a router that is none of the nodes advertise, or removes it.
func (s *scenario) foreign(vrid string, args []string) error {
	if vrid == "gone" {
		s.strangers = nil
		return nil
	}
	other := foreign(0, "203.0.113.1")
	other.advert.Interval = time.Second
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	number := flags.Uint("vrid", 0, "")
	version := flags.Uint("version", 3, "")
	priority := flags.Uint("priority", 100, "")
	scenariotest.AddressesVar(flags, &other.advert.Addresses, "vips")
	err := scenariotest.Options(flags, append([]string{"vrid", vrid}, args...))
	other.advert.VRID, other.advert.Version, other.advert.Priority = uint8(*number), vrrp.Version(*version), uint8(*priority)
	s.strangers = append(s.strangers, other)
	return err
}

// runFor lets time go on, and observes the world every millisecond.
func (s *scenario) runFor(arg string) error {
	d, err := time.ParseDuration(arg)
	for end := s.now + int64(d); s.now < end; {
		s.run(min(time.Millisecond, time.Duration(end-s.now)))
		s.observe()
	}
	return err
}

// printf prints a line about a node, or about the client, which is nil.
func (s *scenario) printf(n *simNode, format string, args ...any) {
	about := "client"
	if n != nil {
		about = s.names[n.id]
	}
	s.lines = append(s.lines, fmt.Sprintf("%9.3f  %s: ", time.Duration(s.now-int64(time.Hour)).Seconds(), about)+fmt.Sprintf(format, args...))
}

// nodeLogger returns the logger of a node's engine, which prints the lines of the
// daemon's log without their header.
func (s *scenario) nodeLogger(n *simNode) logr.Logger {
	return textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(logWriter(func(line string) { s.printf(n, "%s", line) }))))
}

// logWriter prints the lines that are written to it.
type logWriter func(line string)

// alarmEnded matches a line with a time that is measured on the real clock.
var alarmEnded = regexp.MustCompile(`^("Alarm ended".*) elapsed="[^"]*"$`)

func (w logWriter) Write(line []byte) (int, error) {
	_, text, _ := strings.Cut(strings.TrimRight(string(line), "\n"), "] ")
	w(alarmEnded.ReplaceAllString(text, "$1"))
	return len(line), nil
}

// observe prints the changes of the addresses that the kernels have, and of the
// answers that the clients get.
func (s *scenario) observe() {
	if s.world == nil {
		return
	}
	for _, n := range s.nodes {
		was, held := &s.shown[n.id], n.held()
		for _, vip := range held {
			if !slices.Contains(was.held, vip) {
				s.printf(n, "bound %s", vip)
			}
		}
		for _, vip := range was.held {
			if !slices.Contains(held, vip) {
				s.printf(n, "released %s", vip)
			}
		}
		if !slices.Equal(was.held, held) {
			was.held = held
			n.linksChanged() // The kernel's event.
		}
	}
	for _, r := range s.state.Routers {
		for _, vip := range r.VIPs {
			s.observeClient(vip.Address)
		}
	}
}

// observeClient prints a change of the host that answers the client of a VIP: the
// one that announced the VIP last, if that has it and can be reached.
func (s *scenario) observeClient(vip netip.Addr) {
	c := s.clients[vip]
	if c == nil {
		c = &client{}
		s.clients[vip] = c
	}
	by := ""
	switch id, known := s.cache[vip]; {
	case known && id < 0:
		by = "the printer"
	case known && slices.Contains(s.nodes[id].held(), vip) && !s.nodes[id].isDown(eth0):
		by = s.names[id]
	}
	if by == c.servedBy {
		return
	}
	switch {
	case by == "":
		s.printf(nil, "no answer from %s", vip)
		c.outage = s.now
	case c.servedBy == "" && c.outage != 0:
		s.printf(nil, "%s answered by %s after %d ms", vip, by, time.Duration(s.now-c.outage).Milliseconds())
	default:
		s.printf(nil, "%s answered by %s", vip, by)
	}
	c.servedBy = by
}

// printStatus prints the virtual routers in the status of each daemon that runs, and
// the last advertisement of those that are Master.
func (s *scenario) printStatus() {
	for _, n := range s.nodes {
		if n.dead {
			continue
		}
		for _, r := range n.engine.Status().Routers {
			line := fmt.Sprintf("VRID %d %s (%s)", r.VRID, r.State, r.Text())
			if r.State == vrrp.Master {
				line += fmt.Sprintf(", advertises %s", n.advertised(n.instance(r.RouterKey)))
			}
			for _, v := range r.VIPs {
				if v.Bound {
					line += fmt.Sprintf(", %s bound", v.Address)
				}
				if v.InUseBy != "" {
					line += fmt.Sprintf(", %s in use by %s", v.Address, v.InUseBy)
				}
			}
			for _, a := range r.Alarms {
				line += ", alarm " + a.Reason
			}
			s.printf(n, "%s", line)
		}
	}
}

// count prints what was counted at each daemon that runs since the last time.
func (s *scenario) count() {
	for _, n := range s.nodes {
		was := &s.shown[n.id]
		if !n.dead {
			s.printf(n, "sent %d, announced %d", len(n.sent)-was.sent, n.announcements-was.announcements)
		}
		was.sent, was.announcements = len(n.sent), n.announcements
	}
}
