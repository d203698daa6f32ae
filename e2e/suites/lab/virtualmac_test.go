package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/lab/labtest"
	"kube-vrrp-vip/pkg/netns"
)

// virtualMACSite is two daemons and a client that hears no announcement: a network
// that ignores them. Every host filters by the way back.
type virtualMACSite struct {
	*lab.Lab
	ctx     context.Context
	t       *testing.T
	daemons [2]*lab.Daemon
}

const (
	vmac4 = "00:00:5e:00:01:32"
	vmac6 = "00:00:5e:00:02:32"
)

// The VIPs: those with the virtual MAC, one without in the same virtual router,
// and one in another.
var (
	vmacVIPs   = labtest.Addrs("192.0.2.100", "2001:db8::100")
	vmacBeside = netip.MustParseAddr("192.0.2.101")
	vmacOther  = netip.MustParseAddr("192.0.2.102")
)

func newVirtualMACSite(t *testing.T) *virtualMACSite {
	t.Helper()
	l, _ := labtest.New(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 4*labtest.Patience)
	t.Cleanup(cancel)
	s := &virtualMACSite{Lab: l, ctx: ctx, t: t}
	l.SetService("default", "web", "10.96.0.10", 80)
	l.SetConfigMap(map[string]string{
		"virtual": `{addresses: [192.0.2.100, "2001:db8::100"], virtualMAC: true}`,
		"served":  `{addresses: [192.0.2.103], services: [{name: default/web}], virtualMAC: true}`,
		"beside":  `{addresses: [192.0.2.101]}`,
		"other":   `{addresses: [192.0.2.102], vrid: 60}`,
	})
	for i, h := range l.Hosts {
		s.must(h.Sysctl("net/ipv4/conf/all/rp_filter=1", "net/ipv4/ip_forward=1"))
		s.serve(h, fmt.Sprint(i))
		// What kube-proxy does.
		s.must(h.Nft("table ip proxy {\n chain nat {\n  type nat hook prerouting priority -100;\n" +
			"  ip daddr 10.96.0.10 tcp dport 80 dnat to " + h.IPv4.String() + "\n }\n}\n"))
	}
	s.must(l.Client.Sysctl("net/ipv4/conf/all/rp_filter=1"))
	s.must(l.Client.Nft(`table arp deaf {
 chain input {
  type filter hook input priority 0;
  arp daddr ip { 192.0.2.100, 192.0.2.103 } counter drop
 }
}
table ip6 deaf {
 chain input {
  type filter hook input priority 0;
  ip6 daddr ff02::1 icmpv6 type nd-neighbor-advert counter drop
 }
}
`))
	for i, priority := range []int{200, 100} {
		s.daemons[i] = s.start(i, priority)
		s.waitHeld(0)
	}
	s.waitBackup(1)
	return s
}

func (s *virtualMACSite) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *virtualMACSite) start(host, priority int, args ...string) *lab.Daemon {
	s.t.Helper()
	d, err := s.StartDaemon(s.Hosts[host], priority, args...)
	s.must(err)
	return d
}

// waitBackup waits until a daemon is Backup.
func (s *virtualMACSite) waitBackup(host int) {
	s.t.Helper()
	s.must(lab.Eventually(s.ctx, "a Backup", func() error {
		r, err := s.daemons[host].Router(s.ctx, false, 50)
		if err == nil && r.State != "Backup" {
			err = fmt.Errorf("it is %s, %s", r.State, r.Reason)
		}
		return err
	}))
}

// macvlans are a host's links with a virtual MAC, with their flags.
func (s *virtualMACSite) macvlans(host int) string {
	s.t.Helper()
	links, err := s.Hosts[host].Run("ip", "-brief", "link", "show", "type", "macvlan")
	s.must(err)
	return links
}

// serve answers on port 80 with a word.
func (s *virtualMACSite) serve(h *lab.Host, word string) {
	s.t.Helper()
	var listener net.Listener
	s.must(h.Do(func() (err error) { listener, err = net.Listen("tcp", ":80"); return err }))
	s.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, word)
			c.Close()
		}
	}()
}

// ask is a new connection of the client, and the host that answers it.
func (s *virtualMACSite) ask(vip netip.Addr) (string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
	defer cancel()
	c, err := netns.Dial(ctx, s.Client.Path(), "tcp", netip.AddrPortFrom(vip, 80).String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond))
	word, err := io.ReadAll(c)
	return string(word), err
}

// waitAnswers waits until a host answers at a VIP.
func (s *virtualMACSite) waitAnswers(vip netip.Addr, host int) {
	s.t.Helper()
	s.must(lab.Eventually(s.ctx, fmt.Sprintf("%s is not served by n%d", vip, host), func() error {
		word, err := s.ask(vip)
		if err == nil && word != fmt.Sprint(host) {
			err = fmt.Errorf("n%s answers", word)
		}
		return err
	}))
}

// waitHeld waits until a host, and no other, holds all VIPs.
func (s *virtualMACSite) waitHeld(host int) {
	s.t.Helper()
	for _, a := range slices.Concat(vmacVIPs, []netip.Addr{vmacBeside, vmacOther}) {
		labtest.WaitHeld(s.ctx, s.t, s.Lab, a, host)
	}
}

// checkSeen checks that the client, the switch and the hosts see the virtual MAC
// where it is, and nobody has seen another since a time.
func (s *virtualMACSite) checkSeen(since time.Time, host int) {
	s.t.Helper()
	for i, vip := range vmacVIPs {
		mac := []string{vmac4, vmac6}[i]
		s.waitAnswers(vip, host)
		neighbor, err := s.Client.Run("ip", "neigh", "show", vip.String())
		if s.must(err); !strings.Contains(neighbor, mac) {
			s.t.Errorf("the client has %q for %s, want %s", neighbor, vip, mac)
		}
		s.must(lab.Eventually(s.ctx, "the switch", func() error {
			table, err := s.Switch.Run("bridge", "fdb", "show", "br", "br0")
			if err == nil && !strings.Contains(table, mac+" dev "+s.Port(host)+" ") {
				err = fmt.Errorf("want %s at %s in\n%s", mac, s.Port(host), table)
			}
			return err
		}))
		for _, p := range s.Recorder.Packets(since, func(p lab.Packet) bool {
			return p.Neighbor != nil && p.Neighbor.Address == vip && (p.Neighbor.Answer || p.Neighbor.Gratuitous)
		}) {
			if p.Neighbor.MAC != mac || p.From != mac {
				s.t.Errorf("n%d sent %s from %s", p.Host, p, p.From)
			}
		}
		for i := range s.Hosts {
			// A link that is down takes no frames.
			if links := s.macvlans(i); strings.Contains(links, mac) && strings.Contains(links, mac+" <BROADCAST,MULTICAST,UP") != (i == host) {
				s.t.Errorf("n%d has the links\n%s", i, links)
			}
		}
	}
	for _, vip := range []netip.Addr{vmacBeside, vmacOther} {
		for _, p := range s.Recorder.Packets(since, func(p lab.Packet) bool {
			return p.Neighbor != nil && p.Neighbor.Address == vip && (p.Neighbor.Answer || p.Neighbor.Gratuitous)
		}) {
			if p.Neighbor.MAC != s.Hosts[p.Host].MAC {
				s.t.Errorf("n%d sent %s", p.Host, p)
			}
		}
	}
}

// measureTakeover measures for how long a client that hears no announcement is without
// the VIPs, from an event on.
func (s *virtualMACSite) measureTakeover(name string, host int, event func()) {
	s.t.Helper()
	begin := time.Now()
	event()
	for i, vip := range vmacVIPs {
		s.waitAnswers(vip, host)
		if i == 0 {
			s.t.Logf("measured: virtual_mac_%s_ms=%d target=450", name, time.Since(begin).Milliseconds())
		}
	}
	if d := time.Since(begin); d > 5*time.Second {
		s.t.Errorf("%s: served again after %s", name, d)
	}
}

// A client that ignores gratuitous ARP follows the VIPs from node to node, by a
// MAC address that never changes.
func TestNetnsVirtualMACMoves(t *testing.T) {
	t.Parallel()
	s := newVirtualMACSite(t)
	begin := time.Now()
	s.checkSeen(begin, 0)
	s.waitAnswers(netip.MustParseAddr("192.0.2.103"), 0)

	s.measureTakeover("terminated", 1, func() { s.must(s.daemons[0].Signal(syscall.SIGTERM)) })
	<-s.daemons[0].Done()
	s.waitHeld(1)
	s.checkSeen(begin, 1)
	s.waitAnswers(netip.MustParseAddr("192.0.2.103"), 1)
	if links := s.macvlans(0); links != "" {
		t.Errorf("a daemon that has ended left\n%s", links)
	}

	s.daemons[0] = s.start(0, 200)
	s.waitBackup(0)
	s.measureTakeover("killed", 0, s.daemons[1].Kill)
	s.waitHeld(0) // When the lease of the other has ended.
	s.waitAnswers(vmacVIPs[0], 0)

	// The link that the killed one has left is up, and goes with the next start.
	s.daemons[1] = s.start(1, 100)
	s.waitBackup(1)
	s.checkSeen(begin, 0)
	s.measureTakeover("cut", 1, func() { s.must(s.Cut(0)) })
	s.waitHeld(1)
	s.must(s.Restore(0))
	s.checkSeen(begin, 1)
	// Back to a process that had the link up before.
	s.waitBackup(0)
	s.measureTakeover("back", 0, func() { s.must(s.daemons[1].Signal(syscall.SIGTERM)) })
	s.waitHeld(0)
	s.checkSeen(begin, 0)
	if log := s.daemons[0].Output(); strings.Contains(log, "Address or announcement failed") {
		t.Errorf("the daemon wrote\n%s", log)
	}

	// Each advertisement goes out from both MACs, but the first of a Master, before
	// its link is up, and the last three.
	for ipv6, mac := range map[bool]string{false: vmac4, true: vmac6} {
		virtual, own := 0, 0
		for _, p := range s.Recorder.Advertisements(begin, ipv6, 50) {
			switch p.From {
			case mac:
				virtual++
			case s.Hosts[p.Host].MAC:
				own++
			default:
				t.Errorf("n%d sent %s from %s", p.Host, p, p.From)
			}
		}
		if virtual > own || virtual < own*3/4 {
			t.Errorf("%d advertisements are from %s, %d from the nodes' own", virtual, mac, own)
		}
	}
	for _, d := range s.daemons {
		if log := d.Output(); strings.Contains(log, "vipInUse") || strings.Contains(log, "duplicateAddress") || strings.Contains(log, "was removed by another program") {
			t.Errorf("the daemon wrote\n%s", log)
		}
	}
	for _, p := range s.Recorder.Advertisements(begin, false, 60) {
		if p.From != s.Hosts[p.Host].MAC {
			t.Errorf("n%d advertises VRID 60 from %s", p.Host, p.From)
		}
	}
}

// What is made goes: when the configuration no longer wants it, by the command
// cleanup, and at the next start. Nothing else is touched by it.
func TestNetnsVirtualMACIsRemoved(t *testing.T) {
	t.Parallel()
	s := newVirtualMACSite(t)
	s.checkSeen(time.Now(), 0)
	begin := time.Now()
	s.SetConfigMap(map[string]string{
		"virtual": `{addresses: [192.0.2.100, "2001:db8::100"]}`,
		"beside":  `{addresses: [192.0.2.101]}`,
		"other":   `{addresses: [192.0.2.102], vrid: 60}`,
	})
	gone := func(host int) {
		t.Helper()
		s.must(lab.Eventually(s.ctx, "links with virtual MACs", func() error {
			if links := s.macvlans(host); links != "" {
				return fmt.Errorf("%s", links)
			}
			return nil
		}))
	}
	gone(0)
	gone(1)
	s.waitHeld(0)
	s.must(s.Client.Nft("delete table arp deaf\ndelete table ip6 deaf\n"))
	for _, vip := range vmacVIPs {
		s.waitAnswers(vip, 0) // By the MAC address that was announced.
	}

	s.SetConfigMap(map[string]string{
		"virtual": `{addresses: [192.0.2.100, "2001:db8::100"], virtualMAC: true}`,
		"beside":  `{addresses: [192.0.2.101]}`,
		"other":   `{addresses: [192.0.2.102], vrid: 60}`,
	})
	s.must(lab.Eventually(s.ctx, "the virtual MAC again", func() error {
		if links := s.macvlans(0); !strings.Contains(links, vmac4+" <BROADCAST,MULTICAST,UP") || !strings.Contains(links, vmac6+" <BROADCAST,MULTICAST,UP") {
			return fmt.Errorf("%s", links)
		}
		return nil
	}))
	s.waitHeld(0)

	for _, vip := range []netip.Addr{vmacBeside, vmacOther} {
		if got := s.Recorder.Bindings(begin, vip); len(got) != 0 {
			t.Errorf("%s was lost for a change of others: %+v", vip, got)
		}
	}

	// The interface goes down and up, and gets another name.
	s.must(s.Hosts[0].IP("link set eth0 down", "link set eth0 name lan0", "link set lan0 up",
		"addr add "+s.Hosts[0].LinkLocal.String()+"/64 dev lan0 nodad", "addr add "+s.Hosts[0].IPv6.String()+"/64 dev lan0 nodad"))
	s.waitHeld(1)
	s.checkSeen(time.Now(), 1)
	s.waitBackup(0)
	for _, vip := range []netip.Addr{vmacBeside, vmacOther} {
		second := slices.DeleteFunc(s.Recorder.Bindings(begin, vip), func(b lab.Binding) bool { return b.Host != 1 })
		if len(second) != 1 {
			t.Errorf("the second Master held and lost %s: %+v", vip, second)
		}
	}

	s.daemons[1].Kill()
	s.waitHeld(0)
	if links := s.macvlans(1); !strings.Contains(links, vmac4) {
		t.Errorf("a daemon that was killed left\n%s", links)
	}
	binary, err := lab.Binary()
	s.must(err)
	_, err = s.Hosts[1].Run(binary, "cleanup")
	s.must(err)
	gone(1)

	// Without release the link stays, and goes before the next start's first
	// advertisement.
	s.daemons[1] = s.start(1, 100, "--release-vips=false")
	s.waitBackup(1)
	s.must(s.daemons[1].Terminate())
	if links := s.macvlans(1); !strings.Contains(links, vmac4) {
		t.Errorf("with --release-vips=false are left\n%s", links)
	}
	s.SetConfigMap(map[string]string{"beside": "{addresses: [192.0.2.101]}"})
	s.daemons[1] = s.start(1, 100)
	s.waitBackup(1)
	gone(1)
}
