package desired

import (
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// State is everything this node is asked to do. Two States that ask for the
// same are equal by reflect.DeepEqual: every list is sorted.
type State struct {
	// NodeAddresses are the node's own addresses, at most one of each family,
	// IPv4 first; empty until they were learned. They name the interface of a
	// VIP for which nothing better is known, and with unicast they are what
	// advertisements are sent from.
	NodeAddresses []netip.Addr
	// Routers are the virtual routers to run, sorted by family and VRID.
	Routers []Router
	// Forwards are the VIPs that stand in front of Services, sorted by VIP.
	// They are the same whether or not this node is Master.
	Forwards []Forward
}

// NodeAddress returns the node's own address of a family, invalid if there is
// none.
func (s State) NodeAddress(f vrrp.Family) netip.Addr {
	for _, a := range s.NodeAddresses {
		if vrrp.FamilyOf(a) == f {
			return a
		}
	}
	return netip.Addr{}
}

// Router is one virtual router (RFC 9568 section 1.6) as the configuration
// names it. The engine runs it once on every interface that one of its VIPs
// belongs to.
type Router struct {
	Family  vrrp.Family
	VRID    uint8
	Version vrrp.Version
	// Priority is this node's, 1 to 254.
	Priority uint8
	// AdvertisementInterval is a multiple of 10 ms up to 40.95 s with
	// VRRPv3, whole seconds up to 255 s with VRRPv2.
	AdvertisementInterval time.Duration
	// Preempt lets this node take over from a Master of lower priority.
	Preempt bool
	// TakeoverDelay is waited on top of Master_Down_Interval and Skew_Time,
	// so that two Backups never promote themselves together. It never shows
	// on the wire.
	TakeoverDelay time.Duration
	// TakeoverStep is the part of TakeoverDelay for each node that would be
	// preferred.
	TakeoverStep time.Duration
	// PreemptDelay is how long a Master of lower priority is left alone.
	PreemptDelay time.Duration
	// DownAdverts is how many advertisements in a row must be missed, and
	// AdvertsPerInterval how often one is sent in an interval; 0 is the
	// protocol's default.
	DownAdverts        int
	AdvertsPerInterval int
	// Checksum is the form of VRRPv3's checksum over IPv4.
	Checksum vrrp.ChecksumForm
	// Password is VRRPv2's; the zero value means no authentication.
	Password vrrp.Password `json:"-"`
	// Unicast sends advertisements to Peers, from the interface that carries
	// the node's address of the family, instead of to the multicast group.
	Unicast bool
	// Peers are the addresses of the other nodes that run the daemon and, with
	// Unicast, of routers named by the operator, of the router's family,
	// sorted.
	Peers []netip.Addr
	// Force starts the router although others use its VRID for something
	// else.
	Force bool
	// VIPs are the addresses, sorted; the order is the order on the wire.
	VIPs []VIP
}

// VIP is a virtual address and where it may be bound.
type VIP struct {
	Address netip.Addr
	// Interfaces are the names an operator asked for: the first that exists
	// is taken. Empty: the interface whose connected prefix contains Address,
	// else the one that carries the node's address of the family.
	Interfaces []string
}

// Protocol is an IP protocol number as nftables' meta l4proto has it.
type Protocol uint8

// The protocols of a Service's port.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// String returns the name as Kubernetes writes it.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	default:
		return "unknown"
	}
}

// Forward is what a VIP that belongs to Services does with the packets that
// reach it. A TCP or UDP port that is in neither list is refused; so a VIP whose
// Service is missing has none and refuses every port.
type Forward struct {
	VIP netip.Addr
	// Ports are sorted by protocol and port, each at most once.
	Ports []Port
	// NodePorts are those of the VIP's own Services, sorted by protocol and
	// port, each at most once. They are kube-proxy's to serve, and refused
	// if it does not serve them at the VIP.
	NodePorts []NodePort
}

// Port is one port of a VIP and where it leads.
type Port struct {
	Protocol Protocol
	Port     uint16
	// Target is the Service's ClusterIP, of the VIP's family. The packet
	// keeps its port.
	Target netip.Addr
}

// NodePort is a port that a Service has on the addresses of every node.
type NodePort struct {
	Protocol Protocol
	Port     uint16
}
