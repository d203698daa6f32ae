package neighbor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/nft"
)

// The sets of the neighbors' table.
const (
	setBoundVIP = "vip4"   // Every IPv4 VIP that is bound.
	setBound    = "bound4" // VIP and interface.
	setSender   = "from4"  // VIP to the address that asks in its place.
)

var neighborsSpec = &nft.Spec{
	Family: nft.FamilyARP,
	Name:   nft.TableName,
	Sets: []nft.Set{
		{Name: setBoundVIP, Key: nft.IPv4Addr},
		{Name: setBound, Key: nft.Join(nft.IPv4Addr, nft.IfName)},
		{Name: setSender, Key: nft.IPv4Addr, Value: nft.IPv4Addr},
	},
	Chains: []nft.Chain{
		{Name: "input", Hook: &nft.Hook{Kind: "filter", Number: arpIn, Priority: 0}, Rules: []nft.Rule{ignoreRequest}},
		{Name: "output", Hook: &nft.Hook{Kind: "filter", Number: arpOut, Priority: 0}, Rules: []nft.Rule{askAsNode}},
	},
}

// NF_ARP_IN and NF_ARP_OUT.
const (
	arpIn  = 0
	arpOut = 1
)

// Fields of an ARP packet for IPv4 over Ethernet (RFC 826).
var (
	arpOperation = nft.NetworkHeader(6, 2)
	arpSender    = nft.NetworkHeader(14, 4)
	arpTarget    = nft.NetworkHeader(24, 4)
)

// ignoreRequest is
//
//	arp operation request arp daddr ip @vip4
//	arp daddr ip . iifname != @bound4 counter drop
//
// Only requests are meant: the answer to a question of the node's own may name a VIP as
// its target on any interface.
var ignoreRequest = nft.Rule{
	Comment: "a VIP answers on its own interface only",
	Exprs: []nft.Expr{
		nft.Load(arpOperation, nft.Reg0), nft.Equal(binary.BigEndian.AppendUint16(nil, arpRequest)...),
		nft.Load(arpTarget, nft.Reg0), nft.In(setBoundVIP),
		nft.Load(arpTarget, nft.Reg0), nft.Meta(unix.NFT_META_IIFNAME, nft.Reg0+1), nft.NotIn(setBound),
		nft.Counter(),
		nft.Drop(),
	},
}

// askAsNode is
//
//	arp operation request arp saddr ip set arp saddr ip map @from4
//
// Linux asks from the address that it has a packet of, and from the interface
// that the packet leaves by: whoever is asked learns the MAC address of that
// interface for the VIP.
var askAsNode = nft.Rule{
	Comment: "a VIP with a virtual MAC asks from the node's address",
	Exprs: []nft.Expr{
		nft.Load(arpOperation, nft.Reg0), nft.Equal(binary.BigEndian.AppendUint16(nil, arpRequest)...),
		nft.Load(arpSender, nft.Reg0), nft.Map(setSender, regSender),
		nft.Write(arpSender, regSender, nft.Checksum{}),
	},
}

// regSender is behind the address that is looked up.
const regSender = nft.Reg0 + 8

const arpRequest = 1 // RFC 826: ares_op$REQUEST

// Tables keeps the table arp kube_vrrp_vip of the network namespace it is
// used in: Linux would answer ARP for each of its addresses on every
// interface, and ask from each of them on any. Where it gates, it also keeps
// netdev kube_vrrp_vip: Linux would go on answering ARP and neighbor solicitations
// for an address whose Master has died. It is safe for concurrent use.
type Tables struct {
	mu      sync.Mutex
	answers map[netip.Addr]desired.Answer
	senders map[netip.Addr]netip.Addr
	table   *nft.Table
	// gate is nil without it.
	gate *gate
}

// New returns a Neighbors that has not looked at the kernel yet. It
// gates only if SupportedGate has no error.
func New(gates bool) *Tables {
	n := &Tables{table: nft.NewTable(neighborsSpec)}
	if gates {
		n.gate = newGate()
	}
	return n
}

// Set lets each VIP be answered for on its interface and on no other, and only as
// long as its pulse lasts. Addresses that are not in the map are not touched. As
// Datapath's Sync it adopts, writes differences and repairs.
func (n *Tables) Set(answers map[netip.Addr]desired.Answer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers = maps.Clone(answers)
	err := n.update()
	if n.gate != nil {
		err = errors.Join(err, n.gate.set(answers))
	}
	return err
}

// SetSenders has the node ask by ARP from another address whenever it would ask
// from one of these VIPs, all of them IPv4.
func (n *Tables) SetSenders(senders map[netip.Addr]netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.senders = maps.Clone(senders)
	return n.update()
}

// update leaves IPv6 addresses out of what is answered: Linux answers a neighbor
// solicitation (RFC 4861) on the interface that has the address and on no other.
func (n *Tables) update() error {
	want := nft.Elements{setBoundVIP: {}, setBound: {}, setSender: {}}
	for vip, sender := range n.senders {
		want[setSender][string(vip.AsSlice())] = string(sender.AsSlice())
	}
	for vip, a := range n.answers {
		if !vip.Is4() {
			continue
		}
		key := string(vip.AsSlice())
		want[setBoundVIP][key] = ""
		want[setBound][key+nameKey(a.Interface)] = ""
	}
	return n.table.Replace(want)
}

// nameKey is the name of an interface as a field of a key.
func nameKey(link string) string {
	var name [unix.IFNAMSIZ]byte
	copy(name[:], link)
	return string(name[:])
}

// Repairs returns how often the table arp kube_vrrp_vip had to be put right because
// somebody else had changed it. It may be called by any goroutine.
func (n *Tables) Repairs() uint64 { return n.table.Repairs() }

// GateRepairs is the same for netdev kube_vrrp_vip.
func (n *Tables) GateRepairs() uint64 {
	if n.gate == nil {
		return 0
	}
	return n.gate.table.Repairs()
}

// Supported asks the kernel, without changing anything, whether it can do what
// the table arp kube_vrrp_vip needs.
func Supported() error {
	for _, f := range []struct {
		name string
		spec nft.Spec
	}{
		{"tables of family arp (NF_TABLES_ARP)", nft.Spec{Family: nft.FamilyARP}},
		{"the table of the neighbors", *neighborsSpec},
	} {
		if err := nft.Check(f.spec); err != nil {
			return fmt.Errorf("nftables: %s: %w", f.name, err)
		}
	}
	return nil
}

// SupportedGate asks the kernel the same about the table that makes ARP and
// neighbor discovery depend on a Master's pulses. Without it the daemon works, and
// an address whose Master has died is answered for until its lease ends.
func SupportedGate() error {
	if err := nft.Check(*newGateSpec(nil)); err != nil {
		return fmt.Errorf("nftables: chains at ingress (NF_TABLES_NETDEV, NETFILTER_INGRESS): %w", err)
	}
	return nil
}

// Cleanup removes the tables. That they are absent is success.
func Cleanup() error {
	err := nft.Remove(neighborsSpec)
	// A kernel without the family has no such table.
	if gateErr := nft.Remove(newGateSpec(nil)); !errors.Is(gateErr, unix.EOPNOTSUPP) {
		err = errors.Join(err, gateErr)
	}
	return err
}
