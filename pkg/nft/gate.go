package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/wire"
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
	mapRouter  = "router"  // VIP and interface: the virtual router. One for each family.
)

// The chains of the gate, but for those of the interfaces.
const (
	chainPulse        = "pulse"
	chainRequest      = "arp_request"
	chainSolicitation = "neighbor_solicitation"
	chainSilence      = "silence"
)

var (
	hopLimit = networkHeader(7, 1)
	// solicited is the target of a neighbor solicitation (RFC 4861 section 4.3).
	solicited = transportHeader(8, 16)
)

// ndSolicitation is the ICMPv6 type (RFC 4861 section 4.3).
const ndSolicitation = 135

// newGateSpec returns the table that gates these interfaces.
func newGateSpec(links []string) *spec {
	s := &spec{
		family: nftables.TableFamilyNetdev,
		name:   tableName,
		sets: []set{
			{name: setAlive, key: mark, timeout: aliveFor, size: maxPulses},
			{name: setWatched, key: mark, timeout: watchedFor, size: maxPulses},
		},
		chains: []chain{
			{name: chainPulse, hook: ingress, device: "lo", rules: []rule{notePulse}},
			{name: chainRequest, rules: []rule{ifRequested}},
			{name: chainSolicitation, rules: []rule{ifSolicited}},
			{name: chainSilence, rules: []rule{ignore, unmark}},
		},
	}
	for _, f := range families {
		s.sets = append(s.sets, set{name: f.named(mapRouter), key: join(f.address, ifName), value: mark})
	}
	for _, link := range links {
		// The prefix keeps the name from being a word of nft's, or that of
		// another chain.
		s.chains = append(s.chains, chain{name: "gate_" + link, hook: ingress, device: link, rules: []rule{
			{comment: "who has a VIP", exprs: append(ofType(unix.ETH_P_ARP), jump(chainRequest))},
			{comment: "who has a VIP", exprs: append(ofType(unix.ETH_P_IPV6), jump(chainSolicitation))},
		}})
	}
	return s
}

// ingress is the hook of what a device has received, before anything else of the
// network stack has seen it: NF_NETDEV_INGRESS is 0.
var ingress = &hook{kind: "filter", number: 0, priority: 0}

// ofType goes on with packets of an EtherType.
func ofType(t uint16) []expr {
	return []expr{meta(unix.NFT_META_PROTOCOL, reg0), equal(byte(t>>8), byte(t))}
}

// notePulse is
//
//	meta protocol 0x88b5 update @alive { meta mark } update @watched { meta mark } counter drop
//
// In this order, so that none is watched that found no place in the other set.
var notePulse = rule{
	comment: "the loop of a Master runs",
	exprs:   append(ofType(wire.EtherTypePulse), meta(unix.NFT_META_MARK, reg0), update(setAlive), update(setWatched), counter(), drop()),
}

// ifRequested is
//
//	arp operation request meta mark set arp daddr ip . iifname map @router4 jump silence
//
// The mark is a register that nft can show as well: it aborts if what a map leads
// to is looked up in a set. Without the protocol, which has been looked at already,
// nft does not show the fields by their names.
var ifRequested = rule{
	comment: "who has a VIP",
	exprs: slices.Concat(ofType(unix.ETH_P_ARP), []expr{
		load(arpOperation, reg0), equal(0, arpRequest),
		load(arpTarget, reg0), meta(unix.NFT_META_IIFNAME, reg0+1),
	}, silence(ipv4)),
}

// ifSolicited is the same for the neighbor solicitations that the kernel would
// heed.
var ifSolicited = rule{
	comment: "who has a VIP",
	exprs: slices.Concat(ofType(unix.ETH_P_IPV6), []expr{
		meta(unix.NFT_META_L4PROTO, reg0), equal(unix.IPPROTO_ICMPV6),
		load(icmpType, reg0), equal(ndSolicitation),
		load(hopLimit, reg0), equal(255),
		load(solicited, reg0), meta(unix.NFT_META_IIFNAME, reg0+4),
	}, silence(ipv6)),
}

// silence has the question for the VIP and interface in reg0 judged.
func silence(f ipFamily) []expr {
	return []expr{mapped(f.named(mapRouter), reg0), setMeta(unix.NFT_META_MARK, reg0), jump(chainSilence)}
}

// ignore is
//
//	meta mark @watched meta mark != @alive counter drop
//
// A router without any pulse is not watched: a daemon that cannot send pulses is
// answered for as without this table.
var ignore = rule{
	comment: "the Master of the VIP has died or hangs",
	exprs: []expr{
		meta(unix.NFT_META_MARK, reg0), in(setWatched),
		meta(unix.NFT_META_MARK, reg0), notIn(setAlive),
		counter(), drop(),
	},
}

// unmark leaves the mark to others, as the kernel has it.
var unmark = rule{
	comment: "answered for",
	exprs:   []expr{immediate(make([]byte, 4), reg0), setMeta(unix.NFT_META_MARK, reg0)},
}

// gate keeps the table netdev kube_vrrp_vip.
type gate struct {
	table *table
	// links are the interfaces that the table is for, with their indexes:
	// older kernels take a chain away with its interface, and there the generation
	// of the ruleset does not tell.
	links map[string]int
}

func newGate() *gate { return &gate{table: newTable(newGateSpec(nil))} }

// set makes VIPs depend on the pulses of their virtual routers. Interfaces that
// there are not are left out.
func (g *gate) set(answers map[netip.Addr]desired.Answer) error {
	want := contents{}
	for _, f := range families {
		want[f.named(mapRouter)] = map[string]string{}
	}
	var names []string
	for vip, a := range answers {
		if a.Pulse == 0 {
			continue
		}
		f := ipv4
		if vip.Is6() {
			f = ipv6
		}
		want[f.named(mapRouter)][string(vip.AsSlice())+nameKey(a.Interface)] = string(binary.NativeEndian.AppendUint32(nil, a.Pulse))
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
			g.table.setSpec(newGateSpec(slices.Sorted(maps.Keys(links))))
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
