package datapath

import (
	"slices"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/nft"
)

// rewriteRules take a packet to a VIP. The first that matches ends the chain
// that came here. The ports of the first rule are the most, so it costs the
// least.
func rewriteRules(f ipFamily, transports []transport) []nft.Rule {
	rules := []nft.Rule{rewritePacket(f), dropSource(f)}
	for _, t := range transports {
		rules = append(rules, rewriteMapped(f, t))
	}
	return append(rules, rewriteError(f), rewriteMappedError(f))
}

// rewritePacket is
//
//	ct original zone set ip daddr map @zone4
//	ip daddr set ip daddr . meta l4proto . th dport map @svc4 counter accept
//
// but does both look-ups first, so that a packet to another port keeps the
// default zone.
func rewritePacket(f ipFamily) nft.Rule {
	return nft.Rule{
		Comment: "VIP:port to its target",
		Exprs: slices.Concat(f.only(), f.packetKey(), []nft.Expr{
			nft.Map(f.named(mapTarget), regTarget),
			nft.Load(f.daddr, nft.Reg0), nft.Map(f.named(mapZone), regZone),
			setOriginalZone(regZone),
			nft.Write(f.daddr, regTarget, f.addressSum),
			nft.Counter(), nft.Accept(),
		}),
	}
}

// dropSource is
//
//	iif != 0 ip daddr . meta l4proto . th dport @limited4
//	ip daddr . meta l4proto . th dport . ip saddr != @sources4 counter drop
//
// In output there is no input interface: the node's own processes may always.
func dropSource(f ipFamily) nft.Rule {
	key := f.packetKey()
	return nft.Rule{
		Comment: "not from the source ranges of the port",
		Exprs: slices.Concat(
			[]nft.Expr{nft.Meta(unix.NFT_META_IIF, nft.Reg0), nft.Compare(unix.NFT_CMP_NEQ, make([]byte, 4))},
			f.only(), key, []nft.Expr{nft.In(f.named(setLimited))},
			key, []nft.Expr{nft.Load(f.saddr, nft.Reg0+f.registers()+2), nft.NotIn(f.named(setSources))},
			[]nft.Expr{nft.Counter(), nft.Drop()},
		),
	}
}

// rewriteMapped is, for a protocol,
//
//	ct original zone set ip daddr . meta l4proto . th dport map @mapped_zone4
//	th dport set ip daddr . meta l4proto . th dport map @mapped_port4
//	ip daddr set ip daddr . meta l4proto . th dport map @mapped_svc4 counter accept
//
// but does all look-ups first. Where the port stays, it is not written: no port
// in the maps is then another one.
func rewriteMapped(f ipFamily, t transport) nft.Rule {
	var writePort []nft.Expr
	if !t.portStays {
		writePort = []nft.Expr{nft.Write(dport, regPort, t.sum)}
	}
	return nft.Rule{
		Comment: "mapped or limited VIP:port to its target: " + t.name,
		Exprs: slices.Concat(f.only(), t.matches, f.packetKey(), []nft.Expr{
			nft.Map(f.named(mapMappedTarget), regTarget),
			nft.Map(f.named(mapMappedPort), regPort),
			nft.Map(f.named(mapMappedZone), regZone),
			setOriginalZone(regZone),
		}, writePort, []nft.Expr{
			nft.Write(f.daddr, regTarget, f.addressSum),
			nft.Counter(), nft.Accept(),
		}),
	}
}

// rewriteError begins with
//
//	icmp type @icmp_error4
//
// and goes on as rewritePacket, but with the quoted packet, which is a reply
// that was sent from VIP:port. This is how path MTU discovery reaches the pod.
func rewriteError(f ipFamily) nft.Rule {
	return nft.Rule{
		Comment: "ICMP error about a reply of VIP:port",
		Exprs: slices.Concat(f.only(), f.isError(), f.plainHeader, f.quotedKey(), []nft.Expr{
			nft.Map(f.named(mapTarget), regTarget),
			nft.Load(f.quotedSaddr, nft.Reg0), nft.Map(f.named(mapZone), regZone),
			setOriginalZone(regZone),
			nft.Write(f.quotedSaddr, regTarget, f.quotedSum),
			nft.Write(f.daddr, regTarget, f.errorSum),
			nft.Counter(), nft.Accept(),
		}),
	}
}

// rewriteMappedError is the same as rewriteMapped.
func rewriteMappedError(f ipFamily) nft.Rule {
	return nft.Rule{
		Comment: "ICMP error about a reply of a mapped VIP:port",
		Exprs: slices.Concat(f.only(), f.isError(), f.plainHeader, f.quotedKey(), []nft.Expr{
			nft.Map(f.named(mapMappedTarget), regTarget),
			nft.Map(f.named(mapMappedPort), regPort),
			nft.Map(f.named(mapMappedZone), regZone),
			setOriginalZone(regZone),
			nft.Write(f.quotedSport, regPort, icmpSum),
			nft.Write(f.quotedSaddr, regTarget, f.quotedSum),
			nft.Write(f.daddr, regTarget, f.errorSum),
			nft.Counter(), nft.Accept(),
		}),
	}
}
