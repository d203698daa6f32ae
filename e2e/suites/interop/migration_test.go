package interop

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/lab/labtest"
	"kube-vrrp-vip/pkg/netns"
)

// oldConfiguration is what kube-keepalived-vip writes for keepalived. A VIP
// whose Service has no endpoint is left out.
func oldConfiguration(priority int, vips []netip.Addr) string {
	var list strings.Builder
	for _, a := range vips {
		fmt.Fprintf(&list, "    %s\n", a)
	}
	return fmt.Sprintf(`global_defs {
  vrrp_version 3
  script_user root
  enable_script_security
}
vrrp_instance vips {
  state BACKUP
  interface eth0
  virtual_router_id %d
  priority %d
  nopreempt
  advert_int 1
  track_interface {
    eth0
  }
  virtual_ipaddress {
%s  }
}
`, vrid, priority, list.String())
}

// A DaemonSet of kube-keepalived-vip becomes one of ours, node by node as a
// rolling update does it, with the same ConfigMap. It does not run beside the
// other tests, since it measures.
func TestNetnsMigration(t *testing.T) {
	// Of the old priorities 100, 101 and 102 the last is Master.
	for name, order := range map[string][]int{"master_first": {2, 1, 0}, "master_last": {0, 1, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newMigration(t, name).run(order)
		})
	}
}

// migration is a LAN with three nodes.
type migration struct {
	*lab.Lab
	t    *testing.T
	name string
	// old are the VIPs that keepalived serves; empty is one that it leaves out.
	old   []netip.Addr
	empty netip.Addr

	keepalived []*netns.Process
	daemons    []*lab.Daemon // by host; nil while keepalived runs there
}

func newMigration(t *testing.T, name string) *migration {
	t.Helper()
	l := newLab(t, 3)
	m := &migration{
		Lab: l, t: t, name: name, daemons: make([]*lab.Daemon, 3),
		// The last is outside of the nodes' network.
		old:   []netip.Addr{netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("192.0.2.102"), netip.MustParseAddr("198.51.100.100")},
		empty: netip.MustParseAddr("192.0.2.101"),
	}
	data := map[string]string{m.empty.String(): "default/empty"}
	for _, a := range m.old {
		data[a.String()] = "default/web"
	}
	l.SetConfigMap(data)
	l.SetService("default", "empty", "10.96.0.11", 80)
	// The pods of the old image are the same DaemonSet's.
	for _, h := range l.Hosts {
		l.SetNode(h, 0)
		l.SetPod(h)
	}
	return m
}

func (m *migration) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *migration) eventually(what string, f func() error) {
	m.t.Helper()
	labtest.Eventually(m.t, patience, what, f)
}

func (m *migration) run(order []int) {
	// The one that is to be Master begins.
	for i, h := range slices.Backward(m.Hosts) {
		p, err := m.StartKeepalivedFile(h, oldConfiguration(100+i, m.old))
		m.check(err)
		m.keepalived = append([]*netns.Process{p}, m.keepalived...)
		m.eventually(h.Name+" is to become Backup, or Master", func() error {
			if !strings.Contains(p.Output(), keepalived.backup) {
				return errors.New("it has not")
			}
			return nil
		})
		m.served("keepalived serves")
	}
	// All have heard the Master.
	ready := time.Now()
	m.eventually("the Master is to advertise", func() error {
		if len(m.Recorder.Advertisements(ready, false, vrid)) == 0 {
			return errors.New("it has not")
		}
		return nil
	})
	begin, stop := time.Now(), m.ask()
	for _, i := range order {
		at := time.Now()
		m.check(m.keepalived[i].Terminate())
		m.checkNoComplaints(m.keepalived[i])
		d, err := m.StartDaemon(m.Hosts[i], 0)
		m.check(err)
		m.daemons[i] = d
		m.eventually(m.Hosts[i].Name+" has our daemon now, which is to be ready", func() error {
			r, err := d.Router(m.t.Context(), false, vrid)
			if err == nil && r.State != "Backup" && r.State != "Master" {
				err = fmt.Errorf("it is %s, %s", r.State, r.Reason)
			}
			return err
		})
		m.served(m.Hosts[i].Name + " has our daemon now")
		m.measureHandover(at, m.Hosts[i])
	}
	stop()
	m.measure(begin, time.Now())
	m.checkEnd()
}

// served waits until every VIP is held by one host, the same for all, which
// answers for them.
func (m *migration) served(why string) {
	m.t.Helper()
	m.eventually(why, func() error {
		holders := m.Recorder.Holders(m.old[0])
		if len(holders) != 1 {
			return fmt.Errorf("%s is held by %v", m.old[0], holders)
		}
		vips := m.old
		if m.daemons[holders[0]] != nil {
			vips = append(slices.Clone(vips), m.empty)
		}
		for _, a := range vips {
			if got := m.Recorder.Holders(a); !slices.Equal(got, holders) {
				return fmt.Errorf("%s is held by %v, %s by %v", m.old[0], holders, a, got)
			}
			asked := time.Now()
			if err := m.Ask(a); err != nil {
				return err
			}
			time.Sleep(2 * time.Millisecond)
			if got := m.Answers(a, asked); !slices.Equal(got, holders) {
				return fmt.Errorf("%s is held by %v, %v answer for it", a, holders, got)
			}
		}
		return nil
	})
}

// ask lets the client ask for every VIP 100 times a second, until stop.
func (m *migration) ask() (stop func()) {
	ctx, cancel := context.WithCancel(m.t.Context())
	ended := make(chan error, 1)
	go func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-ticker.C:
			}
			for _, a := range append(slices.Clone(m.old), m.empty) {
				if err := m.Ask(a); err != nil {
					ended <- err
					return
				}
			}
		}
	}()
	return func() {
		m.t.Helper()
		cancel()
		m.check(<-ended)
	}
}

// measureHandover measures from the release of a Master, if the host was it, to the first
// advertisement of the next.
func (m *migration) measureHandover(since time.Time, left *lab.Host) {
	m.t.Helper()
	var released time.Time
	for _, a := range m.Recorder.Advertisements(since, false, vrid) {
		switch v := a.VRRP; {
		case a.Host == left.Index && v.Priority == 0:
			released = a.At
		case !released.IsZero() && a.Host != left.Index:
			// Skew_Time at keepalived's interval, and our own delay of at most two
			// places among three.
			target := time.Second * time.Duration(256-v.Priority) / 256
			who := "keepalived"
			if m.daemons[a.Host] != nil {
				target += 2 * max(1250*time.Microsecond, 100*time.Millisecond/16)
				who = "ours"
			}
			elapsed := a.At.Sub(released)
			m.t.Logf("measured: migration_%s_release_of_keepalived_to_%s=%v target=%v", m.name, who, elapsed.Round(100*time.Microsecond), target)
			if limit := max(5*target, 5*time.Second); elapsed > limit {
				m.t.Errorf("%s took over %v after the release, want at most %v", m.Hosts[a.Host].Name, elapsed, limit)
			}
			return
		}
	}
	if !released.IsZero() {
		m.t.Errorf("nobody took over from %s", left.Name)
	}
}

// measure adds up for every VIP when none and when two hosts had it, and prints
// the worst of them. Their times are those of rtnetlink's messages; the client's,
// those of the answers to its questions at the switch.
func (m *migration) measure(begin, end time.Time) {
	m.t.Helper()
	var none, several, unanswered time.Duration
	for _, a := range append(slices.Clone(m.old), m.empty) {
		from := begin
		if a == m.empty {
			// Nobody had it before our daemon.
			from = m.Recorder.Bindings(begin, a)[0].At
		}
		h := m.Recorder.Holding(a, from, end)
		silence, both := m.answers(a, from, end)
		m.t.Logf("%s: held by none for %v, by several for %v, unanswered for %v, answered by several for %v", a, h.LongestNone, h.Several, silence, both)
		none, several, unanswered = max(none, h.LongestNone), max(several, h.Several, both), max(unanswered, silence)
	}
	for _, f := range []struct {
		name                   string
		value, target, atLeast time.Duration
	}{
		{"held_by_none", none, time.Second, 5 * time.Second},
		{"unanswered", unanswered, time.Second, 5 * time.Second},
		// A second Master would stay for seconds.
		{"held_by_several", several, 20 * time.Millisecond, 500 * time.Millisecond},
	} {
		m.t.Logf("measured: migration_%s_%s=%v target=%v", m.name, f.name, f.value.Round(100*time.Microsecond), f.target)
		if limit := max(5*f.target, f.atLeast); f.value > limit {
			m.t.Errorf("a VIP was %s for %v, want at most %v", strings.ReplaceAll(f.name, "_", " "), f.value, limit)
		}
	}
}

// answers returns the longest time without an answer, and for how long answers
// came from several hosts, to the questions of 10 ms each.
func (m *migration) answers(a netip.Addr, from, end time.Time) (silence, several time.Duration) {
	const step = 10 * time.Millisecond
	at, hosts := from, map[int64]int{}
	for _, p := range m.Recorder.Packets(from, func(p lab.Packet) bool {
		return p.Neighbor != nil && p.Neighbor.Answer && !p.Neighbor.Gratuitous && p.Neighbor.Address == a
	}) {
		silence, at = max(silence, p.At.Sub(at)), p.At
		which := p.At.UnixNano() / int64(step)
		if first, ok := hosts[which]; !ok {
			hosts[which] = p.Host
		} else if first != p.Host && first >= 0 {
			hosts[which] = -1
			several += step
		}
	}
	return max(silence, end.Sub(at)), several
}

// checkNoComplaints checks that keepalived took our advertisements.
func (m *migration) checkNoComplaints(p *netns.Process) {
	m.t.Helper()
	for line := range strings.Lines(p.Output()) {
		for _, c := range keepalived.complaints {
			if strings.Contains(line, c) {
				m.t.Errorf("keepalived writes: %s", line)
			}
		}
	}
}

// checkEnd checks what is there at the end: one Master, and Backups that know it.
func (m *migration) checkEnd() {
	m.t.Helper()
	masters := 0
	for i, d := range m.daemons {
		r, err := d.Router(m.t.Context(), false, vrid)
		m.check(err)
		if r.State == "Master" {
			masters++
		}
		if len(r.Alarms) > 0 {
			m.t.Errorf("%s ends with alarms: %v", m.Hosts[i].Name, r.Alarms)
		}
	}
	if masters != 1 {
		m.t.Errorf("%d Masters in the end", masters)
	}
}
