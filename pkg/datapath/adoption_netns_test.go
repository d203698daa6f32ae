package datapath_test

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// list returns a table as nft shows it, but for the values of counters.
func list(ns *netnstest.NS, table string) string {
	text := ns.Run("nft", append([]string{"list", "table"}, strings.Fields(table)...)...)
	return regexp.MustCompile(`packets \d+ bytes \d+`).ReplaceAllString(text, "packets 0 bytes 0")
}

// listSorted is list with the sets and chains in order, since one that had to
// be made anew is listed last.
func listSorted(ns *netnstest.NS) string {
	blocks := strings.Split(strings.TrimSuffix(list(ns, "inet kube_vrrp_vip"), "\n}"), "\n\n")
	blocks[0] = strings.TrimPrefix(blocks[0], "table inet kube_vrrp_vip {\n")
	slices.Sort(blocks)
	return strings.Join(blocks, "\n\n")
}

// TestNetnsAdoption keeps connections open through what may happen to the
// table and to the program that keeps it.
func TestNetnsAdoption(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "kube-proxy.nft")
	d := datapath.NewRules()
	c.sync(t, d, forwards())
	want := listSorted(c.node)

	var conns []net.Conn
	open := func(from *netnstest.NS, network, address string) {
		t.Helper()
		conn, err := dial(from, network, 0, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conns = append(conns, conn)
	}
	open(c.client, "tcp", vip+":80")
	open(c.client, "udp", vip+":80")
	open(c.far, "tcp", localVIP+":80")
	open(c.node, "tcp", vip+":80")
	open(c.pod, "tcp", foreignVIP+":80")
	for _, v := range ipVersions[1:] {
		open(c.client, "tcp", v.at(vip+":80"))
		open(c.client, "udp", v.at(vip+":80"))
	}
	for _, v := range ipVersions {
		open(c.client, "tcp", v.at(vip+":8080"))
		open(c.far, "udp", v.at(vip+":8080"))
		open(c.far, "tcp", v.at(localVIP+":8080"))
		open(c.node, "tcp", v.at(vip+":8080"))
	}
	alive := func(t *testing.T) {
		t.Helper()
		for _, conn := range conns {
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := say(conn, "still there\n"); err != nil {
				t.Errorf("%s %s -> %s: %v", conn.RemoteAddr().Network(), conn.LocalAddr(), conn.RemoteAddr(), err)
			}
		}
	}
	alive(t)

	t.Run("restart", func(t *testing.T) {
		// Handles and counters show that nothing was written.
		before := c.node.Run("nft", "-a", "list", "table", "inet", "kube_vrrp_vip")
		d = datapath.NewRules()
		c.sync(t, d, forwards())
		if diff := cmp.Diff(before, c.node.Run("nft", "-a", "list", "table", "inet", "kube_vrrp_vip")); diff != "" {
			t.Errorf("-before +after:\n%s", diff)
		}
		alive(t)
	})

	t.Run("other VIPs and ports", func(t *testing.T) {
		const newVIP = "192.0.2.99"
		for _, f := range [][]desired.Forward{
			append(forwards(), lead(ipVersions[0], newVIP, otherClusterIP, "80:80")),
			{
				lead(ipVersions[0], newVIP, otherClusterIP, "80:80"),
				lead(ipVersions[0], vip, clusterIP, "80:80", "8080:80"), forwards()[3], forwards()[5],
				lead(ipVersions[1], vip, clusterIP, "80:80", "8080:80"), forwards()[9],
			},
			forwards(),
		} {
			c.sync(t, d, f)
			alive(t)
		}
		if _, err := greet(c.client, "tcp", vip2+":80"); err != nil {
			t.Errorf("a VIP that came back: %v", err)
		}
		// It has another zone now, to which its address leads and back.
		want = listSorted(c.node)
	})

	t.Run("networks of pods, guards and source ranges", func(t *testing.T) {
		everybody := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		restricted := forwards()
		for i, f := range restricted {
			restricted[i].Open = !f.Open
			for j := range f.Ports {
				restricted[i].Ports[j].Restricted, restricted[i].Ports[j].Sources = true, everybody[:1]
				if f.VIP.Is6() {
					restricted[i].Ports[j].Sources = everybody[1:]
				}
			}
		}
		for _, wanted := range []desired.Datapath{
			{Forwards: forwards()},
			{Forwards: forwards(), PodCIDRs: everybody},
			{Forwards: restricted, PodCIDRs: everybody},
			{Forwards: restricted, PodCIDRs: podCIDRs()},
			{Forwards: forwards(), PodCIDRs: podCIDRs()},
		} {
			c.node.Do(func() {
				if err := d.Sync(wanted); err != nil {
					t.Fatal(err)
				}
			})
			alive(t)
		}
		if diff := cmp.Diff(want, listSorted(c.node)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})

	for _, test := range []struct {
		name string
		nft  string
	}{
		{"rules removed", "flush chain inet kube_vrrp_vip rewrite4"},
		{"rule added", "add rule inet kube_vrrp_vip guard ip saddr { 203.0.113.7, 203.0.113.8 } drop"},
		{"elements", `
			add element inet kube_vrrp_vip vip4 { 192.0.2.77 }
			delete element inet kube_vrrp_vip back4 { 20000 }
			delete element inet kube_vrrp_vip mapped_port6 { 2001:db8::100 . tcp . 8080 }
			flush map inet kube_vrrp_vip mapped_back_port
			add element inet kube_vrrp_vip pods4 { 10.0.0.0/9 }
			delete element inet kube_vrrp_vip pods6 { fd00:10:244:1::/64 }
			delete element inet kube_vrrp_vip svc4 { 192.0.2.100 . tcp . 80 }
			add element inet kube_vrrp_vip svc4 { 192.0.2.100 . tcp . 80 : 10.96.0.99 }
		`},
		{"element for all other keys", "add element inet kube_vrrp_vip svc4 { * : 10.96.0.99 }"},
		{"chain and map added", `
			add chain inet kube_vrrp_vip other { type filter hook forward priority 7; }
			add map inet kube_vrrp_vip jumps { type mark : verdict; }
			add element inet kube_vrrp_vip jumps { 7 : jump restore4 }
			add rule inet kube_vrrp_vip other meta mark vmap @jumps
		`},
		{"set of another type", `
			flush chain inet kube_vrrp_vip restore4
			delete map inet kube_vrrp_vip back4
			add map inet kube_vrrp_vip back4 { type mark : ipv4_addr; }
			add element inet kube_vrrp_vip back4 { 20000 : 192.0.2.100 }
		`},
		{"chain of another priority", `
			delete chain inet kube_vrrp_vip guard
			add chain inet kube_vrrp_vip guard { type filter hook input priority 5; policy drop; }
		`},
		{"switched off", "add table inet kube_vrrp_vip { flags dormant; }"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, restart := range []bool{false, true} {
				c.node.RunInput(test.nft, "nft", "-f", "-")
				if listSorted(c.node) == want {
					t.Fatal("nothing was broken")
				}
				if restart {
					d = datapath.NewRules()
				}
				c.sync(t, d, forwards())
				if diff := cmp.Diff(want, listSorted(c.node)); diff != "" {
					t.Errorf("restart %t: -want +got:\n%s", restart, diff)
				}
				alive(t)
			}
		})
	}

	t.Run("table removed", func(t *testing.T) {
		c.node.Run("nft", "delete", "table", "inet", "kube_vrrp_vip")
		c.sync(t, d, forwards())
		if diff := cmp.Diff(want, listSorted(c.node)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		alive(t)
	})
}

// TestNetnsGuardComes leaves open what was open before a VIP was guarded, and
// refuses what is new.
func TestNetnsGuardComes(t *testing.T) {
	t.Parallel()
	for _, proxy := range []string{"kube-proxy.nft", "kube-proxy.iptables"} {
		t.Run(proxy, func(t *testing.T) {
			c := newCluster(t, proxy)
			var conns []net.Conn
			for _, from := range []*netnstest.NS{c.client, c.far, c.node} {
				for _, address := range []string{"tcp " + emptyVIP + hostPort, "udp " + emptyVIP + otherNodePort, "tcp " + emptyVIP + ":22"} {
					network, address, _ := strings.Cut(address, " ")
					conn, err := dial(from, network, 0, address)
					if err != nil {
						t.Fatalf("%s %s: %v", network, address, err)
					}
					defer conn.Close()
					if _, err := say(conn, "before\n"); err != nil {
						t.Fatalf("%s %s: %v", network, address, err)
					}
					conns = append(conns, conn)
				}
			}
			c.sync(t, datapath.NewRules(), forwards())
			for _, conn := range conns {
				network, address := conn.RemoteAddr().Network(), conn.RemoteAddr().String()
				if _, err := say(conn, "after\n"); err != nil {
					t.Errorf("open: %s %s -> %s: %v", network, conn.LocalAddr(), address, err)
				}
				if _, err := greet(c.client, network, address); !refused(err) {
					t.Errorf("new: %s %s: got %v, want connection refused", network, address, err)
				}
			}
		})
	}
}

// TestNetnsZoneWithConnections gives no VIP a zone in which connections of
// another are left.
func TestNetnsZoneWithConnections(t *testing.T) {
	t.Parallel()
	for _, v := range ipVersions {
		t.Run(v.name, func(t *testing.T) {
			c := newCluster(t, "kube-proxy.nft")
			c.sync(t, datapath.NewRules(), []desired.Forward{lead(v, vip, clusterIP, "80:80")})
			conn, err := dial(c.client, "tcp", 0, v.at(vip+":80"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c.node.Run("nft", "delete", "table", "inet", "kube_vrrp_vip")

			c.sync(t, datapath.NewRules(), []desired.Forward{lead(v, vip2, clusterIP, "80:80")})
			if got, want := list(c.node, "inet kube_vrrp_vip"), "{ "+v.of(vip2)+" : 20001 }"; !strings.Contains(got, want) {
				t.Errorf("%s does not contain %s", got, want)
			}
		})
	}
}
