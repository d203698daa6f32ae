package inspect

import (
	"os"
	"strings"
	"testing"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

func TestNetnsKubeProxyPresent(t *testing.T) {
	for _, test := range []struct {
		name  string
		rules string // Of the command.
		with  []string
		want  bool
	}{
		{"nothing", "", []string{"nft", "-f", "-"}, false},
		{"nftables mode", "add table ip kube-proxy", []string{"nft", "-f", "-"}, true},
		{"nftables mode, IPv6", "add table ip6 kube-proxy", []string{"nft", "-f", "-"}, true},
		{"another family", "add table inet kube-proxy", []string{"nft", "-f", "-"}, false},
		{"iptables mode by nftables", natChain, []string{"iptables-nft-restore"}, true},
		{"iptables mode by nftables, IPv6", natChain, []string{"ip6tables-nft-restore"}, true},
		{"by nftables, another table", filterChain, []string{"iptables-nft-restore"}, false},
		{"by nftables, another chain", otherChain, []string{"iptables-nft-restore"}, false},
		{"iptables mode, legacy", natChain, []string{"iptables-legacy-restore"}, true},
		{"iptables mode, legacy, IPv6", natChain, []string{"ip6tables-legacy-restore"}, true},
		{"legacy, another table", filterChain, []string{"iptables-legacy-restore"}, false},
		{"legacy, another chain", otherChain, []string{"iptables-legacy-restore"}, false},
		{"legacy, another chain, IPv6", otherChain, []string{"ip6tables-legacy-restore"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ns := netnstest.New(t, "node")
			if legacy := strings.Contains(test.with[0], "legacy"); legacy {
				command := strings.TrimSuffix(test.with[0], "-restore")
				if out, err := ns.Try(command, "-t", "nat", "-S"); err != nil {
					t.Skipf("this kernel has no table nat of x_tables: %s", out)
				}
			}
			ns.RunInput(test.rules, test.with[0], test.with[1:]...)
			ns.Do(func() {
				got, err := KubeProxyPresent()
				if err != nil || got != test.want {
					t.Errorf("got %t, %v, want %t", got, err, test.want)
				}
				if test.rules != "" {
					return
				}
				for _, name := range []string{"ip_tables_names", "ip6_tables_names"} {
					if tables, err := os.ReadFile("/proc/thread-self/net/" + name); err == nil && len(tables) > 0 {
						t.Errorf("to ask has made the tables %q", tables)
					}
				}
			})
		})
	}
}

// Rules for iptables-restore.
const (
	natChain    = "*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -p tcp -j RETURN\nCOMMIT\n"
	filterChain = "*filter\n:KUBE-SERVICES - [0:0]\n-A INPUT -j KUBE-SERVICES\nCOMMIT\n"
	// A longer name, a shorter one, and the name where it is none.
	otherChain = "*nat\n:KUBE-SERVICES-2 - [0:0]\n:KUBE-SERVICE - [0:0]\n-A PREROUTING -m comment --comment KUBE-SERVICES -j KUBE-SERVICES-2\nCOMMIT\n"
)
