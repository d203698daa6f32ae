package engine

import (
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

// renewalLimit is how long a state of the host may wait to be brought about: by
// then the leases are about to end, and a Master without addresses must not
// advertise.
const renewalLimit = 1500 * time.Millisecond

// hostState is everything that the host is to have at one moment.
type hostState struct {
	// generation numbers the states; a leaseResult names the newest one whose
	// leases are renewed.
	generation uint64
	// addresses are to be bound, all others of ours removed.
	addresses []host.VirtualAddress
	// policies say for each configured VIP, held or not, which interface answers
	// for it.
	policies map[netip.Addr]desired.Answer
	// announce are the held addresses to announce, by link.
	announce map[int]announcement
}

// hostSync makes the host have the addresses of the Masters.
type hostSync struct {
	post func(hostState)
	// generation is that of the last state posted, observed that of the last one
	// that the host is known to have.
	generation, observed uint64
	// waitingSince is the time since which a state waits to be observed, while
	// observed is less than generation.
	waitingSince vrrp.Time
	// due reports that there is something to post.
	due         bool
	nextRefresh vrrp.Time
	announce    map[int]announcement
	policies    map[netip.Addr]desired.Answer
}

// request makes the next sync post a state.
func (h *hostSync) request() { h.due = true }

// next returns the generation of the next state that is posted.
func (h *hostSync) next() uint64 { return h.generation + 1 }

// setPolicies sets the neighbor policy of each VIP.
func (h *hostSync) setPolicies(policies map[netip.Addr]desired.Answer) {
	h.policies, h.due = policies, true
}

// announceVIPs adds the addresses of an instance to the next state's
// announcements. first reports that another node may have had them until now.
func (h *hostSync) announceVIPs(in *instance, first bool) {
	if h.announce == nil {
		h.announce = map[int]announcement{}
	}
	for _, v := range in.vips {
		if v.on.Index == 0 {
			continue
		}
		a := h.announce[v.on.Index]
		a.hardwareAddr = v.on.HardwareAddr
		if first {
			a.first = append(a.first, v.address)
		} else {
			a.again = append(a.again, v.address)
		}
		h.announce[v.on.Index] = a
	}
	h.due = true
}

// refreshDue reports whether the leases are to be renewed, and if so requests
// that.
func (h *hostSync) refreshDue(now vrrp.Time) bool {
	if now < h.nextRefresh {
		return false
	}
	h.nextRefresh, h.due = now.Add(leaseRefresh), true
	return true
}

// sync posts the state that the instances ask for, if one was requested.
func (h *hostSync) sync(instances []*instance, now vrrp.Time) {
	if !h.due {
		return
	}
	h.due = false
	if h.observed == h.generation {
		h.waitingSince = now
	}
	h.generation++
	s := hostState{generation: h.generation, policies: h.policies, announce: mergeAnnouncements(nil, h.announce)}
	h.announce = nil
	for _, in := range instances {
		s.addresses = in.appendHeld(s.addresses)
	}
	h.post(s)
}

// observe records that the host has the state of a generation.
func (h *hostSync) observe(generation uint64, now vrrp.Time) {
	h.observed, h.waitingSince = generation, now
}

// stalled records that the loop stalled: the result of a state may have come
// meanwhile and not be here yet.
func (h *hostSync) stalled(now vrrp.Time, late time.Duration) {
	h.waitingSince = min(now, h.waitingSince.Add(late))
}

// stuck reports whether the leases are not being renewed: a Master that goes on
// advertising would keep every other node from holding the addresses that it
// loses.
func (h *hostSync) stuck(now vrrp.Time) bool {
	return h.observed < h.generation && now.Sub(h.waitingSince) > renewalLimit
}
