package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterProxy has the daemon tell pods who the client is, by a PROXY protocol
// header, on a port that a listener of the node has on all addresses too.
func TestClusterProxy(t *testing.T) {
	t.Parallel()
	checkProxy(t, &nftables)
}

// TestClusterProxyIPTables is TestClusterProxy where kube-proxy writes iptables.
func TestClusterProxyIPTables(t *testing.T) {
	t.Parallel()
	checkProxy(t, &iptables)
}

const (
	vipProxyV1 = 243
	vipProxyV2 = 244
)

func checkProxy(t *testing.T, f *fixture) {
	s, _ := install(t, f)
	const port = 443
	for _, n := range s.Nodes() {
		listen(t, s, n, port)
	}
	config, vips := map[string]string{}, []netip.Addr{}
	versionOf := map[netip.Addr]string{}
	for _, family := range families(s) {
		v1, v2 := vipOf(family, vipProxyV1), vipOf(family, vipProxyV2)
		config[entryKey(v1)] = "e2e/proxied:PROXY"
		config[fmt.Sprintf("proxied-%d", family)] = fmt.Sprintf("{addresses: [%q], services: [{name: e2e/proxied}], proxyProtocol: v2}", v2)
		versionOf[v1], versionOf[v2] = "v1", "v2"
		vips = append(vips, v1, v2)
	}
	serve(t, s, config, vips)
	writtenAt(t, s, vips, port)
	for _, vip := range vips {
		t.Run(fmt.Sprintf("%s %s", versionOf[vip], vip), func(t *testing.T) {
			fromEverywhere(t, s, func(c scenario.Client) error {
				return checkHeader(t, c, netip.AddrPortFrom(vip, port), versionOf[vip])
			})
		})
	}
}

// checkHeader requires the header to name the client as it knows itself, with its port.
func checkHeader(t *testing.T, c scenario.Client, target netip.AddrPort, version string) error {
	conn, err := dialFrom(t.Context(), c.NetNS, "TCP", 0, target)
	if err != nil {
		return err
	}
	defer conn.Close()
	body, err := exchange(conn)
	if err != nil {
		return fmt.Errorf("%q: %w", body, err)
	}
	if probe.Field(body, "client") != conn.LocalAddr().String() || probe.Field(body, "proxy") != version {
		return errors.New(body + ": want version " + version + " and client " + conn.LocalAddr().String())
	}
	return nil
}
