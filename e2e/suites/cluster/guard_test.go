package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
	"kube-vrrp-vip/pkg/netns"
)

// TestClusterGuard asks VIPs for ports that none of their Services has.
func TestClusterGuard(t *testing.T) {
	t.Parallel()
	checkGuard(t, &nftables)
}

// TestClusterGuardIPTables is TestClusterGuard where kube-proxy writes iptables.
func TestClusterGuardIPTables(t *testing.T) {
	t.Parallel()
	checkGuard(t, &iptables)
}

const (
	vipGuarded = 241
	vipOpen    = 242
)

// intruder is a port that a node has on all its addresses.
type intruder struct {
	name     string
	protocol string
	port     uint16
}

var (
	ownListener  = intruder{"listener on all addresses", "TCP", 9022}
	kubelet      = intruder{"kubelet", "TCP", 10250}
	hostPort     = intruder{"hostPort of a pod", "TCP", 9443}
	published    = intruder{"port published by a DNAT rule", "TCP", 9444}
	foreignTCP   = intruder{"NodePort of another Service", "TCP", 30090}
	foreignUDP   = intruder{"NodePort of another Service", "UDP", 30091}
	allIntruders = []intruder{ownListener, kubelet, hostPort, published, foreignTCP, foreignUDP}
)

// reached asks the port; that it answers at all is enough.
func (i intruder) reached(ctx context.Context, path string, addr netip.Addr) error {
	target := netip.AddrPortFrom(addr, i.port)
	if i.protocol == "UDP" {
		_, err := probe.UDP(ctx, path, target, "who?")
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probe.Timeout)
	defer cancel()
	conn, err := netns.Dial(ctx, path, "tcp", target.String())
	if err != nil {
		return err
	}
	return conn.Close()
}

// checkGuard asks for the ports at a guarded VIP, where all are refused, and at one
// whose guard is off, where they are what they are at the node's own address.
func checkGuard(t *testing.T, f *fixture) {
	s, _ := install(t, f)
	liftLimits(t, s)
	for _, n := range s.Nodes() {
		listen(t, s, n, ownListener.port)
		publish(t, s, n, published.port)
	}
	config, vips := map[string]string{}, []netip.Addr{}
	for _, family := range families(s) {
		guarded, open := vipOf(family, vipGuarded), vipOf(family, vipOpen)
		config[entryKey(guarded)] = "e2e/all"
		config[fmt.Sprintf("open-%d", family)] = fmt.Sprintf("{addresses: [%q], services: [{name: e2e/all}], guard: false}", open)
		vips = append(vips, guarded, open)
	}
	holders := serve(t, s, config, vips)
	written(t, s, vips)
	for _, family := range families(s) {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			guarded, open := vipOf(family, vipGuarded), vipOf(family, vipOpen)
			node := s.Addr(holders[open])
			if family == 6 {
				node = s.Addr6(holders[open])
			}
			for _, i := range allIntruders {
				// Else there would be nothing to keep away.
				eventually(t, i.name+" of the node", func(ctx context.Context) error {
					return i.reached(ctx, s.NetNS("client"), node)
				})
				err := i.reached(t.Context(), s.NetNS("client"), open)
				if f.proxyMode == "" && (i == foreignTCP || i == foreignUDP) {
					// Kube-proxy's nftables mode has NodePorts on primary addresses only.
					if err == nil {
						t.Errorf("%s answers at %s", i.name, open)
					}
				} else if err != nil {
					t.Errorf("%s at %s, whose guard is off: %v", i.name, open, err)
				}
			}
			var wg sync.WaitGroup
			for _, c := range clients(t, s) {
				wg.Go(func() {
					for _, i := range allIntruders {
						err := refusedOnce(func() (string, error) { return i.name, i.reached(t.Context(), c.NetNS, guarded) })
						if err != nil {
							t.Errorf("%s at %s, which is guarded, from %s: %v", i.name, guarded, c.Name, err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// listen has a listener on all addresses of a node, until the test ends.
func listen(t *testing.T, s *scenario.Site, node string, port uint16) {
	t.Helper()
	var l net.Listener
	err := netns.Do(s.NetNS(node), func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: probe.Timeout,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "host=%s node=%[1]s\n", node) }),
	}
	t.Cleanup(func() { server.Close() })
	go func() { _ = server.Serve(l) }()
}

// publish leads a port of all addresses of a node to its pod of Echo, until the test
// ends, as container engines publish ports: not a single packet of it is for the node
// itself.
func publish(t *testing.T, s *scenario.Site, node string, port uint16) {
	t.Helper()
	pods, err := s.Pods(t.Context(), scenario.EchoNamespace, "app=echo,node="+node)
	if err != nil || len(pods) != 1 {
		t.Fatalf("pods on %s: %+v, %v", node, pods, err)
	}
	var b strings.Builder
	for _, ip := range pods[0].IPs {
		family, target := "ip", ip.String()
		if ip.Is6() {
			family, target = "ip6", "["+target+"]"
		}
		fmt.Fprintf(&b, `table %s published {
	chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local tcp dport %d dnat to %s:8080; }
	chain output { type nat hook output priority -100; fib daddr type local tcp dport %[2]d dnat to %[3]s:8080; }
}
`, family, port, target)
		t.Cleanup(func() {
			if _, err := s.Exec(context.Background(), node, "nft", "delete", "table", family, "published"); err != nil {
				t.Error(err)
			}
		})
	}
	loadRules(t, s, node, b.String())
}

// loadRules adds rules to a node's nftables.
func loadRules(t *testing.T, s *scenario.Site, node, ruleset string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", "--file", "-")
	cmd.Stdin = strings.NewReader(ruleset)
	var out []byte
	err := netns.Do(s.NetNS(node), func() (err error) {
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
