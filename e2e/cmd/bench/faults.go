package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
)

const (
	// askEvery is how often the client asks who has the VIP, as a new client does.
	askEvery = 20 * time.Millisecond
	// staleLimit is for how long a dead Master is watched.
	staleLimit = 10 * time.Second
	// staleSilence is when it is believed to be silent.
	staleSilence = 3 * time.Second
	// New clients are those that ask in the two seconds that begin a second after the
	// fault, when another node is Master.
	newFrom    = time.Second
	newClients = 100
)

var faultsText = fmt.Sprintf(strings.TrimSpace(`
The same three nodes, VRRPv3 with 100 ms. The outages are those of a client that has been there before. Whoever comes new asks the LAN who
has the VIP: every %v after the fault one does, and the first answer counts. A daemon that is dead or stopped while its node lives is stale
for as long as that node goes on answering; it is watched for %v. Of %d new clients, who ask from %v after the fault on, some get
the dead node.
`), askEvery, staleLimit, newClients, newFrom)

// fault is an event after which the node may go on answering.
type fault struct {
	event
	// stale means that it is to be measured for how long.
	stale bool
}

// faults are what happens to the Master: those of the failovers are told again, since
// what is compared is to be of one run.
func faults() []fault {
	list := []fault{
		{stale: true, event: event{
			name:  "kill -9",
			cause: func(s *site, i int) error { return s.nodes[i].SignalAll(syscall.SIGKILL) },
			heal: func(s *site, i int) error {
				<-s.nodes[i].Done()
				return s.boot(i)
			},
		}},
		{stale: true, event: event{
			name:    "SIGSTOP",
			cause:   func(s *site, i int) error { return s.nodes[i].SignalAll(syscall.SIGSTOP) },
			heal:    func(s *site, i int) error { return s.nodes[i].SignalAll(syscall.SIGCONT) },
			healing: "SIGCONT after it",
		}},
		{event: event{
			name: "interface down",
			cause: func(s *site, i int) error {
				return s.lab.Hosts[i].IP("link set eth0 down")
			},
			heal: func(s *site, i int) error { return s.lab.Hosts[i].IP("link set eth0 up") },
		}},
		{event: event{
			name:  "VIP removed by ip addr del",
			stays: true,
			cause: func(s *site, i int) error {
				return s.lab.Hosts[i].IP("addr del " + vip.String() + "/32 dev eth0")
			},
			heal: func(s *site, i int) error {
				if len(s.lab.Recorder.Holders(vip)) > 0 {
					return nil
				}
				// It has been given up for good.
				if err := s.nodes[i].Signal(syscall.SIGTERM); err != nil {
					return err
				}
				<-s.nodes[i].Done()
				return s.boot(i)
			},
		}},
	}
	for _, e := range events {
		list = append(list, fault{event: e})
	}
	return list
}

// measureFaults measures every fault runs times with both kinds in turn.
func measureFaults(ctx context.Context, m mode, runs int, kinds [2]kind, progress func(format string, args ...any)) ([]row, error) {
	var sites [2]*site
	for i, k := range kinds {
		s, err := newSite(k, m)
		if err != nil {
			return nil, err
		}
		defer s.close()
		sites[i] = s
	}
	var outages, stale, gotten []row
	for _, f := range faults() {
		outage := row{name: f.name, unit: "ms", outages: true}
		healing := row{name: f.healing, unit: "ms", outages: true}
		answers := row{name: "the dead node goes on answering, " + f.name, unit: "ms", limit: float64(staleLimit.Milliseconds())}
		wrong := row{name: fmt.Sprintf("of %d new clients get the dead node, %s", newClients, f.name)}
		for n := range runs {
			for i, s := range sites {
				s.asking = f.stale
				out, heal, err := s.run(ctx, f.event)
				if err != nil {
					return nil, fmt.Errorf("%s, run %d: %w", f.name, n+1, err)
				}
				outage.add(i, out)
				healing.add(i, heal)
				answers.add(i, s.stale)
				wrong.addNumber(i, float64(s.wrong))
			}
			progress("%s, run %d of %d: outage %.0f ms, keepalived %.0f ms; stale for %.0f ms, keepalived %.0f ms", f.name, n+1, runs,
				outage.ours[n], outage.theirs[n], answers.ours[n], answers.theirs[n])
		}
		outages = append(outages, outage)
		if f.healing != "" {
			outages = append(outages, healing)
		}
		if f.stale {
			stale, gotten = append(stale, answers), append(gotten, wrong)
		}
	}
	return slices.Concat(stale, gotten, outages), nil
}

// staleness is what becomes of a node whose daemon is dead.
type staleness struct {
	// began is when the fault happened, asked when the client asked after it.
	began time.Time
	asked []time.Time
	// stale is how long after the fault the node last answered.
	stale time.Duration
	// wrong is how many of the new clients it got.
	wrong int
}

// askOn goes on asking until the dead node has been silent for a while, or for as long
// as it is watched.
func (s *site) askOn(ctx context.Context, dead int) error {
	for {
		s.stale, s.wrong = judge(s.asked, s.answers(), dead, s.began)
		since := time.Since(s.began)
		if since > staleLimit || since > max(newFrom+newClients*askEvery, s.stale+staleSilence) {
			return nil
		}
		if err := s.ask(); err != nil {
			return err
		}
		if err := rest(ctx, askEvery); err != nil {
			return err
		}
	}
}

// ask asks once who has the VIP. Answers to the client itself would lead it to the
// dead node.
func (s *site) ask() error {
	s.asked = append(s.asked, time.Now())
	return s.lab.AskAsStranger(vip)
}

func (s *site) lastAsked() time.Time {
	if len(s.asked) == 0 {
		return time.Time{}
	}
	return s.asked[len(s.asked)-1]
}

// answers are those to all questions since the fault.
func (s *site) answers() []lab.Packet {
	return s.lab.Recorder.Packets(s.began, func(p lab.Packet) bool {
		n := p.Neighbor
		return n != nil && n.Answer && n.Address == vip && n.To == lab.Stranger
	})
}

// judge returns how long after the fault the dead node last answered, and how many of
// the new clients it answered first. Answers are in the order of time.
func judge(asked []time.Time, answers []lab.Packet, dead int, began time.Time) (stale time.Duration, wrong int) {
	for _, a := range answers {
		if a.Host == dead {
			stale = a.At.Sub(began)
		}
	}
	clients := 0
	for k, at := range asked {
		if at.Sub(began) < newFrom || clients == newClients {
			continue
		}
		clients++
		i := slices.IndexFunc(answers, func(a lab.Packet) bool { return !a.At.Before(at) })
		if i < 0 || k+1 < len(asked) && !answers[i].At.Before(asked[k+1]) {
			continue // nobody has answered
		}
		if answers[i].Host == dead {
			wrong++
		}
	}
	return stale, wrong
}
