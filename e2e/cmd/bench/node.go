package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/load"
	"kube-vrrp-vip/pkg/netns"
)

const (
	endpointPort = 8080
	// servicePort is the first of a Service's ports.
	servicePort = 5000
	plainPort   = 8001 // HAProxy's on the node
	proxyPort   = 8002 // and with a PROXY header

	// The client and the endpoint have a processor each, if there are two.
	clientProcessor   = 0
	endpointProcessor = 1

	// Methods, as an entry of the ConfigMap has them.
	proxied = ":PROXY"
	// bare is a node without kube-vrrp-vip.
	bare = "bare"
)

var (
	nodeAddress = netip.MustParseAddr("198.19.0.1") // on the client's link
	podAddress  = netip.MustParseAddr("10.244.1.2") // the first of four
)

// node is a node with the daemon, the rules of kube-proxy and HAProxy, between a
// client and the endpoints of its Services:
//
//	client ---------------- node ---------------- pods
//	198.19.0.2  198.19.0.1        10.244.1.1  10.244.1.2 to .5
//
// The links are of their own, so that no switch that records is in the way. The
// VIPs are on the node's eth0, and the client's route to them leads to the node.
type node struct {
	vips, ports int
	lab         *lab.Lab
	daemon      *lab.Daemon // nil on a bare node
	haproxy     *netns.Process
	endpoint    *load.Endpoint
}

// newNode starts a node with that many VIPs, each with a Service of that many
// ports, to which connections come by the method, "" for the usual one.
func newNode(dir string, vips, ports int, method string) (_ *node, err error) {
	l, err := lab.New(1)
	if err != nil {
		return nil, err
	}
	n := &node{vips: vips, ports: ports, lab: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	host, client := l.Hosts[0], l.Client
	pod, err := l.AddNamespace("pod")
	if err != nil {
		return nil, err
	}
	if err := n.connect(host.Namespace, client.Namespace, pod); err != nil {
		return nil, err
	}
	if err := host.Nft(kubeProxy(vips, ports)); err != nil {
		return nil, err
	}
	err = pod.Do(func() error {
		var err error
		n.endpoint, err = load.StartEndpoint(endpointPort, endpointProcessor)
		return err
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, fmt.Sprintf("haproxy-%d-%d-%s.cfg", vips, ports, method))
	if err := os.WriteFile(file, []byte(haproxyConfig), 0o644); err != nil {
		return nil, err
	}
	if n.haproxy, err = l.Start(host, nil, "haproxy", "-db", "-f", file); err != nil {
		return nil, err
	}
	entries := map[string]string{}
	for i := range vips {
		name := fmt.Sprintf("web%d", i)
		numbers := make([]int, ports)
		for p := range numbers {
			numbers[p] = servicePort + p
		}
		l.SetService("default", name, clusterIP(i).String(), numbers...)
		entries[vipAddress(i).String()] = "default/" + name + method
	}
	if method == bare {
		return n, nil
	}
	l.SetConfigMap(entries)
	n.daemon, err = l.StartDaemon(host, firstPriority)
	return n, err
}

// connect makes the links, the routes and the settings.
func (n *node) connect(host, client, pod *netns.Namespace) error {
	return errors.Join(
		host.IP(
			"link add client0 type veth peer name node0 netns "+client.Path(),
			"link add pod0 type veth peer name node0 netns "+pod.Path(),
			"addr add 198.19.0.1/24 dev client0",
			"addr add 10.244.1.1/24 dev pod0",
			"link set client0 up",
			"link set pod0 up",
			// Without one the node's own processes have no way to a ClusterIP.
			"route add default via 198.19.0.2",
		),
		client.IP(
			"addr add 198.19.0.2/24 dev node0",
			"link set node0 up",
			"route add 10.96.0.0/16 via 198.19.0.1",
			"route add 198.51.100.0/24 via 198.19.0.1",
		),
		pod.IP(
			"link set lo up",
			"addr add 10.244.1.2/24 dev node0",
			"addr add 10.244.1.3/24 dev node0",
			"addr add 10.244.1.4/24 dev node0",
			"addr add 10.244.1.5/24 dev node0",
			"link set node0 up",
			"route add default via 10.244.1.1",
		),
		host.Sysctl("net/ipv4/ip_forward=1"),
		// The client stands for many, which have more ports than one. The endpoint
		// is asked by the node's address whatever the client has asked: its
		// TIME_WAIT would take the next one's SYN for an old one by its timestamp.
		// The node has what the kernel gives it, as in practice: where the ports of
		// a proxy are used up, the benchmark shows it.
		host.Sysctl(pace), client.Sysctl(quick...), pod.Sysctl(quick...),
		// 20,000 connections in a second would use up the ports of the masquerade.
		host.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait=1", "net/netfilter/nf_conntrack_tcp_timeout_close=1"),
	)
}

// pace is a congestion control that every kernel has. Another default of the
// machine may send at a pace of its own.
const pace = "net/ipv4/tcp_congestion_control=reno"

var quick = []string{
	"net/ipv4/tcp_max_tw_buckets=0",
	"net/ipv4/ip_local_port_range=1024 65535",
	pace,
}

func (n *node) close() error {
	// The endpoint first: it is in a namespace of the lab.
	var err error
	if n.endpoint != nil {
		err = n.endpoint.Close()
	}
	return errors.Join(err, n.lab.Close())
}

// ready waits until the node has its VIPs, and the last port of the last one is
// answered.
func (n *node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if n.daemon != nil {
		if err := lab.Eventually(ctx, "have all VIPs", func() error { return n.bound(ctx) }); err != nil {
			return fmt.Errorf("%w\n%s", err, n.lab.Report(time.Now()))
		}
	}
	all := []netip.AddrPort{n.clusterIP(), n.haproxyPort(plainPort), n.haproxyPort(proxyPort)}
	if n.daemon != nil {
		all = append(all, n.vip())
	}
	for _, to := range all {
		err := lab.Eventually(ctx, "connect to "+to.String(), func() error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			c, err := n.dial(ctx, to)
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err != nil {
			return fmt.Errorf("%w\n%s", err, n.lab.Report(time.Now()))
		}
	}
	return nil
}

// bound tells with an error that a VIP is not bound.
func (n *node) bound(ctx context.Context) error {
	status, err := n.daemon.Status(ctx)
	if err != nil {
		return err
	}
	have := 0
	for _, r := range status.Engine.Routers {
		for _, v := range r.VIPs {
			if v.Bound {
				have++
			}
		}
	}
	if have != n.vips {
		return fmt.Errorf("%d of %d VIPs are bound", have, n.vips)
	}
	return nil
}

func (n *node) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return netns.Dial(ctx, n.lab.Client.Path(), "tcp", to.String())
}

// vip is the last port of the last VIP.
func (n *node) vip() netip.AddrPort {
	return netip.AddrPortFrom(vipAddress(n.vips-1), uint16(servicePort+n.ports-1))
}

// clusterIP is what stands behind vip.
func (n *node) clusterIP() netip.AddrPort {
	return netip.AddrPortFrom(clusterIP(n.vips-1), uint16(servicePort+n.ports-1))
}

func (n *node) haproxyPort(port uint16) netip.AddrPort { return netip.AddrPortFrom(nodeAddress, port) }

func vipAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}) }

func clusterIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 96, 1, byte(i + 1)}) }

// kubeProxy is the table that kube-proxy's nftables mode gives a node, for
// Services whose ports all have the same four endpoints.
func kubeProxy(vips, ports int) string {
	var elements, endpoints, chains strings.Builder
	for i := range vips {
		for p := range ports {
			fmt.Fprintf(&elements, "      %s . tcp . %d : goto service,\n", clusterIP(i), servicePort+p)
		}
	}
	for i, a := 0, podAddress; i < 4; i, a = i+1, a.Next() {
		fmt.Fprintf(&endpoints, "%d : goto endpoint-%d, ", i, i)
		fmt.Fprintf(&chains, "  chain endpoint-%d { ip saddr %s jump mark-for-masquerade; meta l4proto tcp dnat to %s:%d; }\n", i, a, a, endpointPort)
	}
	return fmt.Sprintf(`table ip kube-proxy {
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {
%s    }
  }
  map service-nodeports { type inet_proto . inet_service : verdict; }
  map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
  set cluster-ips { type ipv4_addr; elements = { %s-%s }; flags interval; }
  set nodeport-ips { type ipv4_addr; elements = { 192.0.2.1 }; }
  chain mark-for-masquerade { meta mark set meta mark | 0x4000; }
  chain masquerading { meta mark & 0x4000 == 0 return; meta mark set meta mark ^ 0x4000; masquerade fully-random; }
%s  chain service {
    ip saddr != 10.244.0.0/16 jump mark-for-masquerade
    numgen random mod 4 vmap { %s }
  }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
  chain cluster-ips-check { ip daddr @cluster-ips reject; }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
  chain filter-prerouting { type filter hook prerouting priority -110; ct state new jump endpoints-check; }
  chain filter-forward { type filter hook forward priority -110; ct state new jump cluster-ips-check; }
  chain filter-output { type filter hook output priority -110; ct state new jump endpoints-check; }
}
`, elements.String(), clusterIP(0), clusterIP(max(vips, 2)-1), chains.String(), endpoints.String())
}

// haproxyConfig is HAProxy in TCP mode, with as many threads as there are
// processors to share.
const haproxyConfig = `global
  nbthread 2
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen plain
  bind 198.19.0.1:8001
  server p2 10.244.1.2:8080
  server p3 10.244.1.3:8080
  server p4 10.244.1.4:8080
  server p5 10.244.1.5:8080
listen proxied
  bind 198.19.0.1:8002
  server p2 10.244.1.2:8080 send-proxy
  server p3 10.244.1.3:8080 send-proxy
  server p4 10.244.1.4:8080 send-proxy
  server p5 10.244.1.5:8080 send-proxy
`
