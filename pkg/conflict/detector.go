package conflict

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// Count is the number of probes before a VIP is claimed for the first time (RFC
	// 5227: PROBE_NUM).
	Count = 3
	// Interval passes between two probes and after the last one. It is shorter than
	// the RFC's, which would cost every start some seconds.
	Interval = 20 * time.Millisecond
	// ProbeTime is how long the probes of a VIP take.
	ProbeTime = Count * Interval
	// RetryInterval is the time after which a VIP in use is probed again.
	RetryInterval = 5 * time.Second
)

// MAC is an Ethernet address.
type MAC [6]byte

// String returns m in hexadecimal, with colons.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// isVirtual reports whether m is the MAC address of a virtual router (RFC 9568
// section 7.3).
func (m MAC) isVirtual(vrid uint8) bool {
	return m == MAC{0, 0, 0x5e, 0, 1, vrid} || m == MAC{0, 0, 0x5e, 0, 2, vrid}
}

// Address is an IP address on the link with the index Link.
type Address struct {
	Link int
	IP   netip.Addr
}

// VIP is an address of a virtual router. It is probed only while its link is up.
type VIP struct {
	Address
	LinkUp bool
}

// Settings are the settings of a virtual router that a Detector needs.
type Settings struct {
	VRID uint8
	// Unicast accepts any member for the holder of a VIP: its advertisements may
	// come from another interface, or through a router.
	Unicast bool
	// Force claims every VIP without waiting for its probes.
	Force bool
	// MasterDownInterval is the time within which any Master advertises.
	MasterDownInterval time.Duration
}

// State is the result of probing a VIP.
type State uint8

// The states.
const (
	// Unknown: the VIP has not been probed, or not long enough.
	Unknown State = iota
	// InUse: another host has the VIP.
	InUse
	// Available: no other host had the VIP when it was probed.
	Available
)

// Finding is the state of one VIP. It may be passed to the Detector of another
// virtual router that gets the VIP.
type Finding struct {
	state State
	// since is when the VIP became Available, or came from another virtual router.
	since vrrp.Time
	// holder is the host that has a VIP in use.
	holder MAC
	// sent is the number of probes sent in this attempt, next the time of the
	// next step.
	sent int
	next vrrp.Time
	// claimant is the host that claimed the VIP, at claimedAt, since the first
	// probe of this attempt; zero if no host did.
	claimant  MAC
	claimedAt vrrp.Time
}

// Detector detects address conflicts of one virtual router. Use NewDetector.
type Detector struct {
	// deadline is the time of the next call of Expire, kept since it is asked for
	// in every iteration of the engine's loop.
	deadline vrrp.Time
	settings Settings
	vips     []VIP
	findings []Finding // of vips, in the same order
	// begin is the time before which no VIP is probed, nextProbe the next step of
	// a VIP that is not Available.
	begin, nextProbe vrrp.Time
	members          members
	held             held
}

// NewDetector returns a Detector without VIPs that probes nothing before Begin is
// called.
func NewDetector() Detector {
	return Detector{deadline: vrrp.Never, begin: vrrp.Never, nextProbe: vrrp.Never, held: held{checkAt: vrrp.Never}}
}

// Configure replaces the settings and the VIPs. A VIP that the Detector has keeps
// its finding. Another one gets that of known, if known has one: a VIP that moves to
// another virtual router is not probed again.
func (d *Detector) Configure(now vrrp.Time, s Settings, vips []VIP, known map[Address]Finding) {
	same := slices.EqualFunc(d.vips, vips, func(a, b VIP) bool { return a.Address == b.Address })
	if !same {
		had := make(map[Address]Finding, len(d.vips))
		d.AppendFindings(had)
		d.findings = make([]Finding, len(vips))
		for i, v := range vips {
			f, ok := had[v.Address]
			if !ok {
				f = known[v.Address]
				f.since = now
			}
			d.findings[i] = f
		}
	}
	d.settings, d.vips = s, vips
	d.updateNextProbe()
	d.updateDeadline()
}

// AppendFindings adds the finding of each VIP to m.
func (d *Detector) AppendFindings(m map[Address]Finding) {
	for i, v := range d.vips {
		m[v.Address] = d.findings[i]
	}
}

// Begin sets the time from which VIPs that are not Available are probed. With
// vrrp.Never none is.
func (d *Detector) Begin(at vrrp.Time) {
	d.begin = at
	d.updateDeadline()
}

// State returns the state of the VIP with the index i in the list of Configure.
func (d *Detector) State(i int) State { return d.findings[i].state }

// Holder returns the host that has the VIP with the index i; zero unless the VIP
// is InUse.
func (d *Detector) Holder(i int) MAC {
	if d.findings[i].state != InUse {
		return MAC{}
	}
	return d.findings[i].holder
}

// CountInUse returns the number of VIPs in use and the index of the first one.
func (d *Detector) CountInUse() (n, first int) {
	for i := range d.findings {
		if d.findings[i].state == InUse {
			if n == 0 {
				first = i
			}
			n++
		}
	}
	return n, first
}

// Ready reports whether a virtual router that never ran may start: a VIP is
// Available, or no link of a VIP is up. Otherwise next is the time to ask again.
func (d *Detector) Ready() (ready bool, next vrrp.Time) {
	if d.nextProbe == vrrp.Never || slices.ContainsFunc(d.findings, func(f Finding) bool { return f.state == Available }) {
		return true, vrrp.Never
	}
	return false, d.probeDeadline()
}

// Probe is a question for a VIP on its link: an ARP probe or a Neighbor
// Solicitation.
type Probe struct {
	Address
	// Index is that of the VIP in the list of Configure.
	Index int
	// Held reports that this node holds the VIP. The reply to a Neighbor
	// Solicitation without a source address goes to all nodes, so a VIP that is
	// held is asked for from a link-local address.
	Held bool
}

// Output is the work that a Detector leaves to its caller.
type Output struct {
	// Probes are the probes to send now.
	Probes []Probe
	// Bind reports that a VIP became Available while this node is Master: it is to
	// be bound and announced.
	Bind bool
}

// Deadline returns the time at which Expire must be called; vrrp.Never if there
// is none.
func (d *Detector) Deadline() vrrp.Time { return d.deadline }

func (d *Detector) updateDeadline() { d.deadline = min(d.probeDeadline(), d.held.checkAt) }

// Expire does the work that is due at now.
func (d *Detector) Expire(now vrrp.Time) (out Output) {
	if d.probeDeadline() <= now {
		d.probe(now, &out)
	}
	if d.held.checkAt <= now {
		d.check(now, &out)
	}
	d.updateDeadline()
	return out
}

// Reaction is the answer to a claim of a VIP.
type Reaction uint8

// The reactions.
const (
	// None: the VIP is not held, or the host is no other one.
	None Reaction = iota
	// AnnounceAgain: the VIP is announced again, unless that was done just now.
	AnnounceAgain
	// Defend: the whole schedule of announcements begins again.
	Defend
)

// HeardClaim records that a host says on the LAN that it has a VIP. The caller
// leaves out the claims of its own links.
func (d *Detector) HeardClaim(now vrrp.Time, a Address, mac MAC) Reaction {
	i := slices.IndexFunc(d.vips, func(v VIP) bool { return v.Address == a })
	if i < 0 || mac.isVirtual(d.settings.VRID) {
		return None
	}
	f := &d.findings[i]
	switch {
	case f.state != Available:
		if f.sent > 0 && (f.claimant == (MAC{}) || d.isMember(f.claimant, now)) {
			f.claimant, f.claimedAt = mac, now
		}
		return None
	case !d.held.master:
		return None
	case now < max(d.settled(), f.since.Add(settling)):
		return AnnounceAgain
	default:
		return d.claimed(now, a.IP, mac)
	}
}
