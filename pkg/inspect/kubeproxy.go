package inspect

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
)

const (
	// kubeProxyTable is of kube-proxy's nftables mode.
	kubeProxyTable = "kube-proxy"
	// kubeProxyChain in table nat is of its iptables mode, and of its IPVS mode.
	kubeProxyChain = "KUBE-SERVICES"
)

// KubeProxyPresent reports whether kube-proxy's rules are in the network
// namespace it is called in, of IPv4 or of IPv6: its nftables tables, or the
// chain KUBE-SERVICES of table nat, written by either kind of iptables. IPVS
// mode has that chain too, so it counts as well. The rules outlive kube-proxy:
// what it wrote is in force as long as it is there. Nothing is changed, and no
// kernel module is loaded.
func KubeProxyPresent() (bool, error) {
	socket, err := nfnetlink.Dial()
	if err != nil {
		return false, err
	}
	defer func() { _ = socket.Close() }()
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		for _, has := range []func(*netlink.Conn, uint8) (bool, error){hasTable, hasChain, hasLegacyChain} {
			if found, err := has(socket, family); found || err != nil {
				return found, err
			}
		}
	}
	return false, nil
}

func hasTable(socket *netlink.Conn, family uint8) (bool, error) {
	return hasInNftables(socket, unix.NFT_MSG_GETTABLE, family, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, kubeProxyTable)
	})
}

func hasChain(socket *netlink.Conn, family uint8) (bool, error) {
	return hasInNftables(socket, unix.NFT_MSG_GETCHAIN, family, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, "nat")
		ae.String(unix.NFTA_CHAIN_NAME, kubeProxyChain)
	})
}

// hasInNftables reports whether nf_tables has the object that attrs name.
func hasInNftables(socket *netlink.Conn, typ uint16, family uint8, attrs func(*netlink.AttributeEncoder)) (bool, error) {
	_, err := socket.Execute(nfnetlink.Message(nfnetlink.Type(unix.NFNL_SUBSYS_NFTABLES, typ), 0, family, attrs))
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for kube-proxy in nftables: %w", err)
	}
	return true, nil
}
