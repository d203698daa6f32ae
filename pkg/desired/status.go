package desired

import (
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// Status is a snapshot of the engine's state.
type Status struct {
	// Routers are the running virtual routers, sorted by interface, family
	// and VRID.
	Routers []RouterStatus `json:"routers"`
	// Unplaced are the VIPs that no interface of this node can have, sorted.
	Unplaced []UnplacedVIP `json:"unplaced,omitempty"`
	// Interfaces are the names of the interfaces on which the daemon listens for
	// VRRP, sorted.
	Interfaces []string `json:"interfaces"`
	// Applied reports whether a State was applied since the start.
	Applied bool `json:"applied"`
	// Beat is the time of the last iteration of the VRRP loop, in Unix nanoseconds.
	// If it is old, the loop hangs.
	Beat int64 `json:"beat"`
	// Lateness is the maximum delay of a timer of the loop in the last one to two
	// minutes.
	Lateness time.Duration `json:"latenessNanoseconds"`
	// Foreign are the routers that send advertisements of virtual routers that this
	// node does not run, sorted by interface, family, VRID and source.
	Foreign []ForeignRouter `json:"foreign,omitempty"`
	// Unheard counts the received packets that match no virtual router of this node
	// or cannot be parsed, by reason.
	Unheard map[string]uint64 `json:"unheard,omitempty"`
	// PulseFailures counts the Pulses that could not be sent. Without them the
	// kernel of a node whose daemon dies replies to ARP and neighbor discovery for
	// its VIPs until their lease ends.
	PulseFailures uint64 `json:"pulseFailures"`
}

// RouterKey identifies a running virtual router. A VRID is unique for an interface
// and a family (RFC 9568 section 1.6).
type RouterKey struct {
	Interface string      `json:"interface"`
	Family    vrrp.Family `json:"family"`
	VRID      uint8       `json:"vrid"`
}

// RouterStatus is the status of a running virtual router.
type RouterStatus struct {
	RouterKey
	State vrrp.State `json:"state"`
	// Cause is the reason for State: the cause of the last transition, or the fault
	// that keeps the router in Initialize.
	Cause
	// Since is the time when the router entered State.
	Since    time.Time     `json:"since"`
	Version  vrrp.Version  `json:"version"`
	Priority uint8         `json:"priority"`
	Interval time.Duration `json:"advertisementIntervalNanoseconds"`
	// Master is the address of the current Master: this node's own address if it is
	// Master, and otherwise the source of the last advertisement of a Master. It is
	// invalid if none was received.
	Master netip.Addr `json:"master"`
	// MasterPriority is the priority that this Master advertises.
	MasterPriority uint8 `json:"masterPriority"`
	// ListOf is the address of the router whose address list this node advertises,
	// because keepalived discards advertisements with a different list. It is
	// invalid if the node advertises its own list.
	ListOf netip.Addr `json:"listOf"`
	// Unicast are the addresses of the peers that advertisements are sent to; empty
	// with multicast.
	Unicast []netip.Addr `json:"unicast,omitempty"`
	// ForeignClaims counts the ARP and Neighbor Discovery packets of other hosts
	// that claim an address of this node, except for those soon after a takeover.
	ForeignClaims uint64 `json:"foreignClaims"`
	// Alarms are the active alarms.
	Alarms   []Alarm       `json:"alarms,omitempty"`
	VIPs     []VIPStatus   `json:"vips"`
	Counters vrrp.Counters `json:"counters"`
	// AddressRemovals counts the virtual addresses that another program removed
	// from the interface while this node was Master.
	AddressRemovals uint64 `json:"addressRemovals"`
}

// VIPStatus is the status of an address of a running virtual router.
type VIPStatus struct {
	Address netip.Addr `json:"address"`
	// Bound reports whether the interface has the address now.
	Bound bool `json:"bound"`
	// Interface is the name of the interface that the address is assigned to.
	Interface string `json:"interface"`
	// Advertised reports whether this node's advertisements carry the address. The
	// Master binds and announces the other addresses too.
	Advertised bool `json:"advertised"`
	// InUseBy is the MAC address of the host that uses the address, which this node
	// therefore does not bind; empty if conflict detection (RFC 5227, RFC 4862)
	// found no such host.
	InUseBy string `json:"inUseBy,omitempty"`
	// Placement is the reason why the VIP is assigned to Interface.
	Placement string `json:"placement"`
	// VirtualMAC is the MAC address of the virtual router, if that is what the
	// LAN knows the address by.
	VirtualMAC string `json:"virtualMAC,omitempty"`
}

// Alarm is a condition of a running virtual router that requires an operator's
// attention.
type Alarm struct {
	// Reason is one of vrrp.AlarmReason's constants.
	Reason string `json:"reason"`
	// Source is the sender of the packets that caused the alarm; it may be invalid.
	Source netip.Addr `json:"source"`
	Detail string     `json:"detail,omitempty"`
	// Since is the time when the alarm began.
	Since time.Time `json:"since"`
}

// ForeignRouter is a router that sends advertisements of a virtual router that this
// node does not run.
type ForeignRouter struct {
	RouterKey
	Source    netip.Addr    `json:"source"`
	Version   vrrp.Version  `json:"version"`
	Priority  uint8         `json:"priority"`
	Interval  time.Duration `json:"advertisementIntervalNanoseconds"`
	Addresses []netip.Addr  `json:"addresses"`
}

// UnplacedVIP is a VIP that no interface of this node can have, and the reason.
type UnplacedVIP struct {
	Address netip.Addr `json:"address"`
	Reason  string     `json:"reason"`
}
