package engine

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// announceOffsets are the times, after a takeover, at which the addresses of a
// router are announced. The first announcement moves the hosts' ARP entries, the
// next ones replace a lost one, and the late ones serve a switch whose port did not
// forward yet.
var announceOffsets = [...]time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second}

const (
	// announceRefresh is the interval of the announcements that follow: they repair a
	// forwarding table whose entry was lost or aged out.
	announceRefresh = time.Minute
	// announcePause is the least time between two schedules. A peer that goes on
	// sending advertisements of a lower priority, because it does not hear ours,
	// must not set the rate. A schedule that began later has announcements to come.
	announcePause = time.Second
)

// announceSchedule is the schedule of the announcements of a Master's addresses.
type announceSchedule struct {
	started vrrp.Time
	step    int
	// next is the time of the next announcement, never while the router is not
	// Master.
	next vrrp.Time
}

// start begins the schedule again.
func (s *announceSchedule) start(now vrrp.Time) { s.started, s.step, s.next = now, 0, now }

// again begins the schedule again for a cause that may recur.
func (s *announceSchedule) again(now vrrp.Time) {
	if s.next == never || now.Sub(s.started) >= announcePause {
		s.start(now)
	}
}

// stop ends the schedule.
func (s *announceSchedule) stop() { *s = announceSchedule{next: never} }

// due reports whether an announcement is due, and arms the next one.
func (s *announceSchedule) due(now vrrp.Time) bool {
	if s.next == never || now < s.next {
		return false
	}
	for s.step++; s.step < len(announceOffsets); s.step++ {
		if next := s.started.Add(announceOffsets[s.step]); next > now {
			s.next = next
			return true
		}
	}
	s.next = now.Add(announceRefresh)
	return true
}

// announcement is a set of addresses to announce on one interface.
type announcement struct {
	hardwareAddr net.HardwareAddr
	// first are the addresses that another node may have had until now, again the
	// others.
	first, again []netip.Addr
}

// mergeAnnouncements keeps of each link the newest hardware address and every
// VIP once.
func mergeAnnouncements(old, v map[int]announcement) map[int]announcement {
	merged := maps.Clone(old)
	if merged == nil {
		merged = map[int]announcement{}
	}
	for link, n := range v {
		merged[link] = announcement{
			hardwareAddr: n.hardwareAddr,
			first:        mergeAddresses(merged[link].first, n.first),
			again:        mergeAddresses(merged[link].again, n.again),
		}
	}
	return merged
}

func mergeAddresses(a, b []netip.Addr) []netip.Addr {
	all := slices.Concat(a, b)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}
