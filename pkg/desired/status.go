package desired

import (
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// Status is what the engine is doing at one moment.
type Status struct {
	// Routers are the running virtual routers, sorted by interface, family
	// and VRID.
	Routers []RouterStatus `json:"routers"`
	// Unplaced are VIPs that no interface of this node can take, sorted.
	Unplaced []UnplacedVIP `json:"unplaced,omitempty"`
	// Interfaces are the links on which the daemon listens for VRRP, sorted.
	Interfaces []string `json:"interfaces"`
	// Applied tells that a State was applied at least once.
	Applied bool `json:"applied"`
	// Beat is when the loop last went round, in Unix nanoseconds: an old one
	// means a loop that hangs.
	Beat int64 `json:"beat"`
	// Lateness is the worst lateness of the loop in the last one to two minutes.
	Lateness time.Duration `json:"latenessNanoseconds"`
	// Foreign are the routers heard whose virtual router is not one of ours,
	// sorted by interface, family, VRID and source.
	Foreign []ForeignRouter `json:"foreign,omitempty"`
	// Unheard counts packets that belong to no virtual router or could not
	// be parsed, by reason.
	Unheard map[string]uint64 `json:"unheard,omitempty"`
	// PulseFailures counts pulses that could not be sent: while they cannot, a
	// VIP whose Master dies is answered for until its lease ends.
	PulseFailures uint64 `json:"pulseFailures"`
}

// RouterKey identifies a running virtual router: VRIDs are per interface and
// family (RFC 9568 section 1.6).
type RouterKey struct {
	Interface string      `json:"interface"`
	Family    vrrp.Family `json:"family"`
	VRID      uint8       `json:"vrid"`
}

// RouterStatus is one running virtual router.
type RouterStatus struct {
	RouterKey
	State vrrp.State `json:"state"`
	// Cause says why it is in State: the last transition's, or the fault that
	// keeps it in Initialize.
	Cause
	// Since is when it entered State.
	Since    time.Time     `json:"since"`
	Version  vrrp.Version  `json:"version"`
	Priority uint8         `json:"priority"`
	Interval time.Duration `json:"advertisementIntervalNanoseconds"`
	// Master is the address of the Master last heard, our own while we are
	// it, and invalid if none was heard.
	Master netip.Addr `json:"master"`
	// MasterPriority is what that Master advertised.
	MasterPriority uint8 `json:"masterPriority"`
	// ListOf is the Master whose address list our advertisements carry, since
	// keepalived discards another than its own; invalid if they carry ours.
	ListOf netip.Addr `json:"listOf"`
	// Unicast are the peers that advertisements are sent to; none with
	// multicast.
	Unicast []netip.Addr `json:"unicast,omitempty"`
	// ForeignClaims counts how often others claimed an address that we held, by
	// ARP or Neighbor Discovery, long after a takeover.
	ForeignClaims uint64 `json:"foreignClaims"`
	// Alarms are what an operator must look at.
	Alarms   []Alarm       `json:"alarms,omitempty"`
	VIPs     []VIPStatus   `json:"vips"`
	Counters vrrp.Counters `json:"counters"`
	// AddressRemovals counts virtual addresses that somebody else has removed
	// from the interface while this node was Master.
	AddressRemovals uint64 `json:"addressRemovals"`
}

// VIPStatus is one address of a running virtual router.
type VIPStatus struct {
	Address netip.Addr `json:"address"`
	// Bound tells that the address is on the interface now.
	Bound bool `json:"bound"`
	// Interface is where the address belongs.
	Interface string `json:"interface"`
	// Advertised tells that it is among the addresses that our advertisements
	// carry. Those that are not are held and announced all the same.
	Advertised bool `json:"advertised"`
	// InUseBy is the MAC of the host that has the address, which therefore is not
	// bound; empty if nobody was found to have it when it was asked for.
	InUseBy string `json:"inUseBy,omitempty"`
	// Placement says why the VIP is on this interface.
	Placement string `json:"placement"`
	// VirtualMAC is the MAC address of the virtual router, if that is what the
	// LAN knows the address by.
	VirtualMAC string `json:"virtualMAC,omitempty"`
}

// Alarm is something about a running virtual router that an operator must look
// at.
type Alarm struct {
	// Reason is a word of vrrp.AlarmReason's.
	Reason string `json:"reason"`
	// Source is who sent what caused it.
	Source netip.Addr `json:"source"`
	Detail string     `json:"detail,omitempty"`
	// Since is when it began.
	Since time.Time `json:"since"`
}

// ForeignRouter is a router that was heard on one of our interfaces.
type ForeignRouter struct {
	RouterKey
	Source    netip.Addr    `json:"source"`
	Version   vrrp.Version  `json:"version"`
	Priority  uint8         `json:"priority"`
	Interval  time.Duration `json:"advertisementIntervalNanoseconds"`
	Addresses []netip.Addr  `json:"addresses"`
}

// UnplacedVIP is a VIP that has no interface on this node.
type UnplacedVIP struct {
	Address netip.Addr `json:"address"`
	Reason  string     `json:"reason"`
}
