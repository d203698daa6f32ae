package desired

import (
	"net/netip"
	"slices"
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
	// Datapath is the same whether or not this node is Master.
	Datapath Datapath
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

// NodeAddressFor returns the node's own address of the family of a VIP, invalid if
// there is none.
func (s State) NodeAddressFor(vip netip.Addr) netip.Addr { return s.NodeAddress(vrrp.FamilyOf(vip)) }

// Router is one virtual router (RFC 9568 section 1.6) as the configuration
// names it. The engine runs it once on every interface that one of its VIPs
// belongs to.
type Router struct {
	vrrp.Settings
	Family vrrp.Family
	VRID   uint8
	// TakeoverDelay is waited on top of Master_Down_Interval and Skew_Time,
	// so that two Backups never promote themselves together. It never shows
	// on the wire.
	TakeoverDelay time.Duration
	// TakeoverStep is the part of TakeoverDelay for each node that would be
	// preferred.
	TakeoverStep time.Duration
	// Peers are the addresses of the other nodes that run the daemon and, with
	// Unicast, of routers named by the operator, of the router's family,
	// sorted.
	Peers []netip.Addr
	// Force starts the router although others use its VRID for something
	// else.
	Force bool
	// NoLocalEndpoint keeps the router in Initialize: its VIPs belong to a
	// Service whose traffic stays on the node that it reaches, and no endpoint
	// of it is ready here.
	NoLocalEndpoint bool
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
	// VirtualMAC has the LAN know the VIP by the MAC address of its virtual
	// router (RFC 9568 section 7.3) instead of the interface's own.
	VirtualMAC bool
}

// Datapath is what becomes of the packets that reach a VIP.
type Datapath struct {
	// Forwards are the VIPs that stand in front of Services, sorted by VIP.
	Forwards []Forward
	// PodCIDRs are the networks of this node's own pods, sorted; nil if they
	// are not known. What these send to a VIP keeps its source address, as it
	// does at the Service itself.
	PodCIDRs []netip.Prefix
}

// Protocol is an IP protocol number as nftables' meta l4proto has it.
type Protocol uint8

// The protocols of a Service's port.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String returns the name as Kubernetes writes it.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	default:
		return "unknown"
	}
}

// Forward is a VIP that belongs to Services. One whose Service is missing has no
// ports.
type Forward struct {
	VIP netip.Addr
	// Open leaves the TCP, UDP and SCTP ports that are not in Ports to whatever
	// listens on all addresses of the node; else they are refused.
	Open bool
	// Ports are sorted by protocol and port, each at most once.
	Ports []Port
}

// Proxied reports whether the daemon serves a port of f itself.
func (f Forward) Proxied() bool { return slices.ContainsFunc(f.Ports, Port.Proxied) }

// Port is one port of a VIP and where it leads.
type Port struct {
	Protocol Protocol
	Port     uint16
	// Target is what kube-proxy serves: a ClusterIP and a port of the Service,
	// or an address of the node and a NodePort. It is of the VIP's family.
	Target netip.AddrPort
	// KeepSource leaves the client's source address in the packet. Without it
	// the node's own takes its place, unless kube-proxy or the client's
	// position on this node make sure that the answer comes back here.
	KeepSource bool
	// Restricted admits the clients in Sources only, which are of the VIP's
	// family and sorted. The node's own processes are not asked.
	Restricted bool
	Sources    []netip.Prefix
	// Proxy has the daemon accept the connection and open one of its own to
	// Target.
	Proxy Proxy
}

// Proxied reports whether the daemon serves the port itself.
func (p Port) Proxied() bool { return p.Proxy != NoProxy }

// Proxy says how the daemon serves a TCP port itself.
type Proxy uint8

// The kinds of Proxy.
const (
	NoProxy    Proxy = iota
	ProxyPlain       // Bytes only.
	ProxyV1          // After a PROXY protocol header of version 1, which is text.
	ProxyV2          // After one of version 2, which is binary.
)
