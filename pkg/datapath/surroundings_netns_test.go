package datapath_test

import (
	"context"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// TestNetnsSurroundings has a firewall on the node: what reaches the ClusterIP
// reaches the VIP, and what does not reach the one does not reach the other.
func TestNetnsSurroundings(t *testing.T) {
	t.Parallel()
	const (
		// Docker sets it. kube-proxy's iptables mode accepts what it marked.
		forwardDrop = "*filter\n:FORWARD DROP\nCOMMIT\n"
		kubeForward = "*filter\n:FORWARD DROP\n-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n"
		// As firewalld has it, but by policy.
		firewall = `
			table inet firewall {
				chain input {
					type filter hook input priority filter + 10; policy drop;
					ct state { established, related } accept
					ct status dnat accept
					iifname lo accept
				}
				chain forward {
					type filter hook forward priority filter + 10; policy drop;
					ct state { established, related } accept
					ct status dnat accept
				}
			}
		`
		// What the network plugin accepts, and nothing else.
		podsOnly = `
			table inet firewall {
				chain forward {
					type filter hook forward priority filter; policy drop;
					ip daddr 10.244.0.0/16 accept
					ip saddr 10.244.0.0/16 accept
				}
			}
		`
		invalid = `
			table inet firewall {
				chain input { type filter hook input priority filter; ct state invalid drop; }
				chain forward { type filter hook forward priority filter; ct state invalid drop; }
				chain output { type filter hook output priority filter; ct state invalid drop; }
			}
		`
		reversePath = `
			table inet firewall {
				chain prerouting { type filter hook prerouting priority -290; fib saddr . iif oif missing drop; }
			}
		`
	)
	iptables, legacy, nftFile := []string{"iptables-nft-restore", "--noflush"}, []string{"iptables-legacy-restore", "--noflush"}, []string{"nft", "-f", "-"}
	for _, proxy := range []string{"kube-proxy.nft", "kube-proxy.iptables"} {
		for _, test := range []struct {
			name    string
			rules   string
			command []string
			cluster bool // The ClusterIP is reached.
			local   bool // And that of the Service without masquerade.
		}{
			{"none", "", nftFile, true, true},
			{"iptables drops all", forwardDrop, iptables, false, false},
			{"iptables drops what kube-proxy does not mark", kubeForward, iptables, true, false},
			{"legacy iptables drops what kube-proxy does not mark", kubeForward, legacy, true, false},
			{"nftables drops what has no DNAT", firewall, nftFile, true, true},
			{"nftables drops what is not for pods", podsOnly, nftFile, true, true},
			{"nftables drops invalid packets", invalid, nftFile, true, true},
			{"nftables checks the reverse path", reversePath, nftFile, true, true},
		} {
			t.Run(proxy+" "+test.name, func(t *testing.T) {
				t.Parallel()
				c := newCluster(t, proxy)
				c.node.Sysctl("net.ipv4.conf.eth0.rp_filter", "1") // Strict.
				c.node.RunInput(test.rules, test.command[0], test.command[1:]...)
				c.sync(t, datapath.NewRules(), forwards())
				for _, network := range []string{"tcp", "udp"} {
					expectAnswer(t, c.client, network, clusterIP+":80", test.cluster)
					expectAnswer(t, c.client, network, vip+":80", test.cluster)
				}
				expectAnswer(t, c.client, "tcp", localClusterIP+":80", test.local)
				expectAnswer(t, c.client, "tcp", localVIP+":80", test.local)
				if _, err := greet(c.client, "tcp", vip+":9999"); !refused(err) {
					t.Errorf("a port that is not forwarded: got %v, want connection refused", err)
				}
			})
		}
	}
}

// TestNetnsInputDrop is why Conflicts tells of such a chain, and what helps.
func TestNetnsInputDrop(t *testing.T) {
	t.Parallel()
	const input = `
		table inet firewall {
			chain input {
				type filter hook input priority filter; policy drop;
				ct state { established, related } accept
				ct status dnat accept
			}
		}
	`
	lan := netnstest.NewLAN(t, 2)
	client, node := lan.Hosts[0], lan.Hosts[1]
	node.Run("ip", "addr", "add", vip+"/32", "dev", "eth0")
	serve(node, nodeIP+":80")
	c := &cluster{client: client, node: node}
	c.sync(t, datapath.NewRules(), []desired.Forward{forward(vip, nodeIP, 80)})
	for _, step := range []struct {
		name, rules string
		want        bool
	}{
		{"no firewall", "", true},
		{"policy drop", input, false},
		{"zones accepted", "add rule inet firewall input ct original zone 20000-29999 accept", true},
	} {
		node.RunInput(step.rules, "nft", "-f", "-")
		for _, network := range []string{"tcp", "udp"} {
			t.Log(step.name)
			expectAnswer(t, client, network, vip+":80", step.want)
		}
	}
}

// expectAnswer fails the test unless there is an answer, or none.
func expectAnswer(t *testing.T, from *netnstest.NS, network, address string, want bool) {
	t.Helper()
	limit := patience
	if !want {
		limit = 200 * time.Millisecond // Nothing comes that one could wait for.
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err := from.DialContext(ctx, network, address)
	if err == nil {
		defer c.Close()
		if err = c.SetDeadline(time.Now().Add(limit)); err == nil {
			_, err = say(c, "hello\n")
		}
	}
	if (err == nil) != want {
		t.Errorf("%s %s: %v, want an answer: %t", network, address, err, want)
	}
}
