package nft

import (
	"errors"
	"fmt"
	"slices"

	"kube-vrrp-vip/pkg/internal/nfnetlink"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// features are what the tables need of the kernel, from the simple to the
// whole, each with the option it is built by.
var features = []struct {
	name string
	spec spec
}{
	{"tables of family inet (NF_TABLES_INET, Linux 3.14)", spec{family: nftables.TableFamilyINet}},
	{"maps with joined keys (NF_TABLES, Linux 4.1)", spec{
		family: nftables.TableFamilyINet,
		sets:   slices.DeleteFunc(sets(), func(s set) bool { return s.interval }),
	}},
	{"sets of ranges of joined keys (Linux 5.6)", spec{
		family: nftables.TableFamilyINet,
		sets:   slices.DeleteFunc(sets(), func(s set) bool { return !s.interval }),
	}},
	{"chains of type route in family inet (Linux 5.2)", spec{
		family: nftables.TableFamilyINet,
		chains: []chain{{name: "output", hook: &hook{kind: "route", number: unix.NF_INET_LOCAL_OUT, priority: priorityRewrite}}},
	}},
	{"conntrack zones of one direction (NFT_CT, NF_CONNTRACK_ZONES, Linux 4.11)", probeRule(
		originalZone(), setOriginalZone(reg0),
	)},
	{"writing to packets with checksums (Linux 4.10)", probeRule(
		load(ipv4.saddr, reg0), write(ipv4.saddr, reg0, ipv4.addressSum),
	)},
	{"NAT in family inet (NFT_NAT, Linux 5.2)", spec{
		family: nftables.TableFamilyINet,
		chains: []chain{{
			name:  "prerouting",
			hook:  &hook{kind: "nat", number: unix.NF_INET_PRE_ROUTING, priority: priorityGuardNAT},
			rules: []rule{keep(ipv4, "probe", unix.IPPROTO_TCP)},
		}},
	}},
	{"masquerade in family inet (NFT_MASQ, Linux 5.2)", spec{
		family: nftables.TableFamilyINet,
		chains: []chain{{
			name:  "postrouting",
			hook:  &hook{kind: "nat", number: unix.NF_INET_POST_ROUTING, priority: priorityMasquerade},
			rules: []rule{{comment: "probe", exprs: []expr{masquerade()}}},
		}},
	}},
	{"reject (NFT_REJECT_INET)", probeRule(reject(unix.NFT_REJECT_ICMP_UNREACH, ipv4.portUnreachable))},
	{"the table of the datapath", *olderSpec}, // All of it but the port of SCTP.
}

func probeRule(exprs ...expr) spec {
	return spec{
		family: nftables.TableFamilyINet,
		chains: []chain{{
			name:  "input",
			hook:  &hook{kind: "filter", number: unix.NF_INET_LOCAL_IN, priority: priorityRestore},
			rules: []rule{{comment: "probe", exprs: exprs}},
		}},
	}
}

// Supported asks the kernel, without changing anything, whether it can do what
// the tables need that it cannot do without. The error names each feature that is missing.
func Supported() error {
	var missing []error
	for _, f := range features {
		if err := check(f.spec); err != nil {
			missing = append(missing, fmt.Errorf("nftables: %s: %w", f.name, err))
		}
	}
	// Any other error may pass, and only new VIPs need the list.
	if err := connectionStats(unix.NFNL_SUBSYS_CTNETLINK); errors.Is(err, unix.EINVAL) {
		missing = append(missing, fmt.Errorf("list connections (NF_CT_NETLINK): %w", err))
	}
	return errors.Join(missing...)
}

// sctpPortStays reports whether the kernel cannot compute the checksum of SCTP, which
// Linux 5.11 and later can.
func sctpPortStays() (bool, error) {
	err := check(probeRule(load(dport, reg0), write(dport, reg0, sctpSum)))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return true, nil
	}
	return false, err
}

// connectionStats asks conntrack's netlink interface for something small, its
// statistics. The kernel answers EINVAL if it knows no such subsystem.
func connectionStats(subsystem uint16) error {
	socket, err := nfnetlink.Dial()
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	const getStats = 4 // IPCTNL_MSG_CT_GET_STATS_CPU
	_, err = socket.Execute(nfnetlink.Message(nfnetlink.Type(subsystem, getStats), netlink.Dump, unix.AF_UNSPEC, nil))
	return err
}
