package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"kube-vrrp-vip/pkg/netns"
)

const (
	switchHost   = "sw"
	controlHost  = "cp"
	clientHost   = "client"
	routerHost   = "router"
	routedHost   = "routed"
	bridgeName   = "br0"
	serviceCIDR4 = "10.96.0.0/16"
	serviceCIDR6 = "fd96::/112"
	podCIDR4     = "10.244.0.0/16"
	podCIDR6     = "fd44::/16"
	// kubernetesIP is the ClusterIP of the Service "kubernetes": the first of the range.
	kubernetesIP = "10.96.0.1"
)

var (
	nodeNames = []string{"n1", "n2", "n3"}
	// hosts are the machines on the LAN, with the last byte of their address.
	hosts = map[string]byte{controlHost: 10, "n1": 11, "n2": 12, "n3": 13, clientHost: 100, routerHost: 90}

	// The network behind the router, and the two addresses in it.
	routedNet4  = netip.MustParsePrefix("10.90.0.0/24")
	routedNet6  = netip.MustParsePrefix("fd90::/64")
	routedAddr4 = map[string]netip.Addr{routerHost: netip.MustParseAddr("10.90.0.1"), routedHost: netip.MustParseAddr("10.90.0.100")}
	routedAddr6 = map[string]netip.Addr{routerHost: netip.MustParseAddr("fd90::1"), routedHost: netip.MustParseAddr("fd90::100")}
)

// RoutedMTU is the largest packet between the router and the client behind it.
const RoutedMTU = 1300

// Nodes returns the names of the nodes.
func (c *Cluster) Nodes() []string { return slices.Clone(nodeNames) }

// Addr returns a host's IPv4 address on the LAN; the zero Addr if there is no such
// host. Hosts are the nodes, "cp" (the control plane), "client", "router", and
// "routed", which is behind the router and has its address there.
func (c *Cluster) Addr(host string) netip.Addr {
	if host == routedHost {
		return routedAddr4[host]
	}
	last, ok := hosts[host]
	if !ok {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{10, 89, 0, last})
}

// Addr6 is Addr for IPv6; the zero Addr on a machine without IPv6.
func (c *Cluster) Addr6(host string) netip.Addr {
	if host == routedHost && dualStack() {
		return routedAddr6[host]
	}
	last, ok := hosts[host]
	if !ok || !dualStack() {
		return netip.Addr{}
	}
	return netip.MustParseAddr(fmt.Sprintf("fd89::%d", last))
}

// MAC returns the address of a host's network card. It outlives a reboot.
func (c *Cluster) MAC(host string) net.HardwareAddr {
	last, ok := hosts[host]
	if !ok {
		return nil
	}
	return net.HardwareAddr{0x02, 0x10, 0x89, 0, 0, last}
}

// NetNS returns the path of a host's network namespace; the switch is "sw".
func (c *Cluster) NetNS(host string) string {
	return filepath.Join("/run/netns", c.namespace(host))
}

func (c *Cluster) namespace(host string) string { return c.opt.Name + "-" + host }

// Exec runs a command in a host's network namespace (and in no other of its
// namespaces) and returns what it printed. An error holds all it printed.
func (c *Cluster) Exec(ctx context.Context, host string, argv ...string) (string, error) {
	if _, ok := hosts[host]; !ok && host != switchHost && host != routedHost {
		return "", fmt.Errorf("no host %q", host)
	}
	// ip-netns also mounts a /sys that shows the namespace's own devices.
	args := append([]string{"netns", "exec", c.namespace(host)}, argv...)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		both := append(stdout.Bytes(), stderr.Bytes()...)
		return stdout.String(), fmt.Errorf("%s: %s: %w", host, strings.Join(argv, " "), exitText(err, both))
	}
	return stdout.String(), nil
}

// CutLink pulls a host's network cable: the port of the switch goes down, and the
// host's card loses its carrier.
func (c *Cluster) CutLink(host string) error { return c.setPort(host, "down") }

// RestoreLink plugs the cable in again.
func (c *Cluster) RestoreLink(host string) error { return c.setPort(host, "up") }

func (c *Cluster) setPort(host, state string) error {
	if _, ok := hosts[host]; !ok {
		return fmt.Errorf("no host %q", host)
	}
	if err := ipBatch(context.Background(), c.namespace(switchHost), "link set "+host+" "+state); err != nil {
		return fmt.Errorf("set link of %s %s: %w", host, state, err)
	}
	return nil
}

// makeNetwork makes the switch and a namespace with one card for every host.
func (c *Cluster) makeNetwork(ctx context.Context) error {
	if err := ipBatch(ctx, "", "netns add "+c.namespace(switchHost)); err != nil {
		return err
	}
	// Frames that a bridge forwards go through iptables if br_netfilter is loaded: a
	// switch has nothing of the kind.
	err := c.sysctl(switchHost, map[string]string{
		"net/bridge/bridge-nf-call-iptables":  "0",
		"net/bridge/bridge-nf-call-ip6tables": "0",
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := ipBatch(ctx, c.namespace(switchHost),
		"link set lo up",
		"link add "+bridgeName+" type bridge mcast_snooping 0",
		"link set "+bridgeName+" up",
	); err != nil {
		return err
	}
	for _, host := range append([]string{controlHost, clientHost, routerHost}, nodeNames...) {
		if err := c.makeHost(ctx, host); err != nil {
			return err
		}
	}
	return c.makeRouted(ctx)
}

// makeRouted makes the network behind the router, with one client in it.
func (c *Cluster) makeRouted(ctx context.Context) error {
	if err := ipBatch(ctx, "", "netns add "+c.namespace(routedHost)); err != nil {
		return err
	}
	router := []string{
		fmt.Sprintf("link add inside mtu %d type veth peer name eth0 mtu %[1]d netns %s", RoutedMTU, c.namespace(routedHost)),
		"link set inside up",
	}
	// advmss: as if the narrow link were further on. A client that knew of it would
	// tell so in its first packet, and nobody would have to find it out.
	client := []string{
		"link set lo up",
		"link set eth0 up",
	}
	stacks := []map[string]netip.Addr{routedAddr4}
	if dualStack() {
		stacks = append(stacks, routedAddr6)
	}
	for _, addr := range stacks {
		prefix, nodad, mss := routedNet4, "", 1460
		if addr[routerHost].Is6() {
			// nodad: the address is usable at once.
			prefix, nodad, mss = routedNet6, " nodad", 1440
		}
		router = append(router, fmt.Sprintf("addr add %s dev inside%s", netip.PrefixFrom(addr[routerHost], prefix.Bits()), nodad))
		client = append(client,
			fmt.Sprintf("addr add %s dev eth0%s", netip.PrefixFrom(addr[routedHost], prefix.Bits()), nodad),
			fmt.Sprintf("route add default via %s advmss %d", addr[routerHost], mss))
	}
	if err := ipBatch(ctx, c.namespace(routerHost), router...); err != nil {
		return err
	}
	return ipBatch(ctx, c.namespace(routedHost), client...)
}

// makeHost makes the network of one host as it is after power-on: one card on the
// LAN with its address, and the routes.
func (c *Cluster) makeHost(ctx context.Context, host string) error {
	ns := c.namespace(host)
	if err := ipBatch(ctx, "", "netns add "+ns); err != nil {
		return err
	}
	// Before the card is made, which takes its settings from "default". ip_forward
	// first: it resets others.
	settings := [][2]string{
		{"net/ipv4/ip_forward", "0"},
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
	}
	if slices.Contains(nodeNames, host) || host == routerHost {
		settings[0][1] = "1"
		if dualStack() {
			settings = append(settings, [2]string{"net/ipv6/conf/all/forwarding", "1"})
		}
	}
	for _, s := range settings {
		if err := c.sysctl(host, map[string]string{s[0]: s[1]}); err != nil {
			return err
		}
	}
	if err := ipBatch(ctx, c.namespace(switchHost),
		fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s", host, c.MAC(host), ns),
		fmt.Sprintf("link set %s master %s up", host, bridgeName),
	); err != nil {
		return err
	}
	lines := []string{
		"link set lo up",
		fmt.Sprintf("addr add %s/24 dev eth0", c.Addr(host)),
		"link set eth0 up",
	}
	if dualStack() {
		// nodad: the address is usable at once.
		lines = append(lines, fmt.Sprintf("addr add %s/64 dev eth0 nodad", c.Addr6(host)))
	}
	return ipBatch(ctx, ns, append(lines, c.routes(host)...)...)
}

// routes returns the routes of the cluster's own hosts: to the pods of the (other)
// nodes, to the network behind the router and, for a node, a default one. It leads nowhere, but without any route a
// connection to a ClusterIP fails before kube-proxy's rules can turn it aside.
func (c *Cluster) routes(host string) []string {
	if host == clientHost || host == routerHost {
		return nil
	}
	lines := []string{fmt.Sprintf("route add %s via %s", routedNet4, c.Addr(routerHost))}
	if dualStack() {
		lines = append(lines, fmt.Sprintf("route add %s via %s", routedNet6, c.Addr6(routerHost)))
	}
	for _, n := range nodeNames {
		if n == host {
			continue
		}
		pods4, pods6 := podNets(n)
		lines = append(lines, fmt.Sprintf("route add %s via %s", pods4, c.Addr(n)))
		if dualStack() {
			lines = append(lines, fmt.Sprintf("route add %s via %s", pods6, c.Addr6(n)))
		}
	}
	if host != controlHost {
		lines = append(lines, fmt.Sprintf("route add default via %s", c.Addr(controlHost)))
		if dualStack() {
			lines = append(lines, fmt.Sprintf("route add default via %s", c.Addr6(controlHost)))
		}
	}
	return lines
}

// PodGateways returns a node's own addresses in the networks of its pods; the IPv6
// one is the zero Addr on a machine without IPv6.
func (c *Cluster) PodGateways(node string) (v4, v6 netip.Addr) {
	pods4, pods6 := podNets(node)
	if dualStack() {
		v6 = pods6.Addr().Next()
	}
	return pods4.Addr().Next(), v6
}

// podNets returns the networks of a node's pods.
func podNets(node string) (v4, v6 netip.Prefix) {
	i := byte(slices.Index(nodeNames, node) + 1)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, i, 0}), 24),
		netip.MustParsePrefix(fmt.Sprintf("fd44:%d::/64", i))
}

// resetHost gives a host the network it has after a reboot: a new namespace, with
// none of the addresses, rules and connections of the old one.
func (c *Cluster) resetHost(ctx context.Context, host string) error {
	if err := ipBatch(ctx, c.namespace(switchHost), "link del "+host); err != nil {
		return err
	}
	if err := ipBatch(ctx, "", "netns del "+c.namespace(host)); err != nil {
		return err
	}
	return c.makeHost(ctx, host)
}

// removeNetwork removes the namespaces that are there.
func (c *Cluster) removeNetwork() error {
	var errs []error
	for _, host := range append([]string{switchHost, controlHost, clientHost, routerHost, routedHost}, nodeNames...) {
		if _, err := os.Lstat(c.NetNS(host)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := ipBatch(context.Background(), "", "netns del "+c.namespace(host)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sysctl sets kernel parameters (by path under /proc/sys) in a host's namespace.
func (c *Cluster) sysctl(host string, values map[string]string) error {
	return netns.Do(c.NetNS(host), func() error {
		for name, value := range values {
			if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0); err != nil {
				return fmt.Errorf("%s: set %s to %s: %w", host, name, value, err)
			}
		}
		return nil
	})
}

// dualStack reports whether this machine has IPv6.
func dualStack() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// ipBatch runs commands of ip(8), all in one process, in the named network
// namespace ("" for this program's).
func ipBatch(ctx context.Context, ns string, lines ...string) error {
	args := []string{"-batch", "-"}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s (%s): %w", strings.Join(args, " "), strings.Join(lines, "; "), exitText(err, out))
	}
	return nil
}
