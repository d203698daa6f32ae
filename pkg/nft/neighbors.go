package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
)

// The sets of the neighbors' table.
const (
	setBoundVIP = "vip4"   // Every IPv4 VIP that is bound.
	setBound    = "bound4" // VIP and interface.
	setSender   = "from4"  // VIP to the address that asks in its place.
)

var neighborsSpec = &spec{
	family: nftables.TableFamilyARP,
	name:   tableName,
	sets: []set{
		{name: setBoundVIP, key: ipv4Addr},
		{name: setBound, key: join(ipv4Addr, ifName)},
		{name: setSender, key: ipv4Addr, value: ipv4Addr},
	},
	chains: []chain{
		{name: "input", hook: &hook{kind: "filter", number: arpIn, priority: 0}, rules: []rule{ignoreRequest}},
		{name: "output", hook: &hook{kind: "filter", number: arpOut, priority: 0}, rules: []rule{askAsNode}},
	},
}

// NF_ARP_IN and NF_ARP_OUT.
const (
	arpIn  = 0
	arpOut = 1
)

// Fields of an ARP packet for IPv4 over Ethernet (RFC 826).
var (
	arpOperation = networkHeader(6, 2)
	arpSender    = networkHeader(14, 4)
	arpTarget    = networkHeader(24, 4)
)

// ignoreRequest is
//
//	arp operation request arp daddr ip @vip4
//	arp daddr ip . iifname != @bound4 counter drop
//
// Only requests are meant: the answer to a question of the node's own may name a VIP as
// its target on any interface.
var ignoreRequest = rule{
	comment: "a VIP answers on its own interface only",
	exprs: []expr{
		load(arpOperation, reg0), equal(binary.BigEndian.AppendUint16(nil, arpRequest)...),
		load(arpTarget, reg0), in(setBoundVIP),
		load(arpTarget, reg0), meta(unix.NFT_META_IIFNAME, reg0+1), notIn(setBound),
		counter(),
		drop(),
	},
}

// askAsNode is
//
//	arp operation request arp saddr ip set arp saddr ip map @from4
//
// Linux asks from the address that it has a packet of, and from the interface
// that the packet leaves by: whoever is asked learns the MAC address of that
// interface for the VIP.
var askAsNode = rule{
	comment: "a VIP with a virtual MAC asks from the node's address",
	exprs: []expr{
		load(arpOperation, reg0), equal(binary.BigEndian.AppendUint16(nil, arpRequest)...),
		load(arpSender, reg0), mapped(setSender, regTarget),
		write(arpSender, regTarget, sum{}),
	},
}

const arpRequest = 1 // RFC 826: ares_op$REQUEST

// Neighbors keeps the table arp kube_vrrp_vip of the network namespace it is
// used in: Linux would answer ARP for each of its addresses on every
// interface, and ask from each of them on any. Where it gates, it also keeps
// netdev kube_vrrp_vip: Linux would go on answering ARP and neighbor solicitations
// for an address whose Master has died. It is safe for concurrent use.
type Neighbors struct {
	mu      sync.Mutex
	answers map[netip.Addr]desired.Answer
	senders map[netip.Addr]netip.Addr
	table   *table
	// gate is nil without it.
	gate *gate
}

// NewNeighbors returns a Neighbors that has not looked at the kernel yet. It
// gates only if SupportedGate has no error.
func NewNeighbors(gates bool) *Neighbors {
	n := &Neighbors{table: newTable(neighborsSpec)}
	if gates {
		n.gate = newGate()
	}
	return n
}

// Set lets each VIP be answered for on its interface and on no other, and only as
// long as its pulse lasts. Addresses that are not in the map are not touched. As
// Datapath's Sync it adopts, writes differences and repairs.
func (n *Neighbors) Set(answers map[netip.Addr]desired.Answer) error {
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
func (n *Neighbors) SetSenders(senders map[netip.Addr]netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.senders = maps.Clone(senders)
	return n.update()
}

// update leaves IPv6 addresses out of what is answered: Linux answers a neighbor
// solicitation (RFC 4861) on the interface that has the address and on no other.
func (n *Neighbors) update() error {
	want := contents{setBoundVIP: {}, setBound: {}, setSender: {}}
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
func (n *Neighbors) Repairs() uint64 { return n.table.Repairs() }

// GateRepairs is the same for netdev kube_vrrp_vip.
func (n *Neighbors) GateRepairs() uint64 {
	if n.gate == nil {
		return 0
	}
	return n.gate.table.Repairs()
}

// Supported asks the kernel, without changing anything, whether it can do what
// the table arp kube_vrrp_vip needs.
func supportedNeighbors() error {
	for _, f := range []struct {
		name string
		spec spec
	}{
		{"tables of family arp (NF_TABLES_ARP)", spec{family: nftables.TableFamilyARP}},
		{"the table of the neighbors", *neighborsSpec},
	} {
		if err := check(f.spec); err != nil {
			return fmt.Errorf("nftables: %s: %w", f.name, err)
		}
	}
	return nil
}

// SupportedGate asks the kernel the same about the table that makes ARP and
// neighbor discovery depend on a Master's pulses. Without it the daemon works, and
// an address whose Master has died is answered for until its lease ends.
func SupportedGate() error {
	if err := check(*newGateSpec(nil)); err != nil {
		return fmt.Errorf("nftables: chains at ingress (NF_TABLES_NETDEV, NETFILTER_INGRESS): %w", err)
	}
	return nil
}
