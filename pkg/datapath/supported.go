package datapath

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/conntrack"
	"kube-vrrp-vip/pkg/nft"
)

// features are what the table needs of the kernel, from the simple to the whole,
// each with the option it is built by.
var features = []struct {
	name string
	spec nft.Spec
}{
	{"tables of family inet (NF_TABLES_INET, Linux 3.14)", nft.Spec{Family: nft.FamilyINet}},
	{"maps with joined keys (NF_TABLES, Linux 4.1)", nft.Spec{
		Family: nft.FamilyINet,
		Sets:   slices.DeleteFunc(sets(), func(s nft.Set) bool { return s.Interval }),
	}},
	{"sets of ranges of joined keys (Linux 5.6)", nft.Spec{
		Family: nft.FamilyINet,
		Sets:   slices.DeleteFunc(sets(), func(s nft.Set) bool { return !s.Interval }),
	}},
	{"chains of type route in family inet (Linux 5.2)", nft.Spec{
		Family: nft.FamilyINet,
		Chains: []nft.Chain{{Name: "output", Hook: &nft.Hook{Kind: "route", Number: unix.NF_INET_LOCAL_OUT, Priority: priorityRewrite}}},
	}},
	{"conntrack zones of one direction (NFT_CT, NF_CONNTRACK_ZONES, Linux 4.11)", probeRule(
		originalZone(), setOriginalZone(nft.Reg0),
	)},
	{"writing to packets with checksums (Linux 4.10)", probeRule(
		nft.Load(ipv4.saddr, nft.Reg0), nft.Write(ipv4.saddr, nft.Reg0, ipv4.addressSum),
	)},
	{"NAT in family inet (NFT_NAT, Linux 5.2)", nft.Spec{
		Family: nft.FamilyINet,
		Chains: []nft.Chain{{
			Name:  "prerouting",
			Hook:  &nft.Hook{Kind: "nat", Number: unix.NF_INET_PRE_ROUTING, Priority: priorityGuardNAT},
			Rules: []nft.Rule{keep(ipv4, "probe", unix.IPPROTO_TCP)},
		}},
	}},
	{"masquerade in family inet (NFT_MASQ, Linux 5.2)", nft.Spec{
		Family: nft.FamilyINet,
		Chains: []nft.Chain{{
			Name:  "postrouting",
			Hook:  &nft.Hook{Kind: "nat", Number: unix.NF_INET_POST_ROUTING, Priority: priorityMasquerade},
			Rules: []nft.Rule{{Comment: "probe", Exprs: []nft.Expr{nft.Masquerade()}}},
		}},
	}},
	{"reject (NFT_REJECT_INET)", probeRule(nft.Reject(unix.NFT_REJECT_ICMP_UNREACH, ipv4.portUnreachable))},
	{"the table of the datapath", *olderSpec}, // All of it but the port of SCTP.
}

func probeRule(exprs ...nft.Expr) nft.Spec {
	return nft.Spec{
		Family: nft.FamilyINet,
		Chains: []nft.Chain{{
			Name:  "input",
			Hook:  &nft.Hook{Kind: "filter", Number: unix.NF_INET_LOCAL_IN, Priority: priorityRestore},
			Rules: []nft.Rule{{Comment: "probe", Exprs: exprs}},
		}},
	}
}

// Supported asks the kernel, without changing anything, whether it supports the table
// inet kube_vrrp_vip. The error names each feature that is missing.
func Supported() error {
	var missing []error
	for _, f := range features {
		if err := nft.Check(f.spec); err != nil {
			missing = append(missing, fmt.Errorf("nftables: %s: %w", f.name, err))
		}
	}
	// Any other error may pass, and only new VIPs need the list.
	if err := conntrack.Supported(); errors.Is(err, unix.EINVAL) {
		missing = append(missing, fmt.Errorf("list connections (NF_CT_NETLINK): %w", err))
	}
	return errors.Join(missing...)
}

// sctpPortStays reports whether the kernel cannot compute the checksum of SCTP, which
// Linux 5.11 and later can.
func sctpPortStays() (bool, error) {
	err := nft.Check(probeRule(nft.Load(dport, nft.Reg0), nft.Write(dport, nft.Reg0, sctpSum)))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return true, nil
	}
	return false, err
}
