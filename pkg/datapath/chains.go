package datapath

import (
	"slices"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/nft"
)

// The chains that are jumped to, one for each family. restore is there without one
// too.
const (
	chainRewrite  = "rewrite"
	chainRestore  = "restore"
	chainGuardNAT = "guard_nat"
)

// priorityRewrite is after defragmentation (-400), and before raw (-300), where
// some sites exempt packets from conntrack, and conntrack (-200) itself.
const priorityRewrite = -301

// priorityRestore is after conntrack's NAT (100) has put the target back.
const priorityRestore = 200

// priorityGuardNAT is before dstnat (-100), where kube-proxy's NodePorts, the
// hostPorts of Pods and Docker's published ports are translated.
const priorityGuardNAT = -150

// priorityGuard is before filter (0), where a firewall might drop what is to
// be refused.
const priorityGuard = -10

// priorityMasquerade is after srcnat (100): where kube-proxy masquerades, it has
// done so, and no other chain is asked.
const priorityMasquerade = 101

// Keys begin at reg0, and none that leads to something is longer than eight
// registers. What it leads to is behind: an address, a port, a zone.
const (
	regTarget = nft.Reg0 + 8
	regPort   = nft.Reg0 + 12
	regZone   = nft.Reg0 + 13
)

// originalZone loads into reg0 the zone, two bytes in the host's order, in which
// the original direction of the packet's connection is looked up.
func originalZone() nft.Expr { return nft.CTOriginal(unix.NFT_CT_ZONE, nft.Reg0) }

// setOriginalZone sets that zone. Without the direction the reply would be looked
// up in the zone as well, where nobody puts it.
func setOriginalZone(from nft.Reg) nft.Expr { return nft.SetCTOriginal(unix.NFT_CT_ZONE, from) }

func chains(transports []transport) []nft.Chain {
	var all []nft.Chain
	for _, f := range families {
		all = append(all,
			nft.Chain{Name: f.named(chainRewrite), Rules: rewriteRules(f, transports)},
			nft.Chain{Name: f.named(chainRestore), Rules: restoreRules(f, transports)},
			nft.Chain{Name: f.named(chainGuardNAT), Rules: []nft.Rule{
				keep(f, "no NodePort, no hostPort: TCP", unix.IPPROTO_TCP),
				keep(f, "no NodePort, no hostPort: UDP", unix.IPPROTO_UDP),
				keep(f, "no NodePort, no hostPort: SCTP", unix.IPPROTO_SCTP),
			}},
		)
	}
	return append(all,
		nft.Chain{Name: chainRestore, Rules: each4And6(restoreFamily)},
		nft.Chain{
			Name:  "prerouting",
			Hook:  &nft.Hook{Kind: "filter", Number: unix.NF_INET_PRE_ROUTING, Priority: priorityRewrite},
			Rules: each4And6(toVIP),
		},
		nft.Chain{
			// Of type route: the packet is routed again after the rewrite.
			Name:  "output",
			Hook:  &nft.Hook{Kind: "route", Number: unix.NF_INET_LOCAL_OUT, Priority: priorityRewrite},
			Rules: each4And6(toVIP),
		},
		nft.Chain{
			Name:  "postrouting",
			Hook:  &nft.Hook{Kind: "filter", Number: unix.NF_INET_POST_ROUTING, Priority: priorityRestore},
			Rules: []nft.Rule{reply},
		},
		nft.Chain{
			Name:  "input",
			Hook:  &nft.Hook{Kind: "filter", Number: unix.NF_INET_LOCAL_IN, Priority: priorityRestore},
			Rules: []nft.Rule{reply},
		},
		nft.Chain{
			Name:  "masquerade_clients",
			Hook:  &nft.Hook{Kind: "nat", Number: unix.NF_INET_POST_ROUTING, Priority: priorityMasquerade},
			Rules: each4And6(masqueradeClient),
		},
		nft.Chain{
			Name:  "guard_prerouting",
			Hook:  &nft.Hook{Kind: "nat", Number: unix.NF_INET_PRE_ROUTING, Priority: priorityGuardNAT},
			Rules: each4And6(newToVIP),
		},
		nft.Chain{
			Name:  "guard_output",
			Hook:  &nft.Hook{Kind: "nat", Number: unix.NF_INET_LOCAL_OUT, Priority: priorityGuardNAT},
			Rules: each4And6(newToVIP),
		},
		nft.Chain{
			Name:  "guard",
			Hook:  &nft.Hook{Kind: "filter", Number: unix.NF_INET_LOCAL_IN, Priority: priorityGuard},
			Rules: slices.Concat(guardRules(ipv4), guardRules(ipv6)),
		},
	)
}

// each4And6 is a rule for each family.
func each4And6(of func(ipFamily) nft.Rule) []nft.Rule {
	var rules []nft.Rule
	for _, f := range families {
		rules = append(rules, of(f))
	}
	return rules
}

// toVIP is
//
//	ip daddr @vip4 jump rewrite4
func toVIP(f ipFamily) nft.Rule {
	return jumpForVIP(f, "to a VIP", setVIP, chainRewrite)
}

// newToVIP is, in a NAT chain, which sees only what opens a connection,
//
//	ip daddr @guarded4 jump guard_nat4
func newToVIP(f ipFamily) nft.Rule {
	return jumpForVIP(f, "a new connection to a VIP", setGuarded, chainGuardNAT)
}

func jumpForVIP(f ipFamily, comment, set, chain string) nft.Rule {
	return nft.Rule{
		Comment: comment,
		Exprs:   slices.Concat(f.only(), []nft.Expr{nft.Load(f.daddr, nft.Reg0), nft.In(f.named(set)), nft.Jump(f.named(chain))}),
	}
}
