package datapath

import (
	"slices"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/nft"
)

// keep is
//
//	meta l4proto tcp dnat ip to ip daddr
//
// for a protocol. This changes nothing in the packet, but it is the one
// destination NAT of the connection, so that no other program's chain, which
// comes later in the walk, leads it from the VIP to a port of its own.
func keep(f ipFamily, comment string, protocol byte) nft.Rule {
	return nft.Rule{
		Comment: comment,
		Exprs: slices.Concat(f.only(), []nft.Expr{
			nft.Meta(unix.NFT_META_L4PROTO, nft.Reg0), nft.Equal(protocol),
			nft.Load(f.daddr, nft.Reg0), nft.DNAT(f.number, nft.Reg0),
		}),
	}
}

func guardRules(f ipFamily) []nft.Rule {
	unreachable := nft.Reject(unix.NFT_REJECT_ICMP_UNREACH, f.portUnreachable)
	return []nft.Rule{
		refuse(f, "TCP", unix.IPPROTO_TCP, nft.Reject(unix.NFT_REJECT_TCP_RST, 0)),
		refuse(f, "UDP", unix.IPPROTO_UDP, unreachable),
		refuse(f, "SCTP", unix.IPPROTO_SCTP, unreachable),
		refusePrivate(f),
	}
}

// refuse is
//
//	ip daddr @guarded4 ct state invalid,new,untracked meta l4proto tcp counter reject
//
// for a protocol. A packet that was rewritten is not for the VIP any more. What
// still is, and opens or belongs to no connection that conntrack knows, would
// reach whatever listens on all addresses of the node.
func refuse(f ipFamily, name string, protocol byte, how nft.Expr) nft.Rule {
	// NF_CT_STATE_INVALID_BIT, NF_CT_STATE_BIT(IP_CT_NEW), NF_CT_STATE_UNTRACKED_BIT.
	const invalid, fresh, untracked = 1 << 0, 1 << 3, 1 << 6
	return nft.Rule{
		Comment: name + " to a port without Service",
		Exprs: slices.Concat(
			f.only(), []nft.Expr{nft.Load(f.daddr, nft.Reg0), nft.In(f.named(setGuarded))},
			[]nft.Expr{nft.CT(unix.NFT_CT_STATE, nft.Reg0)}, nft.AnyOf(invalid|fresh|untracked),
			[]nft.Expr{nft.Meta(unix.NFT_META_L4PROTO, nft.Reg0), nft.Equal(protocol)},
			[]nft.Expr{nft.Counter(), how},
		),
	}
}

// refusePrivate is
//
//	ip daddr . tcp dport @private4 ct original zone != @proxied_zones counter reject with tcp reset
//
// The listener of a port that the daemon serves itself is on an address of the
// node, but is there for the VIP alone.
func refusePrivate(f ipFamily) nft.Rule {
	return nft.Rule{
		Comment: "the daemon's own listener, and not by its VIP",
		Exprs: slices.Concat(f.only(), []nft.Expr{
			nft.Meta(unix.NFT_META_L4PROTO, nft.Reg0), nft.Equal(unix.IPPROTO_TCP),
			nft.Load(f.daddr, nft.Reg0), nft.Load(dport, nft.Reg0+f.registers()), nft.In(f.named(setPrivate)),
			originalZone(), nft.NotIn(setProxied),
			nft.Counter(), nft.Reject(unix.NFT_REJECT_TCP_RST, 0),
		}),
	}
}
