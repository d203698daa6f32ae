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

// Tables keeps the table arp kube_vrrp_vip of the network namespace that it is
// used in: Linux would answer ARP for each of its addresses on every
// interface, and ask from each of them on any. With a gate, it also keeps
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

// New returns Tables that have not looked at the kernel yet. gates asks for netdev
// kube_vrrp_vip too, which needs a kernel for which SupportedGate has no error.
func New(gates bool) *Tables {
	t := &Tables{table: nft.NewTable(neighborsSpec)}
	if gates {
		t.gate = newGate()
	}
	return t
}

// Set lets each VIP be answered for on its interface and on no other, and only as
// long as its pulse lasts. Addresses that are not in the map are not touched. The
// first call adopts the tables that are there, later ones write differences and
// repair.
func (t *Tables) Set(answers map[netip.Addr]desired.Answer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers = maps.Clone(answers)
	err := t.update()
	if t.gate != nil {
		err = errors.Join(err, t.gate.set(answers))
	}
	return err
}

// SetSenders lets the node ask by ARP from another address whenever it would ask
// from one of these VIPs, all of them IPv4.
func (t *Tables) SetSenders(senders map[netip.Addr]netip.Addr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.senders = maps.Clone(senders)
	return t.update()
}

// update leaves IPv6 addresses out of what is answered: Linux answers a neighbor
// solicitation (RFC 4861) on the interface that has the address and on no other.
func (t *Tables) update() error {
	want := nft.Elements{setBoundVIP: {}, setBound: {}, setSender: {}}
	for vip, sender := range t.senders {
		want[setSender][string(vip.AsSlice())] = string(sender.AsSlice())
	}
	for vip, a := range t.answers {
		if !vip.Is4() {
			continue
		}
		key := string(vip.AsSlice())
		want[setBoundVIP][key] = ""
		want[setBound][key+nameKey(a.Interface)] = ""
	}
	return t.table.Replace(want)
}

// nameKey is the name of an interface as a field of a key.
func nameKey(link string) string {
	var name [unix.IFNAMSIZ]byte
	copy(name[:], link)
	return string(name[:])
}

// Repairs returns how often the table arp kube_vrrp_vip was repaired because another
// program had changed it. It may be called by any goroutine.
func (t *Tables) Repairs() uint64 { return t.table.Repairs() }

// GateRepairs is the same for netdev kube_vrrp_vip.
func (t *Tables) GateRepairs() uint64 {
	if t.gate == nil {
		return 0
	}
	return t.gate.table.Repairs()
}

// Supported asks the kernel, without changing anything, whether it supports the table
// arp kube_vrrp_vip. The error names each feature that is missing.
func Supported() error {
	var missing []error
	if err := nft.Check(nft.Spec{Family: nft.FamilyARP}); err != nil {
		missing = append(missing, fmt.Errorf("nftables: tables of family arp (NF_TABLES_ARP): %w", err))
	}
	if err := nft.Check(*neighborsSpec); err != nil {
		missing = append(missing, fmt.Errorf("nftables: the table of the neighbors: %w", err))
	}
	return errors.Join(missing...)
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
