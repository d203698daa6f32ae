package vrrp

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestSimulatedMigration replaces three keepalived with the configuration that
// kube-keepalived-vip generates by ours, one by one, in every order and at
// random phases. The old ones leave the VIP of a Service without endpoints out
// of their list, and advertise ten times slower.
func TestSimulatedMigration(t *testing.T) {
	t.Parallel()
	orders := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
	var two, none time.Duration
	for _, order := range orders {
		for phase := range 50 {
			m := newMigration(t, uint64(phase))
			for _, i := range order {
				m.replace(m.hosts[i])
			}
			two, none = max(two, m.longestTwo), max(none, m.longestNone)
		}
	}
	fmt.Printf("measured: simulated-migration-held-twice=%v target=20ms\n", two)
	fmt.Printf("measured: simulated-migration-held-by-none=%v target=610ms\n", none)
}

type migration struct {
	*segment
	longestTwo, longestNone time.Duration
}

func newMigration(t *testing.T, seed uint64) *migration {
	m := &migration{segment: newSegment(t, seed)}
	for i := range 3 {
		m.addPeer(Config{
			Settings: Settings{Version: V3, Priority: uint8(100 + i), AdvertisementInterval: time.Second}, Family: IPv4, VRID: 50,
			Addresses: addrs("192.0.2.50", "192.0.2.51"), Source: hostSource(i),
		}, newKeepalived).start()
	}
	m.run(20*time.Second + m.upTo(time.Second))
	return m
}

// replace stops the host's keepalived and starts ours in its place some seconds
// later. Our other hosts learn of it.
func (m *migration) replace(h *host) {
	m.t.Helper()
	before := m.masters()[0]
	limit := m.quickest(h)
	m.tenure, m.drops = tenure{holders: 1, since: m.now}, 0
	h.stop()
	m.run(m.upTo(5 * time.Second))

	h.newPeer = nil
	h.config.Priority = uint8(150 + m.rng.IntN(101))
	h.config.AdvertisementInterval = 100 * ms
	h.config.Addresses = addrs("192.0.2.50", "192.0.2.51", "192.0.2.52")
	m.introduce()
	h.listen()
	m.run(20*time.Second + m.upTo(time.Second))

	after := m.masters()
	if len(after) != 1 || h != before && after[0] != before {
		m.failf("%d Masters, and %d was it before %d was replaced", len(after), before.index, h.index)
	}
	if holders := m.holders(); len(holders) != 1 || holders[0] != after[0] || m.tenure.holders != 1 {
		m.failf("%d hold the addresses, not the Master %d alone", len(holders), after[0].index)
	}
	if m.drops > 0 {
		m.failf("keepalived dropped %d packets", m.drops)
	}
	if h == before && m.tenure.none == 0 {
		m.failf("%d gave nothing up", h.index)
	}
	// Up to a wake-up, a packet and netlink later than the protocol says, and a
	// rank if the newcomer is known before the wait is over.
	if limit += 2*m.maxLate + m.maxDelay + m.maxNetlink + 100*ms/16; m.tenure.two > 20*ms || m.tenure.none > limit {
		m.failf("the addresses were held twice for %v, want at most 20ms, and by none for %v, want at most %v",
			m.tenure.two, m.tenure.none, limit)
	}
	m.longestTwo, m.longestNone = max(m.longestTwo, m.tenure.two), max(m.longestNone, m.tenure.none)
}

// quickest returns the shortest Skew_Time of the other hosts if h resigns.
func (m *migration) quickest(h *host) time.Duration {
	shortest := time.Hour
	for _, other := range m.hosts {
		if other != h {
			shortest = min(shortest, other.skew(h.config.AdvertisementInterval))
		}
	}
	return shortest
}

// introduce makes our hosts peers of each other, and spaces their waits.
func (m *migration) introduce() {
	ours := slices.DeleteFunc(slices.Clone(m.hosts), func(h *host) bool { return !h.ours() })
	slices.SortFunc(ours, func(a, b *host) int {
		return cmp.Or(cmp.Compare(b.config.Priority, a.config.Priority), b.config.Source.Compare(a.config.Source))
	})
	for rank, h := range ours {
		h.config.TakeoverStep = 100 * ms / 16
		h.config.TakeoverDelay = time.Duration(rank) * h.config.TakeoverStep
		h.config.Peers = nil
		for _, other := range ours {
			if other != h {
				h.config.Peers = append(h.config.Peers, other.config.Source)
			}
		}
		if h.up {
			h.change(func(*Config) {})
		}
	}
}
