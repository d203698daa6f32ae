package neighbor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/wire"
	"kube-vrrp-vip/pkg/nft"
)

const (
	// aliveFor is how long a VIP is answered for after a pulse of its Master.
	aliveFor = 500 * time.Millisecond
	// watchedFor is how long the lack of pulses keeps a VIP from being answered
	// for: until the kernel has taken the address away, 3 s after, and no longer.
	watchedFor = 4 * time.Second
	// maxPulses bounds the memory that pulses can take. A virtual router beyond
	// it is not watched.
	maxPulses = 4096
)

// The sets and maps of the gate.
const (
	setAlive   = "alive"   // Virtual routers that had a pulse within aliveFor.
	setWatched = "watched" // The same within watchedFor.
	mapRouter4 = "router4" // IPv4 VIP and interface: the virtual router.
	mapRouter6 = "router6" // The same of IPv6.
)

// The chains of the gate, but for those of the interfaces.
const (
	chainPulse        = "pulse"
	chainRequest      = "arp_request"
	chainSolicitation = "neighbor_solicitation"
	chainSilence      = "silence"
)

var (
	hopLimit   = nft.NetworkHeader(7, 1)
	icmpv6Type = nft.TransportHeader(0, 1)
	// solicited is the target of a neighbor solicitation (RFC 4861 section 4.3).
	solicited = nft.TransportHeader(8, 16)
)

// ndSolicitation is the ICMPv6 type (RFC 4861 section 4.3).
const ndSolicitation = 135

// newGateSpec returns the table that gates these interfaces.
func newGateSpec(links []string) *nft.Spec {
	s := &nft.Spec{
		Family: nft.FamilyNetdev,
		Name:   nft.TableName,
		Sets: []nft.Set{
			{Name: setAlive, Key: nft.Mark, Timeout: aliveFor, Size: maxPulses},
			{Name: setWatched, Key: nft.Mark, Timeout: watchedFor, Size: maxPulses},
			{Name: mapRouter4, Key: nft.Join(nft.IPv4Addr, nft.IfName), Value: nft.Mark},
			{Name: mapRouter6, Key: nft.Join(nft.IPv6Addr, nft.IfName), Value: nft.Mark},
		},
		Chains: []nft.Chain{
			{Name: chainPulse, Hook: ingress, Device: "lo", Rules: []nft.Rule{notePulse}},
			{Name: chainRequest, Rules: []nft.Rule{ifRequested}},
			{Name: chainSolicitation, Rules: []nft.Rule{ifSolicited}},
			{Name: chainSilence, Rules: []nft.Rule{ignore, unmark}},
		},
	}
	for _, link := range links {
		// The prefix keeps the name from being a word of nft's, or that of
		// another chain.
		s.Chains = append(s.Chains, nft.Chain{Name: "gate_" + link, Hook: ingress, Device: link, Rules: []nft.Rule{
			{Comment: "who has a VIP", Exprs: append(ofType(unix.ETH_P_ARP), nft.Jump(chainRequest))},
			{Comment: "who has a VIP", Exprs: append(ofType(unix.ETH_P_IPV6), nft.Jump(chainSolicitation))},
		}})
	}
	return s
}

// ingress is the hook of what a device has received, before anything else of the
// network stack has seen it: NF_NETDEV_INGRESS is 0.
var ingress = &nft.Hook{Kind: "filter", Number: 0, Priority: 0}

// ofType goes on with packets of an EtherType.
func ofType(t uint16) []nft.Expr {
	return []nft.Expr{nft.Meta(unix.NFT_META_PROTOCOL, nft.Reg0), nft.Equal(byte(t>>8), byte(t))}
}

// notePulse is
//
//	meta protocol 0x88b5 update @alive { meta mark } update @watched { meta mark } counter drop
//
// In this order, so that none is watched that found no place in the other set.
var notePulse = nft.Rule{
	Comment: "the loop of a Master runs",
	Exprs:   append(ofType(wire.EtherTypePulse), nft.Meta(unix.NFT_META_MARK, nft.Reg0), nft.Update(setAlive), nft.Update(setWatched), nft.Counter(), nft.Drop()),
}

// ifRequested is
//
//	arp operation request meta mark set arp daddr ip . iifname map @router4 jump silence
//
// The mark is a register that nft can show as well: it aborts if what a map leads
// to is looked up in a set. Without the protocol, which has been looked at already,
// nft does not show the fields by their names.
var ifRequested = nft.Rule{
	Comment: "who has a VIP",
	Exprs: slices.Concat(ofType(unix.ETH_P_ARP), []nft.Expr{
		nft.Load(arpOperation, nft.Reg0), nft.Equal(0, arpRequest),
		nft.Load(arpTarget, nft.Reg0), nft.Meta(unix.NFT_META_IIFNAME, nft.Reg0+1),
	}, silence(mapRouter4)),
}

// ifSolicited is the same for the neighbor solicitations that the kernel would
// heed.
var ifSolicited = nft.Rule{
	Comment: "who has a VIP",
	Exprs: slices.Concat(ofType(unix.ETH_P_IPV6), []nft.Expr{
		nft.Meta(unix.NFT_META_L4PROTO, nft.Reg0), nft.Equal(unix.IPPROTO_ICMPV6),
		nft.Load(icmpv6Type, nft.Reg0), nft.Equal(ndSolicitation),
		nft.Load(hopLimit, nft.Reg0), nft.Equal(255),
		nft.Load(solicited, nft.Reg0), nft.Meta(unix.NFT_META_IIFNAME, nft.Reg0+4),
	}, silence(mapRouter6)),
}

// silence goes on with the chain that may drop the question, if the map of routers
// has the VIP and the interface in Reg0.
func silence(routers string) []nft.Expr {
	return []nft.Expr{nft.Map(routers, nft.Reg0), nft.SetMeta(unix.NFT_META_MARK, nft.Reg0), nft.Jump(chainSilence)}
}

// ignore is
//
//	meta mark @watched meta mark != @alive counter drop
//
// A router without any pulse is not watched: a daemon that cannot send pulses is
// answered for as without this table.
var ignore = nft.Rule{
	Comment: "the Master of the VIP has died or hangs",
	Exprs: []nft.Expr{
		nft.Meta(unix.NFT_META_MARK, nft.Reg0), nft.In(setWatched),
		nft.Meta(unix.NFT_META_MARK, nft.Reg0), nft.NotIn(setAlive),
		nft.Counter(), nft.Drop(),
	},
}

// unmark leaves the mark to others, as the kernel has it.
var unmark = nft.Rule{
	Comment: "answered for",
	Exprs:   []nft.Expr{nft.Immediate(make([]byte, 4), nft.Reg0), nft.SetMeta(unix.NFT_META_MARK, nft.Reg0)},
}

// gate keeps the table netdev kube_vrrp_vip.
type gate struct {
	table *nft.Table
	// links are the interfaces that the table is for, with their indexes:
	// older kernels take a chain away with its interface, and there the generation
	// of the ruleset does not show it.
	links map[string]int
}

func newGate() *gate { return &gate{table: nft.NewTable(newGateSpec(nil))} }

// set makes VIPs depend on the pulses of their virtual routers. Interfaces that
// do not exist are left out.
func (g *gate) set(answers map[netip.Addr]desired.Answer) error {
	want := nft.Elements{mapRouter4: {}, mapRouter6: {}}
	var names []string
	for vip, a := range answers {
		if a.Pulse == 0 {
			continue
		}
		routers := mapRouter4
		if vip.Is6() {
			routers = mapRouter6
		}
		want[routers][string(vip.AsSlice())+nameKey(a.Interface)] = string(binary.NativeEndian.AppendUint32(nil, a.Pulse))
		names = append(names, a.Interface)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	links, err := indexes(names)
	if err != nil {
		return err
	}
	for {
		if !maps.Equal(links, g.links) {
			g.links = links
			g.table.SetSpec(newGateSpec(slices.Sorted(maps.Keys(links))))
		}
		failed := g.table.Replace(want)
		if failed == nil {
			return nil
		}
		// One that has gone meanwhile must not cost the others their gate.
		if links, err = indexes(names); err != nil || maps.Equal(links, g.links) {
			return failed
		}
	}
}

// indexes returns the indexes of those of the interfaces that exist.
func indexes(names []string) (map[string]int, error) {
	all := map[string]int{}
	for _, name := range names {
		index, err := wire.InterfaceIndex(name)
		if errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("index of %s: %w", name, err)
		}
		all[name] = index
	}
	return all, nil
}
