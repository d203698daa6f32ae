package nft

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
)

// The sets of the neighbors' table.
const (
	setBoundVIP = "vip4"   // Every IPv4 VIP that is bound.
	setBound    = "bound4" // VIP and interface.
)

var neighborsSpec = &spec{
	family: nftables.TableFamilyARP,
	name:   tableName,
	sets: []set{
		{name: setBoundVIP, key: datatype{SetDatatype: nftables.TypeIPAddr}},
		{name: setBound, key: joined(nftables.TypeIPAddr, nftables.TypeIFName)},
	},
	chains: []chain{{
		name:  "input",
		hook:  &hook{"filter", arpIn, 0},
		rules: []rule{ignoreRequest},
	}},
}

// arpIn is NF_ARP_IN.
const arpIn = 0

// Fields of an ARP packet for IPv4 over Ethernet (RFC 826).
var (
	arpOperation = field{unix.NFT_PAYLOAD_NETWORK_HEADER, 6, 2}
	arpTarget    = field{unix.NFT_PAYLOAD_NETWORK_HEADER, 24, 4}
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

const arpRequest = 1 // RFC 826: ares_op$REQUEST

// Neighbors keeps the table arp kube_vrrp_vip of the network namespace it is
// used in: Linux would answer ARP for each of its addresses on every
// interface. Where it gates, it also keeps netdev kube_vrrp_vip: Linux would go
// on answering ARP and neighbor solicitations for an address whose Master has
// died. It is not safe for concurrent use, but for Repairs.
type Neighbors struct {
	table table
	// gate is nil without it.
	gate *gate
}

// NewNeighbors returns a Neighbors that has not looked at the kernel yet. It
// gates only if SupportedGate has no error.
func NewNeighbors(gates bool) *Neighbors {
	n := &Neighbors{table: table{spec: neighborsSpec}}
	if gates {
		n.gate = &gate{}
	}
	return n
}

// Set lets each VIP be answered for on its interface and on no other, and only as
// long as its pulse lasts. Addresses that are not in the map are not touched. As
// Datapath's Sync it adopts, writes differences and repairs.
func (n *Neighbors) Set(answers map[netip.Addr]desired.Answer) error {
	err := n.bind(answers)
	if n.gate != nil {
		err = errors.Join(err, n.gate.set(answers))
	}
	return err
}

// bind leaves IPv6 addresses out: Linux answers a neighbor solicitation (RFC 4861)
// on the interface that has the address and on no other.
func (n *Neighbors) bind(answers map[netip.Addr]desired.Answer) error {
	want := contents{setBoundVIP: {}, setBound: {}}
	for vip, a := range answers {
		if !vip.Is4() {
			continue
		}
		key := string(vip.AsSlice())
		want[setBoundVIP][key] = ""
		want[setBound][key+nameKey(a.Interface)] = ""
	}
	return n.table.update(func(contents, bool) (was, is contents) { return nil, want })
}

// nameKey is the name of an interface as a field of a key.
func nameKey(link string) string {
	var name [unix.IFNAMSIZ]byte
	copy(name[:], link)
	return string(name[:])
}

// Repairs returns how often the table arp kube_vrrp_vip had to be put right because
// somebody else had changed it. It may be called by any goroutine.
func (n *Neighbors) Repairs() uint64 { return n.table.repairs.Load() }

// GateRepairs is the same for netdev kube_vrrp_vip.
func (n *Neighbors) GateRepairs() uint64 {
	if n.gate == nil {
		return 0
	}
	return n.gate.table.repairs.Load()
}
