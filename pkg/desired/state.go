package desired

import (
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// State is the desired state of this node. All lists are sorted, so that equal
// States are equal by reflect.DeepEqual.
type State struct {
	// NodeAddresses are the node's own addresses, at most one of each family,
	// IPv4 first; empty until they are known. The interface that has them is the
	// default interface for VIPs. With unicast they are the source addresses of
	// advertisements.
	NodeAddresses []netip.Addr
	// Routers are the virtual routers to run, sorted by family and VRID.
	Routers []Router
	// Datapath is the packet forwarding for all VIPs. It does not depend on the
	// state of the routers.
	Datapath Datapath
}

// NodeAddress returns the node's own address of a family, or the zero Addr if there
// is none.
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

// Router is the configuration of a virtual router (RFC 9568 section 1.6). The
// engine runs an instance on every interface that it assigns VIPs of the router
// to.
type Router struct {
	vrrp.Settings
	Family vrrp.Family
	VRID   uint8
	// TakeoverDelay is added to Master_Down_Interval and Skew_Time (RFC 9568 section
	// 6.1) before a Backup becomes Master, so that two Backups do not become Master
	// at the same time. Advertisements do not carry it.
	TakeoverDelay time.Duration
	// TakeoverStep is the part of TakeoverDelay for each node that is preferred to
	// this one.
	TakeoverStep time.Duration
	// Peers are the addresses of the other nodes that run the daemon and, with
	// Unicast, of the routers that the operator named. They are of the router's
	// family, and sorted.
	Peers []netip.Addr
	// Force starts the router even if other routers use its VRID for other
	// addresses.
	Force bool
	// NoLocalEndpoint keeps the router in Initialize: its VIPs belong to Services
	// with a Local traffic policy, and this node has no ready endpoint of them.
	NoLocalEndpoint bool
	// VIPs are the virtual addresses, sorted by address. Advertisements carry them
	// in this order.
	VIPs []VIP
}

// VIP is a virtual address and its placement.
type VIP struct {
	Address netip.Addr
	// Interfaces are the names of the interfaces that may have the address: the
	// engine takes the first that exists. If the list is empty, it takes the
	// interface with a connected prefix that contains Address, or else the interface
	// that has the node's own address of the family.
	Interfaces []string
	// VirtualMAC advertises the VIP with the virtual router MAC address (RFC 9568
	// section 7.3) instead of the MAC address of the interface.
	VirtualMAC bool
}

// Datapath is the packet forwarding for all VIPs.
type Datapath struct {
	// Forwards are the VIPs with Services, sorted by VIP.
	Forwards []Forward
	// PodCIDRs are the networks of this node's own pods, sorted; nil if they are
	// not known. Traffic from these to a VIP keeps its source address, like traffic
	// to the ClusterIP.
	PodCIDRs []netip.Prefix
}

// Protocol is an IP protocol number, as in nftables' meta l4proto.
type Protocol uint8

// The protocols that a port of a Service may have.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String returns the name of p in the Kubernetes API.
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

// Forward is the forwarding of a VIP with Services. A port of a Service that does
// not exist is not in Ports.
type Forward struct {
	VIP netip.Addr
	// Open allows host ports: TCP, UDP and SCTP traffic to ports that are not in
	// Ports reaches the sockets of the node. Otherwise it is rejected.
	Open bool
	// Ports are sorted by protocol and port, without duplicates.
	Ports []Port
}

// Proxied reports whether the daemon's own proxy serves a port of f.
func (f Forward) Proxied() bool { return slices.ContainsFunc(f.Ports, Port.Proxied) }

// Port is a port of a VIP and its destination.
type Port struct {
	Protocol Protocol
	Port     uint16
	// Target is a destination that kube-proxy serves: a ClusterIP and a port of the
	// Service, or an address of the node and a NodePort. It is of the VIP's family.
	Target netip.AddrPort
	// KeepSource preserves the client's source address. Without it the source is
	// masqueraded with an address of the node, unless kube-proxy masquerades it or
	// the client runs on this node, so that replies return through the node anyway.
	KeepSource bool
	// Restricted admits only clients whose addresses are in Sources, the
	// loadBalancerSourceRanges of the VIP's family, sorted. It does not apply to the
	// node's own processes.
	Restricted bool
	Sources    []netip.Prefix
	// Proxy is NoProxy if the kernel forwards the port. Otherwise the daemon's own
	// proxy accepts connections and opens connections to Target.
	Proxy Proxy
}

// Proxied reports whether the daemon's own proxy serves the port.
func (p Port) Proxied() bool { return p.Proxy != NoProxy }

// Proxy is the way in which the daemon's own proxy serves a TCP port.
type Proxy uint8

// The kinds of Proxy.
const (
	NoProxy    Proxy = iota
	ProxyPlain       // Without a header.
	ProxyV1          // With a PROXY protocol header of version 1 (text).
	ProxyV2          // With a PROXY protocol header of version 2 (binary).
)
