package datapath

import (
	"slices"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/nft"
)

// restoreRules take a reply, maybe of a VIP, in the same way.
func restoreRules(f ipFamily, transports []transport) []nft.Rule {
	rules := []nft.Rule{restoreError(f), restorePacket(f), restoreMappedError(f)}
	for _, t := range transports {
		if !t.portStays {
			rules = append(rules, restoreMapped(f, t))
		}
	}
	return rules
}

// reply is
//
//	ct direction reply ct original zone != 0 jump restore
//
// Whatever is not in a zone, as nearly everything that has nothing to do with a
// VIP, needs no look-up.
var reply = nft.Rule{
	Comment: "a reply, maybe of a VIP",
	Exprs: []nft.Expr{
		nft.CT(unix.NFT_CT_DIRECTION, nft.Reg0), nft.Equal(nft.DirectionReply),
		originalZone(), nft.Compare(unix.NFT_CMP_NEQ, []byte{0, 0}),
		nft.Jump(chainRestore),
	},
}

// restoreFamily is
//
//	meta nfproto ipv4 jump restore4
func restoreFamily(f ipFamily) nft.Rule {
	return nft.Rule{
		Comment: "IPv" + f.suffix,
		Exprs:   append(f.only(), nft.Jump(f.named(chainRestore))),
	}
}

// restorePacket is
//
//	ip saddr set ct original zone map @back4 counter accept
func restorePacket(f ipFamily) nft.Rule {
	return nft.Rule{
		Comment: "the target back to the VIP",
		Exprs: slices.Concat(f.only(), []nft.Expr{
			originalZone(), nft.Map(f.named(mapBack), regTarget),
			nft.Write(f.saddr, regTarget, f.addressSum),
			nft.Counter(), nft.Accept(),
		}),
	}
}

// restoreMapped is, for a protocol,
//
//	ip saddr set ct original zone map @mapped_back4
//	th sport set ct original zone map @mapped_back_port counter accept
func restoreMapped(f ipFamily, t transport) nft.Rule {
	return nft.Rule{
		Comment: "the target back to a mapped VIP:port: " + t.name,
		Exprs: slices.Concat(f.only(), t.matches, []nft.Expr{
			originalZone(),
			nft.Map(f.named(mapMappedBack), regTarget),
			nft.Map(mapMappedBackPort, regPort),
			nft.Write(sport, regPort, t.sum),
			nft.Write(f.saddr, regTarget, f.addressSum),
			nft.Counter(), nft.Accept(),
		}),
	}
}

// restoreError begins with
//
//	icmp type @icmp_error4
//
// and goes on as restorePacket, but also with the quoted packet, which is one
// that the client sent to the VIP. This is how a client learns of a Service
// without endpoints or a closed port.
func restoreError(f ipFamily) nft.Rule {
	return nft.Rule{
		Comment: "ICMP error about a packet to the VIP",
		Exprs: slices.Concat(f.only(), f.isError(), []nft.Expr{
			originalZone(), nft.Map(f.named(mapBack), regTarget),
			nft.Write(f.quotedDaddr, regTarget, f.quotedSum),
			nft.Write(f.saddr, regTarget, f.errorSum),
			nft.Counter(), nft.Accept(),
		}),
	}
}

// restoreMappedError is the same as restoreMapped.
func restoreMappedError(f ipFamily) nft.Rule {
	return nft.Rule{
		Comment: "ICMP error about a packet to a mapped VIP:port",
		Exprs: slices.Concat(f.only(), f.isError(), f.plainHeader, []nft.Expr{
			originalZone(),
			nft.Map(f.named(mapMappedBack), regTarget),
			nft.Map(mapMappedBackPort, regPort),
			nft.Write(f.quotedDport, regPort, icmpSum),
			nft.Write(f.quotedDaddr, regTarget, f.quotedSum),
			nft.Write(f.saddr, regTarget, f.errorSum),
			nft.Counter(), nft.Accept(),
		}),
	}
}
