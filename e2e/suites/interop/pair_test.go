package interop

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/lab/labtest"
	"kube-vrrp-vip/pkg/netns"
)

const (
	// patience bounds each wait. Longest takes a VRID conflict's end with version
	// 2, 15 s, and a takeover, 4 s.
	patience = 40 * time.Second
	// crossing is how long two routers may both send around a transition: what
	// is under way, on a machine with other work.
	crossing = 100 * time.Millisecond

	vrid = 50
)

func TestMain(m *testing.M) { labtest.Main(m, 16) }

// mode is a way to speak VRRP.
type mode struct {
	name     string
	version  int
	ipv6     bool
	password string
	unicast  bool
}

var (
	modeV2       = mode{name: "v2", version: 2}
	modePASS     = mode{name: "v2-PASS", version: 2, password: "secret12"}
	modeV3       = mode{name: "v3-IPv4", version: 3}
	modeV3IPv6   = mode{name: "v3-IPv6", version: 3, ipv6: true}
	modeUnicast  = mode{name: "unicast-v3-IPv4", version: 3, unicast: true}
	modeUnicast6 = mode{name: "unicast-v3-IPv6", version: 3, unicast: true, ipv6: true}
)

func (m mode) interval() time.Duration {
	if m.version == 2 {
		return time.Second
	}
	return 100 * time.Millisecond
}

// skew is Skew_Time.
func (m mode) skew(priority int) time.Duration {
	return m.interval() * time.Duration(256-priority) / 256
}

// masterDown is Master_Down_Interval with all that our daemon adds: it does not know
// other members, and waits for up to a quarter of an interval more.
func (m mode) masterDown(priority int) time.Duration {
	return 3*m.interval() + m.skew(priority) + m.interval()/4
}

// addresses are n VIPs, from the first.
func (m mode) addresses(first, n int) []netip.Addr {
	var list []netip.Addr
	for i := first; i < first+n; i++ {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)})
		if m.ipv6 {
			a = netip.MustParseAddr(fmt.Sprintf("2001:db8::1:%d", i))
		}
		list = append(list, a)
	}
	return list
}

// peer is another implementation.
type peer struct {
	name  string
	modes []mode
	start func(l *lab.Lab, h *lab.Host, i lab.Instance) (router, error)
	// backup is what it writes when it becomes Backup, complaints what it
	// writes of packets that it does not accept.
	backup     string
	complaints []string
}

// router is a running one.
type router interface {
	Output() string
	SignalAll(s syscall.Signal) error
	Terminate() error
	Kill()
}

var keepalived = peer{
	name:  "keepalived",
	modes: []mode{modeV2, modePASS, modeV3, modeV3IPv6, modeUnicast, modeUnicast6},
	start: func(l *lab.Lab, h *lab.Host, i lab.Instance) (router, error) {
		return l.StartKeepalived(h, i)
	},
	backup:     "Entering BACKUP STATE",
	complaints: []string{"checksum", "unexpected ip number", "not present in MASTER advert", "invalid TTL", "bogus", "auth", "mismatch", "too short", "ignoring"},
}

var frr = peer{
	name:  "FRR",
	modes: []mode{modeV2, modeV3, modeV3IPv6},
	start: func(l *lab.Lab, h *lab.Host, i lab.Instance) (router, error) {
		return l.StartFRR(h, i)
	},
	backup:     "-> Backup",
	complaints: []string{"Datagram invalid"},
}

// each runs a test in every mode with every implementation, all at once.
func each(t *testing.T, modes func(peer) []mode, f func(t *testing.T, peer peer, m mode)) {
	for _, peer := range []peer{keepalived, frr} {
		for _, m := range modes(peer) {
			t.Run(peer.name+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				f(t, peer, m)
			})
		}
	}
}

func allModes(p peer) []mode { return p.modes }

// pair is a LAN with one of our daemons and one router of another
// implementation.
type pair struct {
	*lab.Lab
	t    *testing.T
	peer peer
	mode mode
	vips []netip.Addr
	// ours and theirs are the hosts.
	ours, theirs *lab.Host
	// daemon is the one that was started last.
	daemon *lab.Daemon
	// theirInterval is the mode's unless it is set.
	theirInterval time.Duration
	// theirTTL is that of unicast, 255 unless it is set; 0 is theirs to choose.
	theirTTL int
}

// newLab makes a LAN that ends with the test.
func newLab(t *testing.T, hosts int) *lab.Lab {
	t.Helper()
	l, _ := labtest.New(t, hosts)
	// A router that is starved is a silent one. Our daemon defends itself.
	l.Nice = -15
	l.SetService("default", "web", "10.96.0.10", 80)
	return l
}

// newPair makes a LAN on which our address is the higher, or the lower.
func newPair(t *testing.T, peer peer, m mode, oursIsHigher bool) *pair {
	t.Helper()
	l := newLab(t, 2)
	p := &pair{Lab: l, t: t, peer: peer, mode: m, vips: m.addresses(0, 2), ours: l.Hosts[1], theirs: l.Hosts[0], theirTTL: 255}
	if !oursIsHigher {
		p.ours, p.theirs = p.theirs, p.ours
	}
	t.Cleanup(func() {
		if t.Failed() && p.daemon != nil {
			s, err := p.daemon.Status(context.Background())
			t.Logf("status of our daemon: %+v, %v", s, err)
		}
	})
	p.configure(p.vips)
	return p
}

// configure gives our daemon its VIPs.
func (p *pair) configure(vips []netip.Addr) {
	data := map[string]string{}
	for _, a := range vips {
		data[strings.ReplaceAll(a.String(), ":", "-")] = ""
	}
	p.SetConfigMap(data)
}

// startTheirs starts the other implementation. Its VIPs are those of the pair,
// unless there are others.
func (p *pair) startTheirs(priority int, preempt bool, vips ...netip.Addr) router {
	p.t.Helper()
	if vips == nil {
		vips = p.vips
	}
	i := lab.Instance{
		VRID: vrid, Priority: priority, Version: p.mode.version, Interval: cmp.Or(p.theirInterval, p.mode.interval()),
		Preempt: preempt, Password: p.mode.password, VIPs: vips,
	}
	if p.mode.unicast {
		i.Unicast, i.TTL = []netip.Addr{p.unicastAddress(p.ours)}, p.theirTTL
	}
	r, err := p.peer.start(p.Lab, p.theirs, i)
	p.check(err)
	return r
}

// startOurs starts our daemon.
func (p *pair) startOurs(priority int, args ...string) *lab.Daemon {
	p.t.Helper()
	if p.mode.version == 2 {
		args = append(args, "--vrrp-version=2")
	}
	if p.mode.password != "" {
		file := filepath.Join(p.t.TempDir(), "password")
		p.check(os.WriteFile(file, []byte(p.mode.password+"\n"), 0o600))
		args = append(args, "--auth-pass-file="+file)
	}
	if p.mode.unicast {
		args = append(args, "--use-unicast", "--unicast-peers="+p.unicastAddress(p.theirs).String())
	}
	d, err := p.StartDaemon(p.ours, priority, args...)
	p.check(err)
	p.daemon = d
	return d
}

// unicastAddress is what a host sends unicast advertisements from.
func (p *pair) unicastAddress(h *lab.Host) netip.Addr {
	if p.mode.ipv6 {
		return h.IPv6
	}
	return h.IPv4
}

func (p *pair) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// eventually waits until f returns nil.
func (p *pair) eventually(what string, f func() error) {
	p.t.Helper()
	labtest.Eventually(p.t, patience, what, f)
}

// waitMaster waits until a host advertises and holds all VIPs.
func (p *pair) waitMaster(h *lab.Host, why string) {
	p.t.Helper()
	p.waitSent(h, time.Time{}, 1)
	p.waitHeld(h, why)
}

// waitHeld waits until a host, and no other, holds all VIPs, and answers for them.
func (p *pair) waitHeld(h *lab.Host, why string) {
	p.t.Helper()
	p.waitHeldList(h, why, p.vips)
}

func (p *pair) waitHeldList(h *lab.Host, why string, vips []netip.Addr) {
	p.t.Helper()
	for _, a := range vips {
		p.eventually(fmt.Sprintf("%s: %s is to be at %s alone", why, a, h.Name), func() error {
			if got := p.Recorder.Holders(a); !slices.Equal(got, []int{h.Index}) {
				return fmt.Errorf("it is held by %v", got)
			}
			asked := time.Now()
			if err := p.Ask(a); err != nil {
				return err
			}
			time.Sleep(2 * time.Millisecond)
			if got := p.Answers(a, asked); !slices.Equal(got, []int{h.Index}) {
				return fmt.Errorf("%v answer for it", got)
			}
			return nil
		})
	}
}

// waitState waits until our daemon's virtual router is in a state.
func (p *pair) waitState(d *lab.Daemon, state string) lab.RouterStatus {
	p.t.Helper()
	var r lab.RouterStatus
	p.eventually("our daemon is to be "+state, func() (err error) {
		if r, err = d.Router(p.t.Context(), p.mode.ipv6, vrid); err == nil && r.State != state {
			err = fmt.Errorf("it is %s, %s", r.State, r.Reason)
		}
		return err
	})
	return r
}

// waitAlarm waits until our daemon tells of one that the other implementation causes,
// with that in its detail.
func (p *pair) waitAlarm(d *lab.Daemon, reason, detail string) {
	p.t.Helper()
	p.eventually("our daemon is to tell of "+reason, func() error {
		r, err := d.Router(p.t.Context(), p.mode.ipv6, vrid)
		if err != nil {
			return err
		}
		for _, a := range r.Alarms {
			if a.Reason == reason && strings.Contains(a.Detail, detail) {
				return nil
			}
		}
		return fmt.Errorf("it tells of %v", r.Alarms)
	})
}

// waitHeard waits until a Master has sent an advertisement from now on, and so for
// timers that count from one.
func (p *pair) waitHeard(h *lab.Host) {
	p.t.Helper()
	p.waitSent(h, time.Now(), 1)
}

// waitSent waits until a host has sent n advertisements since a time.
func (p *pair) waitSent(h *lab.Host, since time.Time, n int) {
	p.t.Helper()
	p.eventually(fmt.Sprintf("%s is to send %d advertisements", h.Name, n), func() error {
		if got := len(from(h, p.adverts(since))); got < n {
			return fmt.Errorf("it has sent %d", got)
		}
		return nil
	})
}

// waitResolved waits until their kernel knows our Ethernet address, if it needs it.
// It asks only once a second, and without a carrier it asks in vain.
func (p *pair) waitResolved() {
	p.t.Helper()
	if !p.mode.unicast {
		return
	}
	a := p.unicastAddress(p.ours)
	p.eventually("theirs is to know the Ethernet address of ours", func() error {
		c, err := netns.Dial(p.t.Context(), p.theirs.Path(), "udp", netip.AddrPortFrom(a, 9).String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, _ = c.Write([]byte("?")) // Refused is as good an answer as any.
		out, err := p.theirs.Run("ip", "neigh", "show", a.String())
		if err == nil && !strings.Contains(out, p.ours.MAC) {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
}

// waitBackup waits until the other implementation has become Backup for the nth time.
func (p *pair) waitBackup(r router, nth int) {
	p.t.Helper()
	p.eventually(fmt.Sprintf("%s is to become Backup for the %d. time", p.peer.name, nth), func() error {
		if n := strings.Count(r.Output(), p.peer.backup); n < nth {
			return fmt.Errorf("it has %d times", n)
		}
		return nil
	})
}

// adverts returns the advertisements since a time.
func (p *pair) adverts(since time.Time) []lab.Packet {
	return p.Recorder.Advertisements(since, p.mode.ipv6, vrid)
}

// from returns those of a host.
func from(h *lab.Host, list []lab.Packet) []lab.Packet {
	return slices.DeleteFunc(slices.Clone(list), func(a lab.Packet) bool { return a.Host != h.Index })
}

// measureTakeover measures from the last advertisement of one host to the first of the
// other, after something was done to the old.
func (p *pair) measureTakeover(name string, old, new *lab.Host, done time.Time, target time.Duration) {
	p.t.Helper()
	p.waitSent(new, done, 1)
	last, first := from(old, p.adverts(done.Add(-2*p.mode.interval()))), from(new, p.adverts(done))
	if len(last) == 0 {
		p.t.Fatalf("%s: no advertisement of the old Master", name)
	}
	elapsed := first[0].At.Sub(last[len(last)-1].At)
	p.t.Logf("measured: interop_%s_%s_%s=%v target=%v", p.peer.name, p.mode.name, name, elapsed.Round(100*time.Microsecond), target)
	if limit := max(5*target, 5*time.Second); elapsed > limit {
		p.t.Errorf("%s took %v, want at most %v", name, elapsed, limit)
	}
	if elapsed < 0 {
		p.t.Errorf("%s: the old Master went on for %v", name, -elapsed)
	}
}

// checkMasters checks who was Master one after the other: no two at the same time, but
// for what crossed on the wire, and nobody in between.
func (p *pair) checkMasters(since time.Time, want ...*lab.Host) {
	p.t.Helper()
	var got, names []string
	for _, h := range want {
		names = append(names, h.Name)
	}
	last, changed := -1, time.Time{}
	for _, a := range p.adverts(since) {
		if a.VRRP.Priority == 0 || a.Host == last {
			continue
		}
		if len(got) > 1 && a.At.Sub(changed) < crossing {
			continue
		}
		last, changed = a.Host, a.At
		got = append(got, p.Hosts[a.Host].Name)
	}
	if !slices.Equal(got, names) {
		p.t.Errorf("Masters one after the other: %v, want %v", got, names)
	}
}

// checkWire checks everything that our daemon has sent as advertisements.
func (p *pair) checkWire(lists ...[]netip.Addr) {
	p.t.Helper()
	if lists == nil {
		lists = [][]netip.Addr{p.vips}
	}
	sent := from(p.ours, p.adverts(time.Time{}))
	if len(sent) == 0 {
		p.t.Error("our daemon has sent nothing")
	}
	source, destination, mac, checksum := p.ours.IPv4, netip.MustParseAddr("224.0.0.18"), "01:00:5e:00:00:12", lab.ChecksumPseudoHeader
	if p.mode.ipv6 {
		source, destination, mac = p.ours.LinkLocal, netip.MustParseAddr("ff02::12"), "33:33:00:00:00:12"
	}
	if p.mode.unicast {
		source, destination, mac = p.unicastAddress(p.ours), p.unicastAddress(p.theirs), p.theirs.MAC
	}
	if p.mode.version == 2 {
		checksum = lab.ChecksumMessage
	}
	authType := 0
	if p.mode.password != "" {
		authType = 1
	}
	for _, a := range sent {
		v := a.VRRP
		if v.Source != source || v.Destination != destination || a.To != mac || a.From != p.ours.MAC ||
			v.TTL != 255 || v.TOS != 0xc0 || v.Options || v.Malformed != "" || v.Checksum != checksum ||
			v.Version != p.mode.version || v.Interval != p.mode.interval() || v.AuthType != authType || v.Password != p.mode.password ||
			!slices.ContainsFunc(lists, func(l []netip.Addr) bool { return slices.Equal(l, v.Addresses) }) {
			p.t.Fatalf("our daemon has sent %s to %s, checksum %s, password %q", a, a.To, v.Checksum, v.Password)
		}
	}
}

// checkReleased checks that our daemon has left with priority 0, in three copies, once
// since a time.
func (p *pair) checkReleased(since time.Time) {
	p.t.Helper()
	var copies []time.Time
	for _, a := range from(p.ours, p.adverts(since)) {
		if a.VRRP.Priority == 0 {
			copies = append(copies, a.At)
		}
	}
	if len(copies) != 3 || copies[2].Sub(copies[0]) > crossing {
		p.t.Errorf("our daemon has sent priority 0 at %v, want three copies one after the other", copies)
	}
}

// waitAnnounced waits until our daemon has announced every VIP, since a time.
func (p *pair) waitAnnounced(since time.Time) {
	p.t.Helper()
	p.waitAnnouncements(since, 0)
}

// waitAnnouncedAll waits until our daemon has made all the announcements that follow
// a takeover since a time; the next would be a minute later. A host that was
// told of another by mistake is told again only if there is a reason.
func (p *pair) waitAnnouncedAll(since time.Time) {
	p.t.Helper()
	p.waitAnnouncements(since, 5*time.Second)
}

// waitCorrected waits until our daemon has announced its VIPs after theirs has sent as
// Master beside it, and may have announced them: it has the last word. Who yields
// without having sent anything, as keepalived and FRR do when they hear the
// better Master first, leaves nothing to hear.
func (p *pair) waitCorrected(since time.Time) {
	p.t.Helper()
	sent := from(p.theirs, p.adverts(since))
	p.t.Logf("theirs has sent %d advertisements before it yielded", len(sent))
	if len(sent) == 0 {
		return
	}
	p.waitAnnounced(sent[len(sent)-1].At)
	for _, a := range p.vips {
		if list := p.Recorder.Announcements(since, a); list[len(list)-1].Host != p.ours.Index {
			p.t.Errorf("the last to announce %s is theirs", a)
		}
	}
}

// waitAnnouncements waits until our daemon has announced every VIP at least so long
// after its first announcement since a time.
func (p *pair) waitAnnouncements(since time.Time, after time.Duration) {
	p.t.Helper()
	for _, a := range p.vips {
		p.eventually(fmt.Sprintf("our daemon is to announce %s after %v", a, after), func() error {
			var ours []time.Time
			for _, n := range p.Recorder.Announcements(since, a) {
				if n.Host == p.ours.Index && n.Neighbor.MAC == p.ours.MAC {
					ours = append(ours, n.At)
				}
			}
			if len(ours) == 0 || ours[len(ours)-1].Sub(ours[0]) < after-crossing {
				return fmt.Errorf("it has announced it %d times", len(ours))
			}
			return nil
		})
	}
}

// checkNoComplaints checks what the other implementation has written.
func (p *pair) checkNoComplaints(r router) {
	p.t.Helper()
	for line := range strings.Lines(r.Output()) {
		for _, c := range p.peer.complaints {
			if strings.Contains(line, c) {
				p.t.Errorf("%s writes: %s", p.peer.name, line)
			}
		}
	}
}
