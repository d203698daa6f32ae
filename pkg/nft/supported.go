package nft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// probeName is a table that the kernel is asked about and never gets.
const probeName = tableName + "_probe"

// features are what the tables need of the kernel, from the simple to the
// whole, each with the option it is built by.
var features = []struct {
	name string
	spec spec
}{
	{"tables of family inet (NF_TABLES_INET, Linux 3.14)", spec{family: nftables.TableFamilyINet}},
	{"tables of family arp (NF_TABLES_ARP)", spec{family: nftables.TableFamilyARP}},
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
		chains: []chain{{name: "output", hook: &hook{"route", unix.NF_INET_LOCAL_OUT, priorityRewrite}}},
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
			hook:  &hook{"nat", unix.NF_INET_PRE_ROUTING, priorityGuardNAT},
			rules: []rule{keep(ipv4, "probe", unix.IPPROTO_TCP)},
		}},
	}},
	{"masquerade in family inet (NFT_MASQ, Linux 5.2)", spec{
		family: nftables.TableFamilyINet,
		chains: []chain{{
			name:  "postrouting",
			hook:  &hook{"nat", unix.NF_INET_POST_ROUTING, priorityMasquerade},
			rules: []rule{{comment: "probe", exprs: []expr{masquerade()}}},
		}},
	}},
	{"reject (NFT_REJECT_INET)", probeRule(reject(unix.NFT_REJECT_ICMP_UNREACH, ipv4.portUnreachable))},
	{"the table of the datapath", *olderSpec}, // All of it but the port of SCTP.
	{"the table of the neighbors", *neighborsSpec},
}

func probeRule(exprs ...expr) spec {
	return spec{
		family: nftables.TableFamilyINet,
		chains: []chain{{
			name:  "input",
			hook:  &hook{"filter", unix.NF_INET_LOCAL_IN, priorityRestore},
			rules: []rule{{comment: "probe", exprs: exprs}},
		}},
	}
}

// Supported asks the kernel, without changing anything, whether it can do what
// the tables need that it cannot do without. The error names each feature that is missing.
func Supported() error {
	var missing []error
	for _, f := range features {
		if err := supported(f.spec); err != nil {
			missing = append(missing, fmt.Errorf("nftables: %s: %w", f.name, err))
		}
	}
	// Any other error may pass, and only new VIPs need the list.
	if err := connectionStats(unix.NFNL_SUBSYS_CTNETLINK); errors.Is(err, unix.EINVAL) {
		missing = append(missing, fmt.Errorf("list connections (NF_CT_NETLINK): %w", err))
	}
	return errors.Join(missing...)
}

// sctpPortStays tells that the kernel cannot compute the checksum of SCTP, which
// Linux 5.11 and later can.
func sctpPortStays() (bool, error) {
	err := supported(probeRule(load(dport, reg0), write(dport, reg0, sctpSum)))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return true, nil
	}
	return false, err
}

// SupportedGate asks the kernel the same about the table that makes ARP and
// neighbor discovery depend on a Master's pulses. Without it the daemon works, and
// an address whose Master has died is answered for until its lease ends.
func SupportedGate() error {
	if err := supported(*newGateSpec(nil)); err != nil {
		return fmt.Errorf("nftables: chains at ingress (NF_TABLES_NETDEV, NETFILTER_INGRESS): %w", err)
	}
	return nil
}

// supported asks about one specification, as if it were a table of its own.
func supported(s spec) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	s.name = probeName
	return c.check(s.static(&snapshot{}))
}

// connectionStats asks conntrack's netlink interface for something small, its
// statistics. The kernel answers EINVAL if it knows no such subsystem.
func connectionStats(subsystem netlink.HeaderType) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	const getStats = 4 // IPCTNL_MSG_CT_GET_STATS_CPU
	_, err = c.socket.Execute(netlink.Message{
		Header: netlink.Header{Type: subsystem<<8 | getStats, Flags: netlink.Request | netlink.Dump},
		Data:   nfgenmsg(unix.AF_UNSPEC, 0),
	})
	return err
}
