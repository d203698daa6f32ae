package datapath

import (
	"slices"

	"kube-vrrp-vip/pkg/nft"
)

// masqueradeClient is
//
//	ct original zone @masquerade_zones ip saddr != @pods4 counter masquerade fully-random
func masqueradeClient(f ipFamily) nft.Rule {
	return nft.Rule{
		Comment: "so that the reply comes back to this node",
		Exprs: slices.Concat(f.only(), []nft.Expr{
			originalZone(), nft.In(setMasquerade),
			nft.Load(f.saddr, nft.Reg0), nft.NotIn(f.named(setPods)),
			nft.Counter(), nft.Masquerade(),
		}),
	}
}
