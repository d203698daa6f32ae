package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
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
// interface. It is not safe for concurrent use, but for Repairs.
type Neighbors struct {
	table table
}

// NewNeighbors returns a Neighbors that has not looked at the kernel yet.
func NewNeighbors() *Neighbors { return &Neighbors{table: table{spec: neighborsSpec}} }

// Set lets each VIP be answered for on the named interface and on no other.
// Addresses that are not in the map are not touched. IPv6 ones are left out:
// Linux answers a neighbor solicitation (RFC 4861) on the interface that has the
// address and on no other. As Datapath's Sync it adopts, writes differences and
// repairs.
func (n *Neighbors) Set(bindings map[netip.Addr]string) error {
	want := contents{setBoundVIP: {}, setBound: {}}
	for vip, link := range bindings {
		if !vip.Is4() {
			continue
		}
		key := string(vip.AsSlice())
		want[setBoundVIP][key] = ""
		var name [unix.IFNAMSIZ]byte
		copy(name[:], link)
		want[setBound][key+string(name[:])] = ""
	}
	return n.table.update(func(contents, bool) (was, is contents) { return nil, want })
}

// Repairs returns how often the table had to be put right because somebody else
// had changed it. It may be called by any goroutine.
func (n *Neighbors) Repairs() uint64 { return n.table.repairs.Load() }
