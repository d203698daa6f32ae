package failures

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// addressCells are what others on the node or the LAN do to a VIP.
var addressCells = []*cell{
	{
		name: "vipRemoved", event: "Somebody removes a VIP from the interface", clients: "No answer until it is back, without a change of state", remedy: "find out who did it", stays: true,
		sees:    []sight{logged(old, "Address was removed by another program, bound it again")},
		targets: map[string]time.Duration{outage: repair, back: repair},
		fault:   func(s *site) error { return s.ip(old, "addr del "+vip4.String()+"/32 dev eth0") },
	},
	{
		name: "takenAtTakeover", event: "The Master dies, and the next node has a VIP as an address that is not the daemon's", clients: "Two nodes answer: the third one takes over this VIP, and the next the others. The foreign address is left alone", remedy: "`ip addr del` on that node",
		sees:  []sight{logged(next, "VIP has no interface on this node")},
		whole: takenAtTakeover, targets: map[string]time.Duration{outage: crash},
	},
	{
		name: "duplicate", event: "A stranger has a VIP as its address", clients: "Two answer. Who knows the address goes on; who asks anew gets either", remedy: "find it by its MAC, `arping` shows it; take its address away", stays: true, stranger: true,
		sees:    []sight{alarmed(old, "duplicateAddress")},
		targets: map[string]time.Duration{outage: 20 * time.Millisecond},
		fault:   func(s *site) error { return s.ip(stranger, "addr add "+vip4.String()+"/32 dev eth0") },
		during: func(s *site) {
			s.eventually("both answer", func() error {
				if got := s.questions.Repliers(vip4, s.at); !slices.Equal(got, []int{old, stranger}) {
					return fmt.Errorf("%v answer", got)
				}
				return nil
			})
			s.look(s.cell)
		},
		heal: func(s *site) error { return s.ip(stranger, "addr del "+vip4.String()+"/32 dev eth0") },
	},
	{
		name: "eventFlood", event: "So many changes of addresses at once that the kernel drops events (`ENOBUFS`); among them a Backup loses its address", clients: "Nothing", remedy: "give it its address back", stays: true,
		sees:    []sight{logged(next, "VIP has no interface on this node")},
		targets: map[string]time.Duration{outage: 20 * time.Millisecond},
		fault:   flood,
		during:  func(s *site) { s.look(s.cell) },
		heal:    func(s *site) error { return s.ip(next, "addr add "+s.Hosts[next].IPv4.String()+"/24 dev eth0") },
	},
	{
		name: "nftFlush", event: "Somebody flushes nftables (`nft flush ruleset`)", clients: "A VIP without a Service: nothing. Of others open connections break, and new ones are refused or reach listeners of the node until the tables are back", remedy: "find out who did it", stays: true,
		sees:    []sight{logged(old, "Repaired a table that another program had changed")},
		targets: map[string]time.Duration{outage: 20 * time.Millisecond},
		fault:   func(s *site) error { return s.Hosts[old].Nft("flush ruleset\n") },
		during:  func(s *site) { s.look(s.cell) },
	},
}

// repair is how soon an address that somebody has removed is back.
const repair = 100 * time.Millisecond

// flood makes a Backup's daemon miss events: it stands still while more come than its
// socket holds.
func flood(s *site) error {
	lines := []string{"link add flood type bridge"}
	for i := range 2000 {
		lines = append(lines, fmt.Sprintf("addr add 10.%d.%d.1/32 dev flood", i/250, i%250))
	}
	return errors.Join(
		s.ip(next, lines...),
		s.signal(next, syscall.SIGSTOP),
		s.ip(next, "link del flood", "addr del "+s.Hosts[next].IPv4.String()+"/24 dev eth0"),
		s.signal(next, syscall.SIGCONT))
}

// takenAtTakeover lets the successor find a VIP as an address of somebody else's.
func takenAtTakeover(s *site) {
	s.check(s.ip(next, "addr add "+vip4.String()+"/24 dev eth0"))
	s.eventually("it is the address of two", func() error { return s.held(vip4, old, next) })
	s.kill(old)
	s.eventually("the others have taken over", func() error {
		return errors.Join(s.held(vip4, next, third), s.held(vip6, next))
	})
	s.look(s.cell)
	s.waitAnswered(20)
	s.bystander()
	s.check(s.ip(next, "addr del "+vip4.String()+"/24 dev eth0"))
	s.waitAlone(third, vip4)
	s.waitAnswered(20)
}

// kubeCells are faults of the control plane and of what is read from it.
var kubeCells = []*cell{
	{
		name: "noAPI", event: "The API server is away, and then the Master's node crashes", clients: "As with a crash", operator: "no Events until it is back", remedy: "the API server; changes of the ConfigMap wait for it",
		sees: []sight{
			{who: next, line: "Kubernetes API request failed, went on with what is known", text: roles[next] + ": log `Kubernetes API request failed, went on with what is known`"},
			became(next, "Master", "masterDown"),
		},
		fault: func(s *site) error {
			if err := s.API.Stop(); err != nil {
				return err
			}
			s.eventually("the daemons notice it", func() error { return s.seen(s.cell.sees[0]) })
			s.at = time.Now().Round(0)
			err := s.Cut(old)
			s.kill(old)
			return err
		},
		heal: func(s *site) error { return errors.Join(s.API.Start(), s.Restore(old), s.start(old)) },
	},
	{
		name: "entryRemoved", event: "An entry is removed from the ConfigMap, and added again", clients: "Its VIPs are away meanwhile. The others lose nothing", remedy: "nothing", everyone: false,
		sees: []sight{became(old, "Initialize", "shutdown")}, targets: map[string]time.Duration{gone: release},
		whole: func(s *site) { s.without(entries(theirs), vips...); s.bystander() },
	},
	{
		name: "emptied", event: "The ConfigMap is emptied, and filled again", clients: "All VIPs are away meanwhile", remedy: "nothing: it is an instruction", everyone: true,
		sees: []sight{became(old, "Initialize", "shutdown")}, targets: map[string]time.Duration{gone: release},
		whole: func(s *site) { s.without(nil, vip4, vip6, other) },
	},
}

// without configures what is left of the VIPs for a while.
func (s *site) without(left map[string]string, away ...netip.Addr) {
	s.t.Helper()
	s.SetConfigMap(left)
	for _, a := range away {
		s.eventually("nobody is to hold "+a.String(), func() error { return s.held(a) })
		for _, b := range s.Recorder.Bindings(s.at, a) {
			s.figures[gone] = max(s.figures[gone], b.At.Sub(s.at))
		}
	}
	s.SetConfigMap(entries(ours, theirs))
	for _, a := range away {
		s.waitSettled(a)
	}
	s.waitAnswered(20)
}
