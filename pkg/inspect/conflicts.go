package inspect

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
	"kube-vrrp-vip/pkg/internal/wire"
	"kube-vrrp-vip/pkg/nft"
)

// Conflicts returns what others have in nftables, iptables-nft included, that
// keeps traffic of VIPs from arriving though the same traffic to a ClusterIP
// does: a sentence for each. proxied reports that there are ports that the
// built-in proxy serves.
//
// A chain that drops what is forwarded is none: it meets the packets of a VIP
// as it meets those of a ClusterIP, so what lets those pass lets these pass.
// Rules that exempt packets from conntrack, and other users of our conntrack
// zones, are not looked for.
func Conflicts(proxied bool) ([]string, error) {
	conflicts, err := flowtables()
	if err != nil {
		return nil, fmt.Errorf("list flowtables: %w", err)
	}
	if proxied {
		drops, err := inputDrops()
		if err != nil {
			return nil, fmt.Errorf("list chains: %w", err)
		}
		conflicts = append(conflicts, drops...)
	}
	slices.Sort(conflicts)
	return conflicts, nil
}

// flowtables are a fast path: a reply that takes it never comes to our chains,
// which give it the VIP as its source.
func flowtables() ([]string, error) {
	socket, err := nfnetlink.Dial()
	if err != nil {
		return nil, err
	}
	defer func() { _ = socket.Close() }()
	replies, err := socket.Execute(nfnetlink.Message(nfnetlink.Type(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETFLOWTABLE), netlink.Dump, unix.AF_UNSPEC, nil))
	if err != nil {
		return nil, err
	}
	var conflicts []string
	for _, r := range replies {
		conflict, err := flowtableConflict(r)
		if err != nil {
			return nil, err
		}
		conflicts = append(conflicts, conflict)
	}
	return conflicts, nil
}

func flowtableConflict(m netlink.Message) (string, error) {
	var table, name string
	if err := nfnetlink.Decode(m, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case nftables.NFTA_FLOWTABLE_TABLE:
			table = ad.String()
		case nftables.NFTA_FLOWTABLE_NAME:
			name = ad.String()
		}
	}); err != nil {
		return "", err
	}
	return fmt.Sprintf("flowtable %s of table %s %s: a reply of a VIP that takes its fast path reaches the client from the ClusterIP; add flows to it by rules with \"ct original zone != %d-%d\" only",
		name, nft.FamilyName(nftables.TableFamily(m.Data[0])), table, wire.ZoneMin, wire.ZoneMax), nil
}

func isIP(f nftables.TableFamily) bool {
	return f == nftables.TableFamilyIPv4 || f == nftables.TableFamilyIPv6 || f == nftables.TableFamilyINet
}

// inputDrops are chains that drop what the node itself is to receive: the
// proxy receives at a port of the node that no firewall expects, and unlike
// kube-proxy's, such a connection has no status dnat.
func inputDrops() ([]string, error) {
	c, err := nftables.New(nftables.WithSockOptions(nfnetlink.SetUp))
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	var conflicts []string
	for _, chain := range chains {
		input := chain.Hooknum != nil && *chain.Hooknum == *nftables.ChainHookInput && chain.Type == nftables.ChainTypeFilter
		drop := chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
		if !input || !drop || !isIP(chain.Table.Family) {
			continue
		}
		conflicts = append(conflicts, fmt.Sprintf("chain %s of table %s %s: its policy drops connections to VIPs that the built-in proxy serves, unless a rule accepts them; accept \"ct original zone %d-%d\" there",
			chain.Name, nft.FamilyName(chain.Table.Family), chain.Table.Name, wire.ZoneMin, wire.ZoneMax))
	}
	return conflicts, nil
}
