package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// Client is a place that VIPs are used from.
type Client struct {
	Name string
	// NetNS is the path of its network namespace.
	NetNS string
	// Node is the node that it is on; empty outside of the cluster.
	Node string
	// IsPod tells a pod from a process of the node itself.
	IsPod bool
	// Addrs are its own addresses, at most one of each family.
	Addrs []netip.Addr
}

// Addr returns the client's address of the family that vip has.
func (c Client) Addr(vip netip.Addr) netip.Addr {
	for _, a := range c.Addrs {
		if a.Is4() == vip.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// Clients returns the places that a VIP is used from: the LAN, a network behind a
// router, and on each node a pod, which is behind no Service, and the node itself.
func (s *Site) Clients(ctx context.Context) ([]Client, error) {
	addrs := func(host string) []netip.Addr { return []netip.Addr{s.Addr(host), s.Addr6(host)} }
	clients := []Client{
		{Name: "on-link", NetNS: s.NetNS("client"), Addrs: addrs("client")},
		{Name: "routed", NetNS: s.NetNS("routed"), Addrs: addrs("routed")},
	}
	for _, n := range s.Nodes() {
		clients = append(clients, Client{Name: "host " + n, NetNS: s.NetNS(n), Node: n, Addrs: addrs(n)})
	}
	for _, n := range s.Nodes() {
		pod, err := s.podOn(ctx, EchoNamespace, "app=caller", n)
		if err != nil {
			return nil, err
		}
		if !pod.Ready {
			return nil, fmt.Errorf("pod %s is not ready", pod.Name)
		}
		path, err := s.PodNetNS(ctx, n, EchoNamespace, pod.Name, pod.Container)
		if err != nil {
			return nil, err
		}
		clients = append(clients, Client{Name: "pod on " + n, NetNS: path, Node: n, IsPod: true, Addrs: pod.IPs})
	}
	return clients, nil
}

// NodeAddrs returns a node's own addresses of the family that vip has: on the LAN and
// in the network of its pods. One of them is the source of what the node masquerades.
func (s *Site) NodeAddrs(node string, vip netip.Addr) []netip.Addr {
	gateway4, gateway6 := s.PodGateways(node)
	all := []netip.Addr{s.Addr(node), s.Addr6(node), gateway4, gateway6}
	return slices.DeleteFunc(all, func(a netip.Addr) bool { return a.Is4() != vip.Is4() })
}
