package failures

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
)

const gracefulClients = "New connections hardly notice; open ones break. Never two nodes answer"

// plannedCells are what an operator or Kubernetes does on purpose.
var plannedCells = []*cell{
	{
		name: "termination", event: "The pod is deleted, the node loses its label, SIGTERM", clients: gracefulClients, remedy: "nothing", graceful: true,
		sees:  []sight{became(old, "Initialize", "shutdown"), logged(old, "Released"), became(next, "Master", "masterResigned")},
		fault: terminate, heal: startOld,
	},
	{
		name: "containerRestart", event: "The container is restarted", clients: gracefulClients, remedy: "nothing", graceful: true,
		sees:  []sight{became(old, "Initialize", "shutdown"), became(next, "Master", "masterResigned"), became(old, "Backup", "startup")},
		fault: func(s *site) error { return errors.Join(terminate(s), s.start(old)) },
	},
	{
		name: "noRelease", event: "SIGTERM with `--release-vips=false`", clients: deadClients, remedy: "nothing; without the flag VIPs are handed over", dead: true,
		sees: []sight{became(next, "Master", "masterDown")}, args: []string{"--release-vips=false"},
		fault: terminate, heal: startOld,
	},
	{
		name: "rollingUpdate", event: "Rolling update: one daemon after the other is replaced", clients: "As above, each time that the Master is replaced; a Backup's replacement is not noticed", remedy: "nothing", graceful: true, everyone: true,
		sees:  []sight{became(old, "Initialize", "shutdown"), became(next, "Master", "masterResigned")},
		whole: roll,
	},
	{
		name: "changeOfVersion", event: "All daemons are stopped, and started with another `--vrrp-version`, and back: an upgrade or rollback of [what all nodes must have in common](operations.md#upgrade)", clients: "The VIPs are away until the new daemons have started and listened. With version 2 that takes longest, and there are no IPv6 VIPs", remedy: "nothing", everyone: true,
		sees:    []sight{became(old, "Initialize", "shutdown"), became(next, "Master", "masterDown")},
		targets: map[string]time.Duration{outage: 10 * time.Second}, whole: changeVersion,
	},
}

// grace is the terminationGracePeriodSeconds of the manifests.
const grace = 15 * time.Second

// terminate ends the old Master's daemon as the kubelet does, within the pod's grace
// period.
func terminate(s *site) error {
	err := s.daemons[old].Terminate()
	if d := time.Since(s.at); err == nil && d > grace {
		err = fmt.Errorf("the daemon has ended %v after SIGTERM", d)
	}
	return err
}

// roll replaces all daemons as a rolling update does, the old Master's first.
func roll(s *site) {
	for _, host := range []int{old, next, third} {
		s.check(s.daemons[host].Terminate())
		s.waitSettled(vips...)
		s.check(s.start(host))
		s.waitState(host, "Backup", vips...)
	}
	s.waitAnswered(20)
	// Each holder answers in one go: who lets go does not answer again beside the
	// next.
	for _, a := range vips {
		var turns []int
		for _, r := range s.questions.Replies(a, s.at.Add(-time.Second)) {
			if len(turns) == 0 || turns[len(turns)-1] != r.Host {
				turns = append(turns, r.Host)
			}
		}
		holders := []int{old}
		for _, b := range s.Recorder.Bindings(s.at, a) {
			if b.Held {
				holders = append(holders, b.Host)
			}
		}
		if !slices.Equal(turns, holders) {
			s.t.Errorf("%s: held by %v one after the other, answered by %v", a, holders, turns)
		}
	}
}

// changeVersion changes the version of VRRP on all nodes, and back.
func changeVersion(s *site) {
	for _, args := range [][]string{{"--vrrp-version=2"}, nil} {
		for host := range s.daemons {
			s.check(s.daemons[host].Terminate())
		}
		for host := range s.daemons {
			s.check(s.start(host, args...))
		}
		s.waitSettled(vip4)
		s.waitAnswered(20, vip4)
	}
	s.waitSettled(vips...)
}

// nodeCells are faults of the Master's node and its link.
var nodeCells = []*cell{
	{
		name: "nodeShutdown", event: "The node is shut down in order: the pod ends, then the link goes down", clients: gracefulClients, remedy: "nothing", graceful: true,
		sees:  []sight{became(next, "Master", "masterResigned")},
		fault: func(s *site) error { return errors.Join(terminate(s), s.Cut(old)) },
		heal:  func(s *site) error { return errors.Join(s.Restore(old), s.start(old)) },
	},
	{
		name: "nodeCrash", event: "The node crashes, or loses power", clients: "No answer until the next node has taken over; open connections break", remedy: "nothing; when it is back it is a Backup",
		sees:  []sight{became(next, "Master", "masterDown")},
		fault: func(s *site) error { err := s.Cut(old); s.kill(old); return err },
		heal:  func(s *site) error { return errors.Join(s.Restore(old), s.start(old)) },
	},
	{
		name: "pauseShort", event: "The node, a virtual machine, is paused for 0.1 s", clients: "No answer during the pause", remedy: "nothing", stays: true,
		targets: map[string]time.Duration{outage: 150 * time.Millisecond},
		fault:   func(s *site) error { return s.pause(old, 100*time.Millisecond) },
	},
	{
		name: "pause1", event: "The same for 1 s", clients: "As with a crash; when it goes on it lets go before it sends anything", remedy: "nothing",
		sees:    []sight{became(next, "Master", "masterDown"), became(old, "Backup", "stalled")},
		targets: map[string]time.Duration{gone: 1100 * time.Millisecond, silent: 1100 * time.Millisecond},
		fault:   func(s *site) error { return s.pause(old, time.Second) },
	},
	{
		name: "pause5", event: "The same for 5 s", clients: "The same", remedy: "nothing",
		sees:    []sight{became(next, "Master", "masterDown"), became(old, "Backup", "stalled")},
		targets: map[string]time.Duration{gone: lease, silent: 5 * time.Second},
		fault:   func(s *site) error { return s.pause(old, 5*time.Second) },
	},
	{
		name: "cable", event: "The cable is out, the switch port is off", clients: "As with a crash", remedy: "cable, switch port",
		sees:  []sight{became(old, "Initialize", "noCarrier"), became(next, "Master", "masterDown")},
		fault: func(s *site) error { return s.Cut(old) },
		heal:  func(s *site) error { return s.Restore(old) },
	},
	{
		name: "interfaceDown", event: "The interface is set down", clients: "As with a crash", remedy: "`ip link set eth0 up`",
		sees:  []sight{became(old, "Initialize", "linkDown"), became(next, "Master", "masterDown")},
		fault: func(s *site) error { return s.ip(old, "link set eth0 down") },
		// The kernel has removed its IPv6 addresses.
		heal: func(s *site) error { return s.ip(old, append([]string{"link set eth0 up"}, own6(s)...)...) },
	},
	{
		name: "interfaceRemoved", event: "The interface is removed, and made again", clients: "As with a crash", operator: "`unplaced` in `/status` of the old Master", remedy: "make it again",
		sees:  []sight{became(old, "Initialize", "noInterface"), became(next, "Master", "masterDown"), logged(old, "VIP has no interface on this node")},
		fault: removeInterface,
		heal:  restoreInterface,
	},
	{
		name: "sourceAddress", event: "The node loses the address that it advertises from (with `--iface`; without, the VIP has no interface then, and the reason is `noInterface`)", clients: "As with a crash. VIPs of the other family stay", remedy: "give it one", only4: true,
		args:  []string{"--iface=eth0"},
		sees:  []sight{became(old, "Initialize", "noSourceAddress"), {who: next, line: "Virtual router changed state", fields: []string{`state="Master"`}, event: "Master", text: roles[next] + ": `Master`"}},
		fault: func(s *site) error { return s.ip(old, "addr del "+s.Hosts[old].IPv4.String()+"/24 dev eth0") },
		heal:  func(s *site) error { return s.ip(old, "addr add "+s.Hosts[old].IPv4.String()+"/24 dev eth0") },
	},
}

// own6 are the commands that give the old Master's interface its IPv6 addresses.
func own6(s *site) []string {
	return []string{
		"addr add " + s.Hosts[old].LinkLocal.String() + "/64 dev eth0 nodad",
		"addr add " + s.Hosts[old].IPv6.String() + "/64 dev eth0 nodad",
	}
}

// removeInterface takes the interface out of the host. It is made again from the same
// pair, so that the switch keeps its port, but with another index.
func removeInterface(s *site) error {
	var err error
	if s.drawer, err = s.AddNamespace("drawer"); err != nil {
		return err
	}
	return s.ip(old, "link set eth0 netns "+s.drawer.Path())
}

func restoreInterface(s *site) error {
	h := s.Hosts[old]
	return errors.Join(
		takeIndexes(h),
		s.drawer.IP("link set eth0 netns "+h.Path()),
		s.ip(old, append([]string{"link set eth0 addrgenmode none", "addr add " + h.IPv4.String() + "/24 dev eth0", "link set eth0 up"}, own6(s)...)...),
	)
}

// takeIndexes makes links that have the next free indexes.
func takeIndexes(h *lab.Host) error {
	return h.IP("link add taken0 type bridge", "link add taken1 type bridge", "link add taken2 type bridge")
}

// networkCells are faults between the nodes.
var networkCells = []*cell{
	{
		name: "partition", event: "The Master's switch port drops everything, and passes it again later", clients: "As with a crash. Each side has a Master and serves its own clients; afterwards the lower priority yields", remedy: "the network", returns: true, split: true,
		sees: []sight{became(next, "Master", "masterDown"), became(next, "Backup", "higherPriority")},
		fault: func(s *site) error {
			return s.Silence(old)
		},
		during: func(s *site) { s.waitAnsweredBy(1) },
		heal:   func(s *site) error { return s.Hear(old) },
	},
	{
		name: "oneWay", event: "The Master is not heard: its advertisements are lost, all else passes", clients: "Two nodes answer while it lasts. Open connections may break", remedy: "[Two Masters](operations.md#two-masters)", returns: true,
		sees:  []sight{became(next, "Master", "masterDown"), alarmed(old, "splitBrain"), alarmed(old, "peerDeaf"), became(next, "Backup", "higherPriority")},
		fault: func(s *site) error { return s.loseVRRP("iifname", old) },
		during: func(s *site) {
			s.waitAnsweredBy(2)
			// The alarms come before it ends.
			for _, w := range s.cell.sees[1:3] {
				s.eventually("the alarm begins", func() error { return s.seen(w) })
			}
		},
		heal:    func(s *site) error { return s.Pass() },
		targets: map[string]time.Duration{two: 5 * time.Second, silent: 5 * time.Second},
	},
	{
		name: "deafBackup", event: "A Backup hears no advertisements, all else passes", clients: "The same", remedy: "[Two Masters](operations.md#two-masters)", returns: true,
		sees:  []sight{became(next, "Master", "masterDown"), alarmed(old, "peerDeaf"), became(next, "Backup", "higherPriority")},
		fault: func(s *site) error { return s.loseVRRP("oifname", next) },
		during: func(s *site) {
			s.waitAnsweredBy(2)
			s.eventually("the alarm begins", func() error { return s.seen(s.cell.sees[1]) })
		},
		heal:    func(s *site) error { return s.Pass() },
		targets: map[string]time.Duration{two: 5 * time.Second, silent: 5 * time.Second},
	},
	{
		name: "vridConflict", event: "Somebody else uses the VRID, with another version of VRRP and for other addresses", clients: "Nothing", remedy: "[another VRID](operations.md#a-foreign-virtual-router)", stays: true, stranger: true,
		sees:    []sight{alarmed(old, "vridConflict")},
		targets: map[string]time.Duration{outage: 20 * time.Millisecond},
		fault: func(s *site) (err error) {
			s.resume, err = advertise(s.Hosts[stranger], netip.MustParseAddr("192.0.2.150"))
			return err
		},
		during: func(s *site) { s.look(s.cell) },
		heal:   func(s *site) error { return s.resume() },
	},
}

// loseVRRP makes the switch lose the advertisements of the probed VIPs in one direction.
func (s *site) loseVRRP(direction string, host int) error {
	return s.Drop(
		fmt.Sprintf(`%s %q ip protocol 112 @th,8,8 50`, direction, s.Port(host)),
		fmt.Sprintf(`%s %q ip6 nexthdr 112 @th,8,8 50`, direction, s.Port(host)))
}
