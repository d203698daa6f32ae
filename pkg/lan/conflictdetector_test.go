package lan_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

var (
	watched4 = netip.MustParseAddr("192.0.2.100")
	watched6 = netip.MustParseAddr("2001:db8::100")
)

// detector is a ConflictDetector in its own namespace, and the events it reported.
type detector struct {
	*lan.ConflictDetector
	ns     *netnstest.NS
	mu     sync.Mutex
	events []lan.NeighborEvent
}

func newDetector(t *testing.T, ns *netnstest.NS) *detector {
	t.Helper()
	d := &detector{ns: ns}
	d.ConflictDetector = lan.NewConflictDetector(func(e lan.NeighborEvent) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.events = append(d.events, e)
	})
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

func (d *detector) watch(t *testing.T, link string, vips ...netip.Addr) {
	t.Helper()
	index := d.ns.Index(link)
	var err error
	d.ns.Do(func() { err = d.Watch(map[int][]netip.Addr{index: vips}) })
	if err != nil {
		t.Fatal(err)
	}
}

func (d *detector) probe(t *testing.T, source netip.Addr, vips ...netip.Addr) {
	t.Helper()
	index, mac := d.ns.Index("eth0"), d.ns.HardwareAddr("eth0")
	var err error
	d.ns.Do(func() { err = d.Probe(index, mac, source, vips) })
	if err != nil {
		t.Fatal(err)
	}
}

// take returns the events since the last call.
func (d *detector) take() []lan.NeighborEvent {
	d.mu.Lock()
	defer d.mu.Unlock()
	events := d.events
	d.events = nil
	return events
}

// expect waits until mac claims an address.
func (d *detector) expect(t *testing.T, address netip.Addr, mac lan.MAC) {
	t.Helper()
	want := lan.NeighborEvent{Index: d.ns.Index("eth0"), IP: address, MAC: mac}
	var all []lan.NeighborEvent
	eventually(t, func() error {
		all = append(all, d.take()...)
		if slices.Contains(all, want) {
			return nil
		}
		return fmt.Errorf("got %v, want %v", all, want)
	})
}

// A host answers probes for its addresses, and only those. Its announcements are
// reported too, and the announcements of this host are not.
func TestNetnsWatch(t *testing.T) {
	_, hosts := newLAN(t, 3)
	us, holder, third := hosts[0], hosts[1], hosts[2]
	holder.Run("ip", "addr", "add", watched4.String()+"/24", "dev", "eth0")
	holder.Run("ip", "addr", "add", watched6.String()+"/64", "dev", "eth0", "nodad")
	eventually(t, func() error {
		// The kernel joins the solicited-node group a moment after the address is added,
		// and a probe before that is lost.
		if groups := holder.Run("ip", "-6", "maddr", "show", "dev", "eth0"); !strings.Contains(groups, "ff02::1:ff00:100") {
			return fmt.Errorf("the holder is a member of %q only", groups)
		}
		return nil
	})
	mac := lan.MAC(holder.HardwareAddr("eth0"))
	d := newDetector(t, us.NS)
	other4, other6 := netip.MustParseAddr("192.0.2.101"), netip.MustParseAddr("2001:db8::101")
	d.watch(t, "eth0", watched4, watched6, other4, other6)
	start := time.Now()
	for _, source := range []netip.Addr{{}, linkLocal(0)} {
		for _, vip := range []netip.Addr{watched4, watched6} {
			start = time.Now()
			d.probe(t, source, other4, other6, vip)
			d.expect(t, vip, mac)
		}
	}
	t.Logf("measured: answer_to_a_probe=%s target=60ms", time.Since(start))

	announcer := &lan.Announcer{}
	t.Cleanup(func() { announcer.Close() })
	for _, from := range []host{us, third} {
		var err error
		index := from.Index("eth0")
		from.Do(func() { err = announcer.Announce(index, from.HardwareAddr("eth0"), []netip.Addr{other4, other6}) })
		if err == nil {
			err = announcer.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		seen := map[netip.Addr]bool{}
		for _, e := range d.take() {
			if e.MAC == lan.MAC(us.HardwareAddr("eth0")) {
				t.Fatalf("got this host: %v", e)
			}
			seen[e.IP] = seen[e.IP] || e.MAC == lan.MAC(third.HardwareAddr("eth0"))
		}
		if seen[other4] && seen[other6] {
			return nil
		}
		third.Do(func() {
			_ = announcer.Announce(third.Index("eth0"), third.HardwareAddr("eth0"), []netip.Addr{other4, other6})
		})
		return fmt.Errorf("got announcements of %v only", seen)
	})

	// The claims of an address that is no longer watched are not reported.
	d.watch(t, "eth0", watched6)
	d.take()
	d.probe(t, netip.Addr{}, watched4, watched6)
	d.expect(t, watched6, mac)
	for _, e := range d.take() {
		if e.IP != watched6 {
			t.Errorf("got %v, which is not watched", e)
		}
	}
}

// The claims on an interface that goes down and comes up are reported again.
func TestNetnsWatchAfterTheLinkWasDown(t *testing.T) {
	_, hosts := newLAN(t, 2)
	hosts[1].Run("ip", "addr", "add", watched4.String()+"/24", "dev", "eth0")
	d := newDetector(t, hosts[0].NS)
	d.watch(t, "eth0", watched4)
	hosts[0].Run("ip", "link", "set", "eth0", "down")
	d.watch(t, "eth0", watched4)
	hosts[0].Run("ip", "link", "set", "eth0", "up")
	d.watch(t, "eth0", watched4)
	eventually(t, func() error {
		d.probe(t, netip.Addr{}, watched4)
		for _, e := range d.take() {
			if e.MAC == lan.MAC(hosts[1].HardwareAddr("eth0")) {
				return nil
			}
		}
		return fmt.Errorf("no answer is reported")
	})
}

// Packets for an interface stacked on a watched one are not reported.
func TestNetnsWatchStackedInterfaces(t *testing.T) {
	_, hosts := newLAN(t, 2)
	us, other := hosts[0], hosts[1]
	us.Run("ip", "link", "add", "stacked", "link", "eth0", "type", "macvlan", "mode", "private")
	us.Run("ip", "link", "set", "stacked", "up")
	d := newDetector(t, us.NS)
	d.watch(t, "eth0", watched4)
	send := other.transmitter()
	mac := lan.MAC(other.HardwareAddr("eth0"))
	reply := lan.AppendGratuitousARP(nil, mac[:], watched4, lan.ARPReply)
	copy(reply, us.HardwareAddr("stacked"))
	send(reply)
	second := lan.MAC{2, 0, 0, 0, 0, 99}
	send(lan.AppendGratuitousARP(nil, second[:], watched4, lan.ARPReply))
	var all []lan.NeighborEvent
	eventually(t, func() error {
		all = append(all, d.take()...)
		for _, e := range all {
			if e.MAC == second {
				return nil
			}
		}
		return fmt.Errorf("got %v", all)
	})
	for _, e := range all {
		if e.MAC == mac {
			t.Errorf("got %v, which was for the other interface", e)
		}
	}
}

// A flood is reported in part, and later claims are still reported.
func TestNetnsWatchAFlood(t *testing.T) {
	_, hosts := newLAN(t, 2)
	d := newDetector(t, hosts[0].NS)
	d.watch(t, "eth0", watched4)
	send := hosts[1].transmitter()
	const frames = 20000
	start := time.Now()
	for i := range frames {
		mac := lan.MAC{6, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}
		send(lan.AppendGratuitousARP(nil, mac[:], watched4, lan.ARPReply))
	}
	elapsed := time.Since(start)
	reported := len(d.take())
	if most := 64 + 2 + int(100*(elapsed.Seconds()+1)); reported == 0 || reported > most {
		t.Errorf("%d of %d claims reported in %s, want at most %d", reported, frames, elapsed, most)
	}
	mac := lan.MAC(hosts[1].HardwareAddr("eth0"))
	eventually(t, func() error {
		send(lan.AppendGratuitousARP(nil, mac[:], watched4, lan.ARPReply))
		for _, e := range d.take() {
			if e.MAC == mac {
				return nil
			}
		}
		return fmt.Errorf("nothing is reported after the flood")
	})
}

func TestNetnsWatchErrors(t *testing.T) {
	_, hosts := newLAN(t, 1)
	d := newDetector(t, hosts[0].NS)
	var watchErr, probeErr, macErr error
	hosts[0].Do(func() {
		watchErr = d.Watch(map[int][]netip.Addr{9999: {watched4}})
		probeErr = d.Probe(9999, hosts[0].HardwareAddr("eth0"), netip.Addr{}, []netip.Addr{watched4})
		macErr = d.Probe(hosts[0].Index("eth0"), nil, netip.Addr{}, []netip.Addr{watched4})
	})
	if watchErr == nil || probeErr == nil || macErr == nil {
		t.Errorf("a link that is not there: %v, %v; no MAC: %v", watchErr, probeErr, macErr)
	}
	d.watch(t, "eth0", watched4, watched6)
}
