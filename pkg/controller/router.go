package controller

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

// routers returns the virtual routers of entries, one for each family and VRID. The
// entries are sorted by address, and vridOf returns the VRID of an entry.
func routers(o config.Options, self member, peers []member, entries []config.Entry, vridOf func(config.Entry) uint8) []desired.Router {
	type key struct {
		family vrrp.Family
		vrid   uint8
	}
	found := map[key]*desired.Router{}
	for _, e := range entries {
		k := key{vrrp.FamilyOf(e.VIP), vridOf(e)}
		r := found[k]
		if r == nil {
			r = newRouter(o, self, peers, k.family, k.vrid)
			found[k] = r
		}
		vip := desired.VIP{Address: e.VIP, Interfaces: e.Interfaces}
		if len(vip.Interfaces) == 0 && o.Interface != "" {
			vip.Interfaces = []string{o.Interface}
		}
		vip.VirtualMAC = o.VirtualMAC
		if e.VirtualMAC != nil {
			vip.VirtualMAC = *e.VirtualMAC
		}
		r.VIPs = append(r.VIPs, vip)
		r.Force = r.Force || e.Force
	}
	var all []desired.Router
	for _, r := range found {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b desired.Router) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.VRID, b.VRID))
	})
	return all
}

func newRouter(o config.Options, self member, peers []member, family vrrp.Family, vrid uint8) *desired.Router {
	delay, step := takeoverDelay(self, peers, family, vrid, o.VRRP.AdvertisementInterval)
	if len(o.UnicastPeers) > 0 {
		// The rank in delay does not include the routers of --unicast-peers.
		step = 0
	}
	r := &desired.Router{
		Settings:      o.VRRP,
		Family:        family,
		VRID:          vrid,
		TakeoverDelay: delay,
		TakeoverStep:  step,
		Peers:         peerAddresses(o, self, peers, family),
	}
	r.Priority = self.priority(vrid)
	if family != vrrp.IPv4 || r.Version != vrrp.V3 {
		r.Checksum = vrrp.ChecksumNone
	}
	return r
}

// vridOf returns the VRID of an entry: its own, or else one of --vrids, or else
// --vrid. A hash of the address selects one of --vrids, so that it does not change
// when other VIPs are added or removed. Fibonacci hashing (Knuth, The Art of Computer
// Programming, section 6.4) distributes addresses in sequence, or at equal distances,
// more evenly than a random hash.
func vridOf(o config.Options, e config.Entry) uint8 {
	switch {
	case e.VRID != 0:
		return e.VRID
	case o.VRIDs.IsZero():
		return uint8(o.VRID)
	}
	const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	address := e.VIP.As16()
	key := binary.BigEndian.Uint64(address[:8]) + binary.BigEndian.Uint64(address[8:])
	n := uint64(o.VRIDs.Last-o.VRIDs.First) + 1
	offset, _ := bits.Mul64(key*golden, n)
	return o.VRIDs.First + uint8(offset)
}

// peerAddresses returns the addresses of the other members of the virtual routers of
// a family, sorted.
func peerAddresses(o config.Options, self member, peers []member, family vrrp.Family) []netip.Addr {
	var addresses []netip.Addr
	for _, p := range peers {
		addresses = append(addresses, p.address(family))
	}
	addresses = append(addresses, o.UnicastPeers...)
	addresses = slices.DeleteFunc(addresses, func(a netip.Addr) bool {
		// All nodes have the same --unicast-peers, which may include this node.
		return !a.IsValid() || vrrp.FamilyOf(a) != family || a == self.address(family)
	})
	if len(addresses) == 0 {
		return nil
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(addresses)
}
