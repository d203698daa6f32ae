package datapath

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/lab/labtest"
	"kube-vrrp-vip/pkg/netns"
)

const (
	// patience bounds each wait.
	patience = 40 * time.Second

	// hostSays is what the node's own listener on all addresses says.
	hostSays = "the node itself"
)

func TestMain(m *testing.M) { labtest.Main(m, 8) }

// node is a node with the daemon, what kube-proxy writes for three Services, and a
// listener on port 443 of all addresses, between a client and a pod:
//
//	client ------- LAN ------- node ------------------- pod
//	192.0.2.250      192.0.2.1      10.244.1.1  10.244.1.2
//	2001:db8::fa   2001:db8::1   fd00:244:1::1  fd00:244:1::2
//
// Behind port 443 of the Service web is the backend, behind that of closed a port
// on which nothing listens; none has no endpoints.
type node struct {
	*lab.Lab
	t      *testing.T
	host   *lab.Host
	pod    *netns.Namespace
	daemon *lab.Daemon
	told   *greetings
}

func newNode(t *testing.T) *node {
	t.Helper()
	l, _ := labtest.New(t, 1)
	pod, err := l.AddNamespace("pod")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Lab: l, t: t, host: l.Hosts[0], pod: pod}
	t.Cleanup(func() {
		if t.Failed() {
			if out, err := n.host.Run("nft", "list", "ruleset"); err == nil {
				t.Log(out)
			}
		}
	})
	n.check(n.host.IP(
		"link add pod0 type veth peer name node0 netns "+n.pod.Path(),
		"addr add 10.244.1.1/24 dev pod0",
		"addr add fd00:244:1::1/64 dev pod0 nodad",
		"link set pod0 up",
		// A ClusterIP needs a route before it is translated.
		"route add default via 192.0.2.254",
		"route add ::/0 via 2001:db8::254",
	))
	n.check(n.pod.IP(
		"link set lo up",
		"addr add 10.244.1.2/24 dev node0",
		"addr add fd00:244:1::2/64 dev node0 nodad",
		"link set node0 up",
		"route add default via 10.244.1.1",
		"route add ::/0 via fd00:244:1::1",
	))
	n.check(n.host.Sysctl("net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"))
	n.check(n.host.Nft(kubeProxy("kube-proxy")))
	n.told = serve(t, n.pod, "tcp", ":8443")
	for _, network := range []string{"tcp4", "tcp6"} {
		listen(t, n.host.Namespace, network, ":443", func(c net.Conn) {
			defer c.Close()
			_, _ = c.Write([]byte(hostSays))
		})
	}
	for i, name := range []string{"web", "none", "closed"} {
		l.API.Set("services", lab.Object{
			"metadata": map[string]any{"namespace": "default", "name": name},
			"spec": map[string]any{
				"type":       "ClusterIP",
				"clusterIP":  fmt.Sprintf("10.96.0.1%d", i),
				"clusterIPs": []string{fmt.Sprintf("10.96.0.1%d", i), fmt.Sprintf("fd00:96::1%d", i)},
				"ipFamilies": []string{"IPv4", "IPv6"},
				"ports": []any{
					map[string]any{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 8443},
					map[string]any{"name": "quic", "protocol": "UDP", "port": 443, "targetPort": 8443},
				},
			},
		})
	}
	return n
}

// kubeProxy are tables such as kube-proxy's, of that name.
func kubeProxy(name string) string {
	const table = `table %[1]s %[2]s {
  chain services {
    %[1]s daddr %[3]s0 tcp dport 443 meta mark set meta mark | 0x4000 dnat to %[4]s:8443
    %[1]s daddr %[3]s2 tcp dport 443 meta mark set meta mark | 0x4000 dnat to %[4]s:9
  }
  chain prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain output { type nat hook output priority -100; jump services; }
  chain postrouting { type nat hook postrouting priority srcnat; meta mark & 0x4000 != 0 masquerade fully-random; }
  chain endpoints { type filter hook output priority -110; %[1]s daddr %[3]s1 ct state new reject; }
}
`
	return fmt.Sprintf(table, "ip", name, "10.96.0.1", "10.244.1.2") +
		fmt.Sprintf(table, "ip6", name, "fd00:96::1", "[fd00:244:1::2]")
}

// start starts the daemon and waits until it has the VIPs.
func (n *node) start(args ...string) {
	n.t.Helper()
	var err error
	n.daemon, err = n.StartDaemon(n.host, 200, args...)
	n.check(err)
	n.waitMaster()
}

func (n *node) waitMaster() {
	n.t.Helper()
	n.eventually("the daemon has its VIPs and has written its rules", func() error {
		s, err := n.daemon.Status(n.t.Context())
		if err != nil {
			return err
		}
		if s.Datapath.LastSync.IsZero() {
			return errors.New("no rules yet")
		}
		for _, r := range s.Engine.Routers {
			for _, v := range r.VIPs {
				if !v.Bound {
					return fmt.Errorf("%s is not bound", v.Address)
				}
			}
		}
		if len(s.Engine.Routers) == 0 {
			return errors.New("no routers")
		}
		return nil
	})
}

func (n *node) status() lab.Status {
	n.t.Helper()
	s, err := n.daemon.Status(n.t.Context())
	n.check(err)
	return s
}

// private is where the daemon listens for a VIP and port.
func (n *node) private(vip netip.AddrPort) netip.AddrPort {
	n.t.Helper()
	var at netip.AddrPort
	n.eventually("the daemon proxies "+vip.String(), func() error {
		s, err := n.daemon.Status(n.t.Context())
		if err != nil {
			return err
		}
		for _, p := range s.Datapath.Proxy {
			if p.VIP == vip {
				at = p.Listener
				return nil
			}
		}
		return fmt.Errorf("proxy: %+v", s.Datapath.Proxy)
	})
	return at
}

func (n *node) dial(from *netns.Namespace, to netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), 5*time.Second)
	defer cancel()
	c, err := netns.Dial(ctx, from.Path(), "tcp", to.String())
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	n.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn), nil
}

// connect connects the client to the backend and lets it do something.
func (n *node) connect(to netip.AddrPort, does byte) *net.TCPConn {
	n.t.Helper()
	c, err := n.dial(n.Client.Namespace, to)
	n.check(err)
	_, err = c.Write([]byte{does})
	n.check(err)
	return c
}

// refused reports whether a connection to an address is refused at once, or
// reset before it has said anything.
func (n *node) refused(from *netns.Namespace, to netip.AddrPort) error {
	c, err := n.dial(from, to)
	var got []byte
	if err == nil {
		got = make([]byte, 100)
		var i int
		i, err = c.Read(got)
		got = got[:i]
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return fmt.Errorf("a connection from %s to %s: %q, %w; want a reset", from.Name, to, got, err)
}

func (n *node) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) eventually(what string, f func() error) {
	n.t.Helper()
	labtest.Eventually(n.t, patience, what, f)
}

// problems are those that say something.
func problems(s lab.Status, what string) []string {
	var found []string
	for _, p := range s.Problems {
		if strings.Contains(p.Message, what) {
			found = append(found, p.Message)
		}
	}
	return slices.Compact(found)
}
