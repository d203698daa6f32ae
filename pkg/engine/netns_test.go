package engine

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
	"kube-vrrp-vip/pkg/vrrp"
)

// patience is what a test waits for; it is five times the longest thing that can
// take that long, the listening at the start.
const patience = 20 * time.Second

// segment is a LAN whose last host is a client.
type segment struct {
	*netnstest.LAN
	t *testing.T
}

func newSegment(t *testing.T, nodes int) segment {
	netnstest.Require(t)
	s := segment{netnstest.NewLAN(t, nodes+1), t}
	for i, h := range s.Hosts {
		h.Run("ip", "addr", "add", s.address(i, vrrp.IPv6).String()+"/64", "dev", "eth0", "nodad")
	}
	return s
}

// address is that of a host.
func (s segment) address(i int, f vrrp.Family) netip.Addr {
	if f == vrrp.IPv6 {
		return simAddress(f, eth0, i)
	}
	return s.Addr(i)
}

func (s segment) client() *netnstest.NS { return s.Hosts[len(s.Hosts)-1] }

// node starts an engine on a host.
func (s segment) node(i int, priority uint8, vips ...netip.Addr) *netnstest.Process {
	s.t.Helper()
	if len(vips) == 0 {
		vips = []netip.Addr{vipA}
	}
	p, _ := s.start(i, prioritized(stateOf(vips...), priority))
	return p
}

// start starts an engine with a state on a host. apply changes the state.
func (s segment) start(i int, state desired.State) (p *netnstest.Process, apply func(desired.State)) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "state")
	apply = func(state desired.State) {
		state.NodeAddresses = []netip.Addr{s.address(i, vrrp.IPv4), s.address(i, vrrp.IPv6)}
		writeState(s.t, file, state, p)
	}
	apply(state)
	// The race detector would have it wait for a second when it ends.
	p = s.Hosts[i].Start("env", "GORACE=atexit_sleep_ms=0", os.Args[0], "-engine.node="+file)
	return p, apply
}

func prioritized(s desired.State, priority uint8) desired.State {
	for i := range s.Routers {
		s.Routers[i].Priority = priority
	}
	return s
}

// pair starts engines on hosts 0 and 1, of which the first is Master and the
// second Backup.
func (s segment) pair(vips ...netip.Addr) (master, backup *netnstest.Process) {
	s.t.Helper()
	if len(vips) == 0 {
		vips = []netip.Addr{vipA}
	}
	master = s.node(0, 200, vips...)
	s.held(vips[0], 0, "alone")
	backup = s.node(1, 100, vips...)
	s.backup(backup, 1)
	return master, backup
}

// backup waits until a process has become Backup for the nth time.
func (s segment) backup(p *netnstest.Process, nth int) {
	s.t.Helper()
	s.eventually(func() bool { return strings.Count(p.Output(), "Initialize -> Backup") >= nth }, "the router did not become Backup")
}

// keepalived starts keepalived 2.2.7 in the same virtual router.
func (s segment) keepalived(i, priority int, vip netip.Addr) *netnstest.Process {
	s.t.Helper()
	dir := s.t.TempDir()
	conf := filepath.Join(dir, "keepalived.conf")
	text := fmt.Sprintf(`global_defs {
    router_id k
}
vrrp_instance vips {
    state BACKUP
    interface eth0
    virtual_router_id 50
    priority %d
    nopreempt
    advert_int 0.1
    version 3
    virtual_ipaddress {
        %s/%d dev eth0
    }
}
`, priority, vip, vip.BitLen())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.Hosts[i].Start("keepalived", "-n", "-l", "-D", "-P", "-f", conf, "-p", filepath.Join(dir, "pid"), "-r", filepath.Join(dir, "vrrp.pid"))
}

// holders are the hosts whose kernel has the address.
func (s segment) holders(vip netip.Addr) []int {
	var ids []int
	for i, h := range s.Hosts[:len(s.Hosts)-1] {
		if strings.Contains(h.Run("ip", "-o", "addr", "show", "dev", "eth0"), vip.String()+"/") {
			ids = append(ids, i)
		}
	}
	return ids
}

// held waits until host i, and no other, holds the address and the client
// reaches it there.
func (s segment) held(vip netip.Addr, i int, why string) time.Duration {
	s.t.Helper()
	begin := time.Now()
	mac, want := s.Hosts[i].HardwareAddr("eth0").String(), fmt.Sprint([]int{i})
	s.eventually(func() bool {
		if fmt.Sprint(s.holders(vip)) != want {
			return false
		}
		s.send(vip)
		return strings.Contains(s.client().Run("ip", "neigh", "show", vip.String()), mac)
	}, "%s: %s is not held by host %d alone", why, vip, i)
	return time.Since(begin)
}

// send makes the client's kernel ask who has an address, unless it knows.
func (s segment) send(vip netip.Addr) {
	s.t.Helper()
	c, err := s.client().DialContext(s.t.Context(), "udp", netip.AddrPortFrom(vip, 9).String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	// Refused is as good an answer as any.
	_, _ = c.Write([]byte("?"))
}

func (s segment) eventually(f func() bool, format string, args ...any) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			s.t.Fatalf(format, args...)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stays asserts that something holds for longer than a lease.
func (s segment) stays(f func() bool, format string, args ...any) {
	s.t.Helper()
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if !f() {
			s.t.Fatalf(format, args...)
		}
	}
}

func terminate(t *testing.T, p *netnstest.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatalf("ended with %v\n%s", err, p.Output())
	}
}

// Our daemon and keepalived in one virtual router hand the address over both
// ways, by priority 0 and by silence.
func TestNetnsKeepalivedHandsOverBothWays(t *testing.T) {
	t.Parallel()
	t.Run("IPv4", func(t *testing.T) { keepalivedHandsOver(t, vipA) })
	t.Run("IPv6", func(t *testing.T) { keepalivedHandsOver(t, vip6A) })
}

func keepalivedHandsOver(t *testing.T, vip netip.Addr) {
	s := newSegment(t, 2)
	family := vrrp.FamilyOf(vip)
	keepalived := s.keepalived(0, 150, vip)
	s.held(vip, 0, "keepalived alone")
	ours := s.node(1, 200, vip)
	s.backup(ours, 1)
	s.held(vip, 0, "we do not preempt keepalived")

	begin := time.Now()
	terminateKeepalived(t, keepalived)
	s.held(vip, 1, "keepalived was stopped")
	// keepalived itself takes a second to exit after its release.
	t.Logf("measured: keepalived_stopped_to_ours_ipv%d=%v target=1.2s", family, time.Since(begin))

	keepalived = s.keepalived(0, 250, vip)
	s.eventually(func() bool { return strings.Contains(keepalived.Output(), "Entering BACKUP STATE") }, "keepalived did not start")
	s.held(vip, 1, "keepalived does not preempt us")
	begin = time.Now()
	terminate(t, ours)
	s.held(vip, 0, "our daemon was stopped")
	t.Logf("measured: ours_stopped_to_keepalived_ipv%d=%v target=150ms", family, time.Since(begin))

	ours = s.node(1, 100, vip)
	s.backup(ours, 1)
	s.held(vip, 0, "we do not preempt keepalived")
	// Its cable is pulled: keepalived goes to FAULT and says nothing.
	s.Cut(0)
	s.eventually(func() bool { return strings.Contains(ours.Output(), "Backup -> Master (masterDown)") }, "our router did not take over from a silent keepalived")
	for _, complaint := range []string{"Invalid VRRPv3 checksum", "unexpected ip number", "not present in MASTER advert", "invalid TTL", "bogus"} {
		if strings.Contains(keepalived.Output(), complaint) {
			t.Errorf("keepalived complains of our advertisements: %s", complaint)
		}
	}
}

// terminateKeepalived stops keepalived; it exits with 0 or by its signal.
func terminateKeepalived(t *testing.T, p *netnstest.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
}

// A rule like firewalld's, which drops what it does not know in the input
// hook, keeps no advertisement from us.
func TestNetnsFirewallDropsProtocol112(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 2)
	for _, h := range s.Hosts[:2] {
		h.RunInput(`table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority 10; policy accept;
		ct state established,related accept
		ip protocol 112 counter drop
	}
}`, "nft", "-f", "-")
	}
	a, b := s.pair()
	terminate(t, a)
	s.held(vipA, 1, "the first was stopped")
	if n := strings.Count(b.Output(), "-> Master"); n != 1 {
		t.Errorf("the second router became Master %d times, want once:\n%s", n, b.Output())
	}
}

// A process that is killed, or stopped, loses its address without anybody's
// help, and another serves it long before.
func TestNetnsLease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
	}{{"killed", syscall.SIGKILL}, {"stopped", syscall.SIGSTOP}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSegment(t, 2)
			a, b := s.pair()
			begin := time.Now()
			if err := a.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			s.eventually(func() bool { return strings.Contains(b.Output(), "-> Master (masterDown)") }, "nobody took over")
			t.Logf("measured: takeover_after_%s=%v target=450ms", tt.name, time.Since(begin))
			s.held(vipA, 1, "the lease ended")
			gone := time.Since(begin)
			t.Logf("measured: stale_holder_after_%s=%v target=3s", tt.name, gone)
			if gone > 5*time.Second {
				t.Errorf("a %s daemon held its address for %v, want at most 5 s", tt.name, gone)
			}
			if tt.signal == syscall.SIGSTOP {
				if err := a.Signal(syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				s.eventually(func() bool { return strings.Contains(a.Output(), "Master -> Backup") }, "the daemon that came back did not yield")
				s.held(vipA, 1, "the daemon that came back yields")
			}
		})
	}
}

// What an earlier run has left is removed before a packet is sent, and long
// before its lease ends.
func TestNetnsLeftovers(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 1)
	s.Hosts[0].Run("ip", "addr", "add", vipB.String()+"/32", "dev", "eth0", "label", "eth0:vip", "scope", "host",
		"valid_lft", "3600", "preferred_lft", "3600")
	s.Hosts[0].Run("ip", "addr", "add", "192.0.2.102/32", "dev", "eth0") // An administrator's.
	s.node(0, 200)
	s.eventually(func() bool { return len(s.holders(vipB)) == 0 }, "the address of an earlier run is still there")
	s.held(vipA, 0, "alone")
	if got := s.holders(netip.MustParseAddr("192.0.2.102")); len(got) != 1 {
		t.Error("the administrator's address is gone")
	}
}

// A pulled cable is a Fault of this node; the other serves, and the first one
// stays Backup when it is back.
func TestNetnsCableOut(t *testing.T) {
	t.Parallel()
	s := newSegment(t, 2)
	a, _ := s.pair()
	s.Cut(0)
	t.Logf("measured: takeover_after_cable_out=%v target=450ms", s.held(vipA, 1, "the cable is out"))
	s.Restore(0)
	s.backup(a, 2)
	s.held(vipA, 1, "the cable is back")
}
