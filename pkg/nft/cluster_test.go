package nft_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/netnstest"
	"kube-vrrp-vip/pkg/nft"
)

// The addresses of a cluster. The ClusterIPs and their ports are those of
// testdata/kube-proxy.nft, as are the NodePorts and the hostPort.
const (
	clientIP    = "192.0.2.1"
	nodeIP      = "192.0.2.2"
	routerIP    = "192.0.2.3"
	farClientIP = "203.0.113.2"
	podIP       = "10.244.1.2"

	clusterIP      = "10.96.0.10" // 80 serves, 81 is closed in the pod, 82 has no endpoints.
	otherClusterIP = "10.96.0.11" // 80 is served by the same pod.
	localClusterIP = "10.96.0.12" // 80, without masquerade.

	vip        = "192.0.2.100" // clusterIP
	vip2       = "192.0.2.101" // clusterIP again
	emptyVIP   = "192.0.2.102" // A Service that is missing.
	localVIP   = "192.0.2.103" // localClusterIP
	plainVIP   = "192.0.2.104" // No Service at all.
	foreignVIP = "192.0.2.110" // clusterIP, held by nobody.

	ownNodePort   = ":30080" // Of clusterIP.
	otherNodePort = ":30081" // Of otherClusterIP.
	hostPort      = ":3000"  // Of the pod.
)

// cluster is a node with a pod and kube-proxy's rules, a client on the node's
// LAN, and another one behind a router with a narrow link.
//
//	client ---+--- node --- pod
//	          +--- router -- 1300 -- far client
type cluster struct {
	client, node, pod, far *netnstest.NS
}

func newCluster(t testing.TB, proxyRules string) *cluster {
	t.Helper()
	lan := netnstest.NewLAN(t, 3)
	router := lan.Hosts[2]
	c := &cluster{
		client: lan.Hosts[0],
		node:   lan.Hosts[1],
		pod:    netnstest.New(t, "pod"),
		far:    netnstest.New(t, "far"),
	}
	netnstest.Veth(c.node, "veth1", c.pod, "eth0")
	c.node.Run("ip", "addr", "add", "10.244.1.1/24", "dev", "veth1")
	c.pod.Run("ip", "addr", "add", podIP+"/24", "dev", "eth0")
	c.pod.Run("ip", "route", "add", "default", "via", "10.244.1.1")
	netnstest.Veth(router, "eth1", c.far, "eth0")
	router.Run("ip", "link", "set", "eth1", "mtu", "1300")
	router.Run("ip", "addr", "add", "203.0.113.1/24", "dev", "eth1")
	router.Sysctl("net.ipv4.ip_forward", "1")
	c.far.Run("ip", "addr", "add", farClientIP+"/24", "dev", "eth0")
	c.far.Run("ip", "route", "add", "default", "via", "203.0.113.1")
	c.node.Run("ip", "route", "add", "default", "via", routerIP)
	c.client.Run("ip", "route", "add", "10.96.0.0/16", "via", nodeIP)

	c.node.Sysctl("net.ipv4.ip_forward", "1")
	// A redirect would take the place of the error that is looked for.
	c.node.Sysctl("net.ipv4.conf.all.send_redirects", "0")
	c.node.Sysctl("net.ipv4.conf.eth0.send_redirects", "0")
	sendAllErrors(c.node)
	for _, ns := range []*netnstest.NS{c.client, c.node, router, c.far} {
		ns.Sysctl("net.ipv4.conf.all.rp_filter", "1")
	}
	for _, a := range []string{vip, vip2, emptyVIP, localVIP, plainVIP} {
		c.node.Run("ip", "addr", "add", a+"/32", "dev", "eth0", "scope", "link")
	}
	rules, err := os.ReadFile("testdata/" + proxyRules)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(proxyRules, ".nft") {
		c.node.RunInput(string(rules), "nft", "-f", "-")
	} else {
		c.node.RunInput(string(rules), "iptables-nft-restore")
	}
	serve(c.pod, podIP+":8080")
	serve(c.node, "0.0.0.0:22")
	return c
}

// sendAllErrors lifts the limits on ICMP errors: 50 at once and 1000 a second in
// all, and so many to one host.
func sendAllErrors(ns *netnstest.NS) {
	ns.Sysctl("net.ipv4.icmp_ratelimit", "0")
	ns.Sysctl("net.ipv6.icmp.ratelimit", "0")
	// Older kernels have these for the machine only: there they stay.
	for _, key := range []string{"icmp_msgs_per_sec", "icmp_msgs_burst"} {
		_, _ = ns.Try("sh", "-c", "echo 100000 >/proc/sys/net/ipv4/"+key)
	}
}

// forwards are what the ConfigMap of the tests asks for. The NodePorts that a
// VIP's Service has are given to the first VIP alone.
func forwards() []desired.Forward {
	withNodePorts := forward(vip, clusterIP, 80, 81, 82)
	withNodePorts.NodePorts = []desired.NodePort{{Protocol: desired.TCP, Port: 30080}, {Protocol: desired.UDP, Port: 30080}}
	return []desired.Forward{
		withNodePorts,
		forward(vip2, clusterIP, 80, 81, 82),
		forward(emptyVIP, ""),
		forward(localVIP, localClusterIP, 80),
		forward(foreignVIP, clusterIP, 80),
	}
}

// forward sends ports to a ClusterIP, with TCP and UDP.
func forward(vip, target string, ports ...uint16) desired.Forward {
	f := desired.Forward{VIP: netip.MustParseAddr(vip)}
	for _, protocol := range []desired.Protocol{desired.TCP, desired.UDP} {
		for _, port := range ports {
			f.Ports = append(f.Ports, desired.Port{Protocol: protocol, Port: port, Target: netip.AddrPortFrom(netip.MustParseAddr(target), port)})
		}
	}
	return f
}

// sync lets a Datapath write the node's table.
func (c *cluster) sync(t testing.TB, d *nft.Datapath, forwards []desired.Forward) {
	t.Helper()
	c.node.Do(func() {
		if err := d.Sync(desired.Datapath{Forwards: forwards}); err != nil {
			t.Fatal(err)
		}
	})
}

// serve answers on TCP and UDP. A number in a line of its own is answered by
// that many bytes, any other line or datagram by "you are ADDRESS: " and
// itself.
func serve(ns *netnstest.NS, address string) {
	l := ns.Listen("tcp", address)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	p := ns.ListenPacket("udp", address)
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(append([]byte("you are "+from.String()+": "), b[:n]...), from)
		}
	}()
}

func answer(c net.Conn) {
	defer c.Close()
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if n, err := strconv.Atoi(lines.Text()); err == nil {
			_, _ = c.Write(bytes.Repeat([]byte{'x'}, n))
			continue
		}
		fmt.Fprintf(c, "you are %s: %s\n", c.RemoteAddr(), lines.Text())
	}
}

// patience is how long something that ought to be quick may take.
const patience = 5 * time.Second

// dial connects from a local port, 0 for any, of which several connections
// may share one.
func dial(ns *netnstest.NS, network string, localPort int, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var optErr error
		err := raw.Control(func(fd uintptr) {
			optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		})
		return errors.Join(err, optErr)
	}}
	if network == "tcp" {
		d.LocalAddr = &net.TCPAddr{Port: localPort}
	} else {
		d.LocalAddr = &net.UDPAddr{Port: localPort}
	}
	var c net.Conn
	var err error
	ns.Do(func() { c, err = d.DialContext(ctx, network, address) })
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(patience))
}

// say sends a line and returns whom the server took the client for.
func say(c net.Conn, line string) (netip.AddrPort, error) {
	if _, err := c.Write([]byte(line)); err != nil {
		return netip.AddrPort{}, err
	}
	b := make([]byte, 1<<16)
	n, err := c.Read(b)
	if err != nil {
		return netip.AddrPort{}, err
	}
	from, echo, ok := strings.Cut(strings.TrimPrefix(string(b[:n]), "you are "), ": ")
	if !ok || strings.TrimSpace(echo) != strings.TrimSpace(line) {
		return netip.AddrPort{}, fmt.Errorf("said %q, got %q", line, b[:n])
	}
	return netip.ParseAddrPort(from)
}

// greet connects, says hello and returns whom the server took the client for.
func greet(ns *netnstest.NS, network, address string) (netip.Addr, error) {
	c, err := dial(ns, network, 0, address)
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	from, err := say(c, "hello\n")
	return from.Addr(), err
}

// download fetches bytes over TCP and returns how many came.
func download(ns *netnstest.NS, address string, bytes int64) (int64, error) {
	c, err := dial(ns, "tcp", 0, address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	fmt.Fprintf(c, "%d\n", bytes)
	return io.CopyN(io.Discard, c, bytes)
}

// refused tells that a server refused a connection, or a datagram.
func refused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// ping sends an ICMP echo request and waits for the reply.
func ping(ns *netnstest.NS, address string) error {
	var c *net.IPConn
	var err error
	ns.Do(func() { c, err = net.DialIP("ip4:icmp", nil, &net.IPAddr{IP: net.ParseIP(address)}) })
	if err != nil {
		return err
	}
	defer c.Close()
	// Type 8, code 0, checksum, identifier 1, sequence number 1.
	if _, err := c.Write([]byte{8, 0, 0xf7, 0xfd, 0, 1, 0, 1}); err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	b := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		if n >= 8 && b[0] == 0 {
			return nil
		}
	}
}
