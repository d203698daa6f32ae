package lan_test

import (
	"fmt"
	"net/netip"
	"slices"
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

// detector is what a ConflictDetector in a namespace of its own has passed on.
type detector struct {
	*lan.ConflictDetector
	ns     *netnstest.NS
	mu     sync.Mutex
	claims []lan.NeighborEvent
}

func newDetector(t *testing.T, ns *netnstest.NS) *detector {
	t.Helper()
	h := &detector{ns: ns}
	h.ConflictDetector = lan.NewConflictDetector(func(c lan.NeighborEvent) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.claims = append(h.claims, c)
	})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

func (h *detector) watch(t *testing.T, link string, vips ...netip.Addr) {
	t.Helper()
	index := h.ns.Index(link)
	var err error
	h.ns.Do(func() { err = h.Watch(map[int][]netip.Addr{index: vips}) })
	if err != nil {
		t.Fatal(err)
	}
}

func (h *detector) probe(t *testing.T, source netip.Addr, vips ...netip.Addr) {
	t.Helper()
	index, mac := h.ns.Index("eth0"), h.ns.HardwareAddr("eth0")
	var err error
	h.ns.Do(func() { err = h.Probe(index, mac, source, vips) })
	if err != nil {
		t.Fatal(err)
	}
}

// take returns what was heard, and forgets it.
func (h *detector) take() []lan.NeighborEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	claims := h.claims
	h.claims = nil
	return claims
}

// expect waits until somebody was heard to claim an address.
func (h *detector) expect(t *testing.T, address netip.Addr, mac lan.MAC) {
	t.Helper()
	want := lan.NeighborEvent{Index: h.ns.Index("eth0"), IP: address, MAC: mac}
	var all []lan.NeighborEvent
	eventually(t, func() error {
		all = append(all, h.take()...)
		if slices.Contains(all, want) {
			return nil
		}
		return fmt.Errorf("heard %v, want %v", all, want)
	})
}

// A host answers probes for what it has, and nobody else does. What it says itself
// is heard too, and what this host says is not.
func TestNetnsWatch(t *testing.T) {
	_, hosts := newLAN(t, 3)
	us, holder, third := hosts[0], hosts[1], hosts[2]
	holder.Run("ip", "addr", "add", watched4.String()+"/24", "dev", "eth0")
	holder.Run("ip", "addr", "add", watched6.String()+"/64", "dev", "eth0", "nodad")
	mac := lan.MAC(holder.HardwareAddr("eth0"))
	w := newDetector(t, us.NS)
	other4, other6 := netip.MustParseAddr("192.0.2.101"), netip.MustParseAddr("2001:db8::101")
	w.watch(t, "eth0", watched4, watched6, other4, other6)
	start := time.Now()
	for _, source := range []netip.Addr{{}, linkLocal(0)} {
		for _, vip := range []netip.Addr{watched4, watched6} {
			start = time.Now()
			w.probe(t, source, other4, other6, vip)
			w.expect(t, vip, mac)
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
		for _, c := range w.take() {
			if c.MAC == lan.MAC(us.HardwareAddr("eth0")) {
				t.Fatalf("heard ourselves: %v", c)
			}
			seen[c.IP] = seen[c.IP] || c.MAC == lan.MAC(third.HardwareAddr("eth0"))
		}
		if seen[other4] && seen[other6] {
			return nil
		}
		third.Do(func() {
			_ = announcer.Announce(third.Index("eth0"), third.HardwareAddr("eth0"), []netip.Addr{other4, other6})
		})
		return fmt.Errorf("heard announcements of %v only", seen)
	})

	// What is not watched any more is not heard of.
	w.watch(t, "eth0", watched6)
	w.take()
	w.probe(t, netip.Addr{}, watched4, watched6)
	w.expect(t, watched6, mac)
	for _, c := range w.take() {
		if c.IP != watched6 {
			t.Errorf("heard %v, which is not watched", c)
		}
	}
}

// An interface that goes down and comes up is heard again.
func TestNetnsWatchAfterTheLinkWasDown(t *testing.T) {
	_, hosts := newLAN(t, 2)
	hosts[1].Run("ip", "addr", "add", watched4.String()+"/24", "dev", "eth0")
	w := newDetector(t, hosts[0].NS)
	w.watch(t, "eth0", watched4)
	hosts[0].Run("ip", "link", "set", "eth0", "down")
	w.watch(t, "eth0", watched4)
	hosts[0].Run("ip", "link", "set", "eth0", "up")
	w.watch(t, "eth0", watched4)
	eventually(t, func() error {
		w.probe(t, netip.Addr{}, watched4)
		for _, c := range w.take() {
			if c.MAC == lan.MAC(hosts[1].HardwareAddr("eth0")) {
				return nil
			}
		}
		return fmt.Errorf("no answer is heard")
	})
}

// What is for an interface stacked on the one that is watched is not heard.
func TestNetnsWatchStackedInterfaces(t *testing.T) {
	_, hosts := newLAN(t, 2)
	us, other := hosts[0], hosts[1]
	us.Run("ip", "link", "add", "stacked", "link", "eth0", "type", "macvlan", "mode", "private")
	us.Run("ip", "link", "set", "stacked", "up")
	w := newDetector(t, us.NS)
	w.watch(t, "eth0", watched4)
	send := other.transmitter()
	mac := lan.MAC(other.HardwareAddr("eth0"))
	reply := lan.AppendGratuitousARP(nil, mac[:], watched4, lan.ARPReply)
	copy(reply, us.HardwareAddr("stacked"))
	send(reply)
	second := lan.MAC{2, 0, 0, 0, 0, 99}
	send(lan.AppendGratuitousARP(nil, second[:], watched4, lan.ARPReply))
	var all []lan.NeighborEvent
	eventually(t, func() error {
		all = append(all, w.take()...)
		for _, c := range all {
			if c.MAC == second {
				return nil
			}
		}
		return fmt.Errorf("heard %v", all)
	})
	for _, c := range all {
		if c.MAC == mac {
			t.Errorf("heard %v, which was for the other interface", c)
		}
	}
}

// A flood is passed on in part, and others are still heard after it.
func TestNetnsWatchAFlood(t *testing.T) {
	_, hosts := newLAN(t, 2)
	w := newDetector(t, hosts[0].NS)
	w.watch(t, "eth0", watched4)
	send := hosts[1].transmitter()
	const frames = 20000
	start := time.Now()
	for i := range frames {
		mac := lan.MAC{6, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}
		send(lan.AppendGratuitousARP(nil, mac[:], watched4, lan.ARPReply))
	}
	elapsed := time.Since(start)
	passed := len(w.take())
	if most := 64 + 2 + int(100*(elapsed.Seconds()+1)); passed == 0 || passed > most {
		t.Errorf("%d of %d claims passed in %s, want at most %d", passed, frames, elapsed, most)
	}
	mac := lan.MAC(hosts[1].HardwareAddr("eth0"))
	eventually(t, func() error {
		send(lan.AppendGratuitousARP(nil, mac[:], watched4, lan.ARPReply))
		for _, c := range w.take() {
			if c.MAC == mac {
				return nil
			}
		}
		return fmt.Errorf("nothing is heard after the flood")
	})
}

func TestNetnsWatchErrors(t *testing.T) {
	_, hosts := newLAN(t, 1)
	w := newDetector(t, hosts[0].NS)
	var watchErr, probeErr, macErr error
	hosts[0].Do(func() {
		watchErr = w.Watch(map[int][]netip.Addr{9999: {watched4}})
		probeErr = w.Probe(9999, hosts[0].HardwareAddr("eth0"), netip.Addr{}, []netip.Addr{watched4})
		macErr = w.Probe(hosts[0].Index("eth0"), nil, netip.Addr{}, []netip.Addr{watched4})
	})
	if watchErr == nil || probeErr == nil || macErr == nil {
		t.Errorf("a link that is not there: %v, %v; no MAC: %v", watchErr, probeErr, macErr)
	}
	w.watch(t, "eth0", watched4, watched6)
}
