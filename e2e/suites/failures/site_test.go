package failures

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/lab/labtest"
	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/pkg/netns"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

const (
	// patience bounds each wait. Longest takes a new start with VRRPv2, 8 s.
	patience = 20 * time.Second
	// askEvery is how often the client asks who has each address, and every how
	// often it begins a connection to the probed VIP.
	askEvery = 10 * time.Millisecond
	every    = 2 * time.Millisecond
)

// The roles of the hosts. By their names they have the priorities 224, 196 and 157 in
// the virtual router 50, and 155, 195 and 224 in 53: so the old Master, its successor,
// and one that is Master of the other virtual router, which loses nothing.
const (
	old = iota
	next
	third
	stranger // only where a cell asks for one
)

var roles = []string{"the old Master", "the new Master", "the third node"}

var (
	vip4  = netip.MustParseAddr("192.0.2.100")
	vip6  = netip.MustParseAddr("2001:db8::100")
	other = netip.MustParseAddr("192.0.2.110")
	vips  = []netip.Addr{vip4, vip6}
)

// The entries of the ConfigMap.
var (
	ours   = map[string]string{"192.0.2.100": "", "2001-db8--100": ""}
	theirs = map[string]string{"other": "addresses: [192.0.2.110]\nvrid: 53\n"}
)

func entries(parts ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, p := range parts {
		maps.Copy(all, p)
	}
	return all
}

// vrid is the virtual router that a VIP belongs to.
func vrid(a netip.Addr) int {
	if a == other {
		return 53
	}
	return 50
}

// site is a LAN with three daemons, on which one cell is tried.
type site struct {
	*lab.Lab
	t       *testing.T
	cell    *cell
	daemons [3]*lab.Daemon
	// wrote is how much a daemon had written when the fault began.
	wrote     map[*lab.Daemon]int
	started   [3][]*lab.Daemon
	events    int
	questions *lab.Questions
	probes    map[netip.Addr]*probe.Probe
	// at is when the fault began.
	at time.Time
	// figures are what was measured.
	figures map[string]time.Duration
	// What faults leave for their healing: a way to end them, and where an interface
	// is kept.
	resume func() error
	drawer *netns.Namespace
}

func newSite(t *testing.T, c *cell) *site {
	t.Helper()
	netnstest.Require(t)
	hosts := 3
	if c.stranger {
		hosts = 4
	}
	begin := time.Now()
	l, err := lab.New(hosts)
	if err != nil {
		t.Fatal(err)
	}
	// A daemon that is starved is another fault than the cell's.
	l.Nice = -15
	s := &site{Lab: l, t: t, cell: c, wrote: map[*lab.Daemon]int{}, probes: map[netip.Addr]*probe.Probe{}, figures: map[string]time.Duration{}}
	t.Cleanup(func() {
		if t.Failed() {
			if !s.at.IsZero() {
				begin = s.at
			}
			t.Log(l.Report(begin))
		}
		if s.questions != nil {
			s.soft(s.questions.Stop())
		}
		for _, p := range s.probes {
			p.Stop()
		}
		s.soft(l.Close())
	})
	for _, h := range l.Hosts[:3] {
		s.check(l.Serve(h, 80))
	}
	s.settle()
	return s
}

// check ends the test if there is an error, soft lets it go on.
func (s *site) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) soft(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Error(err)
	}
}

// eventually waits until f returns nil.
func (s *site) eventually(what string, f func() error) {
	s.t.Helper()
	labtest.Eventually(s.t, patience, what, f)
}

// start starts the daemon of a host, as the cell wants it.
func (s *site) start(host int, args ...string) error {
	var command []string
	if s.cell.command != nil {
		command = s.cell.command(host)
	}
	d, err := s.StartDaemonBy(command, s.Hosts[host], 0, slices.Concat(s.cell.args, args)...)
	if err == nil {
		s.daemons[host] = d
		s.started[host] = append(s.started[host], d)
	}
	return err
}

// settle starts the daemons and waits until each has its role. Who is first to be
// Master is a race, which a busy machine may let another one win: then again.
func (s *site) settle() {
	s.t.Helper()
	s.SetConfigMap(ours)
	s.check(s.start(old))
	s.eventually("the daemon has its configuration", func() error {
		if !strings.Contains(s.daemons[old].Output(), "Accepted the configuration") && !s.cell.silentLog {
			return errors.New("it has not")
		}
		return nil
	})
	s.check(s.start(next))
	s.check(s.start(third))
	s.elect(nil, ours, old, vips...)
	s.elect(ours, theirs, third, other)
	s.questions = s.AskEvery(askEvery, vip4, vip6, other)
	s.waitAlone(old, vips...)
	s.waitAlone(third, other)
	s.waitState(old, "Backup", other)
	s.waitState(next, "Backup", vip4, vip6, other)
	s.waitState(third, "Backup", vips...)
	for a, step := range map[netip.Addr]time.Duration{vip4: every, vip6: 5 * every, other: 5 * every} {
		p, err := probe.Start(s.Client.Path(), netip.AddrPortFrom(a, 80), step)
		s.check(err)
		s.probes[a] = p
	}
	s.waitAnswered(20)
}

// elect adds entries to the ConfigMap, again until a host holds their VIPs.
func (s *site) elect(present, added map[string]string, host int, addresses ...netip.Addr) {
	s.t.Helper()
	for range 10 {
		s.SetConfigMap(entries(present, added))
		right := true
		for _, a := range addresses {
			s.eventually(a.String()+" has a holder", func() error {
				if got := s.Recorder.Holders(a); len(got) != 1 {
					return fmt.Errorf("held by %v", got)
				}
				return nil
			})
			right = right && s.held(a, host) == nil
		}
		if right {
			return
		}
		s.SetConfigMap(present)
		for _, a := range addresses {
			s.eventually(a.String()+" is gone", func() error { return s.held(a) })
		}
	}
}

// waitAnswered waits for n more answers to each of the probes.
func (s *site) waitAnswered(n int, addresses ...netip.Addr) {
	s.t.Helper()
	if addresses == nil {
		addresses = []netip.Addr{vip4, vip6, other}
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for _, a := range addresses {
		s.check(s.probes[a].WaitSuccesses(ctx, n))
	}
}

// held reports whether the hosts, and no others, hold an address.
func (s *site) held(a netip.Addr, hosts ...int) error {
	if got := s.Recorder.Holders(a); !slices.Equal(got, hosts) {
		return fmt.Errorf("%s is held by %v, not %v", a, got, hosts)
	}
	return nil
}

// waitAlone waits until a host, and no other, holds addresses and answers for them.
func (s *site) waitAlone(host int, addresses ...netip.Addr) {
	s.t.Helper()
	for _, a := range addresses {
		s.eventually(fmt.Sprintf("%s is to be at n%d alone", a, host), func() error {
			if err := s.held(a, host); err != nil || s.questions == nil {
				return err
			}
			if got := s.questions.Repliers(a, time.Now().Add(-5*askEvery)); !slices.Equal(got, []int{host}) {
				return fmt.Errorf("%v answer", got)
			}
			return nil
		})
	}
}

// waitState waits until the virtual router of an address is in a state.
func (s *site) waitState(host int, state string, addresses ...netip.Addr) {
	s.t.Helper()
	for _, a := range addresses {
		s.eventually(fmt.Sprintf("n%d is to be %s of %s", host, state, a), func() error {
			r, err := s.daemons[host].Router(s.t.Context(), a.Is6(), vrid(a))
			if err == nil && r.State != state {
				err = fmt.Errorf("it is %s, %s", r.State, r.Reason)
			}
			return err
		})
	}
}

// begin notes what there was before the fault.
func (s *site) begin() {
	for _, d := range s.daemons {
		s.wrote[d] = len(d.Output())
	}
	s.events = len(s.API.Events())
	s.at = time.Now().Round(0)
}

// lines are what the daemons of a host have written since the fault began.
func (s *site) lines(host int) []string {
	var all []string
	for _, d := range s.started[host] {
		all = append(all, strings.Split(d.Output()[s.wrote[d]:], "\n")...)
	}
	return all
}

// kill kills the daemon of a host with a signal that it can do nothing about.
func (s *site) kill(host int) { s.daemons[host].Kill() }

// signal sends the daemon of a host a signal.
func (s *site) signal(host int, sig syscall.Signal) error { return s.daemons[host].Signal(sig) }

// end sends the daemon of a host a signal that ends it, and waits for the end.
func (s *site) end(host int, sig syscall.Signal) error {
	if err := s.signal(host, sig); err != nil {
		return err
	}
	return s.waitEnded(host)
}

// waitEnded waits until the daemon of a host has ended.
func (s *site) waitEnded(host int) error {
	select {
	case <-s.daemons[host].Done():
		return nil
	case <-time.After(patience):
		return errors.New("the daemon still runs")
	}
}

// ip runs lines of iproute2 on a host.
func (s *site) ip(host int, lines ...string) error { return s.Hosts[host].IP(lines...) }

// standstill stops the daemon of a host, from the begin of the fault for so long.
func (s *site) standstill(host int, d time.Duration) error {
	err := s.signal(host, syscall.SIGSTOP)
	// What is measured is a time: nothing could be polled for.
	<-time.After(d - time.Since(s.at))
	return errors.Join(err, s.signal(host, syscall.SIGCONT), s.tooLong())
}

// pause does the same, and the host sends and receives nothing meanwhile.
func (s *site) pause(host int, d time.Duration) error {
	err := errors.Join(s.signal(host, syscall.SIGSTOP), s.Silence(host))
	<-time.After(d - time.Since(s.at))
	return errors.Join(err, s.Hear(host), s.signal(host, syscall.SIGCONT), s.tooLong())
}

// shortest is the Master_Down_Interval of the Backup that would take over first, less
// the interval that the last advertisement may be old.
const shortest = 220 * time.Millisecond

// errSlow is a pause that took longer than asked for, for the machine was busy, so that
// a Backup takes over for good reason.
var errSlow = errors.New("the pause took too long")

// tooLong reports whether a cell in which nothing is to move cannot be tried this time.
func (s *site) tooLong() error {
	if took := time.Since(s.at); s.cell.stays && took > shortest {
		return fmt.Errorf("%w: %v", errSlow, took)
	}
	return nil
}

// waitAnsweredBy waits until so many hosts answer for each of the VIPs, and not only the
// old Master.
func (s *site) waitAnsweredBy(n int) {
	s.t.Helper()
	for _, a := range vips {
		s.eventually(fmt.Sprintf("%d are to answer for %s", n, a), func() error {
			if got := s.questions.Repliers(a, time.Now().Add(-5*askEvery)); len(got) != n || got[n-1] == old {
				return fmt.Errorf("%v answer", got)
			}
			return nil
		})
	}
}

// waitSettled waits until one host, and no other, holds each of the addresses and answers
// for it.
func (s *site) waitSettled(addresses ...netip.Addr) {
	s.t.Helper()
	for _, a := range addresses {
		s.eventually("one is to have "+a.String(), func() error {
			holders := s.Recorder.Holders(a)
			if len(holders) != 1 {
				return fmt.Errorf("%v hold it", holders)
			}
			if got := s.questions.Repliers(a, time.Now().Add(-5*askEvery)); !slices.Equal(got, holders) {
				return fmt.Errorf("%v holds it, %v answer", holders, got)
			}
			return nil
		})
	}
}

// heldBy returns those of the addresses that a host holds.
func (s *site) heldBy(host int, addresses ...netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return s.held(a, host) != nil })
}
