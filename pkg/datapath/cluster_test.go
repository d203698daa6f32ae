package datapath_test

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
	"unsafe"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// The IPv4 addresses of a cluster. The ClusterIPs and their ports are those of
// testdata/kube-proxy.nft, as are the NodePorts and the hostPort.
const (
	clientIP    = "192.0.2.1"
	nodeIP      = "192.0.2.2"
	routerIP    = "192.0.2.3"
	farClientIP = "203.0.113.2"
	podIP       = "10.244.1.2"

	clusterIP      = "10.96.0.10" // 80 serves, 81 is closed in the pod, 82 has no endpoints.
	otherClusterIP = "10.96.0.11" // 80 is served by the same pod.
	localClusterIP = "10.96.0.12" // 80, without masquerade by kube-proxy.

	vip        = "192.0.2.100" // clusterIP, and localClusterIP behind port 90.
	vip2       = "192.0.2.101" // clusterIP again
	emptyVIP   = "192.0.2.102" // A Service that is missing.
	localVIP   = "192.0.2.103" // localClusterIP, which sees the client.
	plainVIP   = "192.0.2.104" // No Service at all.
	openVIP    = "192.0.2.105" // clusterIP, and whatever listens on the node.
	foreignVIP = "192.0.2.110" // clusterIP, held by nobody.

	ownNodePort   = ":30080" // Of clusterIP.
	otherNodePort = ":30081" // Of otherClusterIP.
	hostPort      = ":3000"  // Of the pod.
)

// ipVersion is one family of a cluster, of which everything is there twice.
type ipVersion struct {
	name string
	// of returns an address of the family, given the IPv4 one.
	of func(address string) string
}

var ipVersions = []ipVersion{
	{"IPv4", func(a string) string { return a }},
	{"IPv6", func(a string) string { return inIPv6.Replace(a) }},
}

// inIPv6 makes of the cluster's IPv4 addresses those of IPv6.
var inIPv6 = strings.NewReplacer("192.0.2.0/28", "2001:db8::/124", "203.0.113.2/32", "2001:db8:113::2/128", "192.0.2.", "2001:db8::", "203.0.113.", "2001:db8:113::",
	"10.244.0.0/16", "fd00:10:244::/48", "10.244.1.", "fd00:10:244:1::", "10.96.0.0/16", "fd10:96::/108", "10.96.0.", "fd10:96::")

// at returns an address of the family and a port, given ADDRESS:PORT of IPv4.
func (v ipVersion) at(addressPort string) string {
	host, port, err := net.SplitHostPort(addressPort)
	if err != nil {
		panic(err)
	}
	return net.JoinHostPort(v.of(host), port)
}

// The IPv6 addresses that are named.
const (
	clientIP6  = "2001:db8::1"
	nodeIP6    = "2001:db8::2"
	podIP6     = "fd00:10:244:1::2"
	clusterIP6 = "fd10:96::10"
	vip6       = "2001:db8::100"
	plainVIP6  = "2001:db8::104"
)

// cluster is a node with a pod and kube-proxy's rules, a client on the node's
// LAN, and another one behind a router with a narrow link.
//
//	client ---+--- node --- pod
//	          +--- router -- 1300 -- far client
type cluster struct {
	client, node, pod, far *netnstest.NS
}

// newCluster makes one of both families, with the rules of a file of testdata,
// of which what is to be replaced is replaced before, in pairs. With one of nft
// packets have checksums, otherwise hardware that there is not would add them.
func newCluster(t testing.TB, proxyRules string, replace ...string) *cluster {
	t.Helper()
	lan := netnstest.NewLAN(t, 3)
	router := lan.Hosts[2]
	c := &cluster{
		client: lan.Hosts[0],
		node:   lan.Hosts[1],
		pod:    netnstest.New(t, "pod"),
		far:    netnstest.New(t, "far"),
	}
	all := []*netnstest.NS{c.client, c.node, router, c.far, c.pod}
	for _, ns := range all {
		// A router asks for its neighbors from its link-local address, which
		// must be of use at once.
		ns.Sysctl("net.ipv6.conf.default.accept_dad", "0")
		ns.Sysctl("net.ipv6.conf.all.accept_dad", "0")
	}
	netnstest.Veth(c.node, "veth1", c.pod, "eth0")
	netnstest.Veth(router, "eth1", c.far, "eth0")
	router.Run("ip", "link", "set", "eth1", "mtu", "1300")
	address := func(ns *netnstest.NS, v ipVersion, address string, bits4, bits6 int, dev string) {
		bits := bits4
		if v.name == "IPv6" {
			bits = bits6
		}
		args := []string{"addr", "add", fmt.Sprintf("%s/%d", v.of(address), bits), "dev", dev}
		switch {
		case v.name == "IPv6" && bits == 128:
			args = append(args, "nodad", "noprefixroute", "preferred_lft", "0")
		case v.name == "IPv6":
			args = append(args, "nodad")
		case bits == 32:
			args = append(args, "scope", "link")
		}
		ns.Run("ip", args...)
	}
	for _, v := range ipVersions {
		if v.name == "IPv6" { // The LAN has IPv4 already.
			address(c.client, v, clientIP, 24, 64, "eth0")
			address(c.node, v, nodeIP, 24, 64, "eth0")
			address(router, v, routerIP, 24, 64, "eth0")
		}
		address(c.node, v, masqueraded, 24, 64, "veth1")
		address(c.pod, v, podIP, 24, 64, "eth0")
		address(router, v, "203.0.113.1", 24, 64, "eth1")
		address(c.far, v, farClientIP, 24, 64, "eth0")
		c.pod.Run("ip", "route", "add", "default", "via", v.of(masqueraded))
		c.far.Run("ip", "route", "add", "default", "via", v.of("203.0.113.1"))
		c.node.Run("ip", "route", "add", "default", "via", v.of(routerIP))
		c.client.Run("ip", "route", "add", v.of("10.96.0.0/16"), "via", v.of(nodeIP))
	}
	for _, ns := range []*netnstest.NS{router, c.node} {
		ns.Sysctl("net.ipv4.ip_forward", "1")
		ns.Sysctl("net.ipv6.conf.all.forwarding", "1")
	}
	// A redirect would take the place of the error that is looked for.
	c.node.Sysctl("net.ipv4.conf.all.send_redirects", "0")
	c.node.Sysctl("net.ipv4.conf.eth0.send_redirects", "0")
	sendAllErrors(c.node)
	sendAllErrors(c.pod)
	for _, ns := range all {
		for _, link := range []string{"all", "default", "eth0"} {
			ns.Sysctl("net.ipv4.conf."+link+".rp_filter", "1")
		}
	}
	for _, v := range ipVersions {
		for _, a := range []string{vip, vip2, emptyVIP, localVIP, plainVIP, openVIP} {
			address(c.node, v, a, 32, 128, "eth0")
		}
	}
	loadProxy(t, c.node, proxyRules, replace...)
	if strings.HasSuffix(proxyRules, ".nft") {
		for _, ns := range []*netnstest.NS{c.client, c.far, c.pod} {
			sendSums(t, ns, "eth0")
		}
	}
	for _, v := range ipVersions {
		serve(c.pod, v.at(podIP+":8080"))
		// What a datagram to an IPv6 address is answered with would come from
		// another one, if it listened on all.
		for _, a := range []string{nodeIP, vip, emptyVIP, plainVIP, openVIP} {
			serve(c.node, v.at(a+":22"))
		}
	}
	return c
}

// sendSums makes a link compute the checksums of what it sends. A virtual one
// leaves that to nobody, and then nothing tells whether they are kept right.
func sendSums(t testing.TB, ns *netnstest.NS, link string) {
	t.Helper()
	ns.Do(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		value := struct{ command, data uint32 }{command: 0x17} // ETHTOOL_STXCSUM
		request := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&value)}
		copy(request.name[:], link)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			t.Fatalf("switch off checksums of hardware: %v", errno)
		}
	})
}

// sendWithoutChecksum sends a datagram.
func sendWithoutChecksum(t *testing.T, ns *netnstest.NS, v ipVersion, address string) {
	t.Helper()
	network, level, option := "udp4", unix.SOL_SOCKET, unix.SO_NO_CHECK
	if v.name == "IPv6" {
		network, level, option = "udp6", unix.IPPROTO_UDP, 101 // UDP_NO_CHECK6_TX
	}
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var optErr error
		err := raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), level, option, 1) })
		return errors.Join(err, optErr)
	}}
	ns.Do(func() {
		c, err := d.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	})
}

// loadProxy loads a file of testdata, which is IPv4's, for both families.
func loadProxy(t testing.TB, node *netnstest.NS, file string, replace ...string) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	rules := strings.NewReplacer(replace...).Replace(string(b))
	if strings.HasSuffix(file, ".nft") {
		node.RunInput(rules, "nft", "-f", "-")
		rules = strings.NewReplacer("table ip ", "table ip6 ", "ipv4_addr", "ipv6_addr", "ip daddr", "ip6 daddr", "ip saddr", "ip6 saddr",
			"127.0.0.0/8", "::1", "dnat to 10.244.1.2:", "dnat to [10.244.1.2]:", "dnat to "+nodeIP+":", "dnat to ["+nodeIP+"]:").Replace(rules)
		node.RunInput(inIPv6.Replace(rules), "nft", "-f", "-")
		return
	}
	node.RunInput(rules, "iptables-nft-restore")
	rules = strings.NewReplacer("/32", "/128", "icmp-port", "icmp6-port", "10.244.1.2:", "[10.244.1.2]:").Replace(rules)
	node.RunInput(inIPv6.Replace(rules), "ip6tables-nft-restore")
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

// forwards are what the ConfigMap of the tests asks for, of both families. The
// NodePorts that a VIP's Service has are given to the first VIP alone.
func forwards() []desired.Forward {
	var all []desired.Forward
	for _, v := range ipVersions {
		f := lead(v, vip, clusterIP, "80:80", "81:81", "82:82", "8080:80", "8081:81", "8082:82", "8090:80")
		f.Ports = append(f.Ports, lead(v, vip, nodeIP, "30080:30080").Ports...)
		f.Ports = append(f.Ports, lead(v, vip, localClusterIP, "90:80").Ports...)
		local := lead(v, localVIP, localClusterIP, "80:80", "8080:80")
		for i := range local.Ports {
			local.Ports[i].KeepSource = true
		}
		open := lead(v, openVIP, clusterIP, "80:80")
		open.Open = true
		all = append(all, f,
			lead(v, vip2, clusterIP, "80:80", "81:81", "82:82", "8080:80"),
			lead(v, emptyVIP, ""),
			local,
			open,
			lead(v, foreignVIP, clusterIP, "80:80", "8080:80"),
		)
	}
	return all
}

// lead leads ports, PORT:TARGETPORT, to an address, with TCP and UDP.
func lead(v ipVersion, vip, target string, ports ...string) desired.Forward {
	f := desired.Forward{VIP: netip.MustParseAddr(v.of(vip))}
	for _, protocol := range []desired.Protocol{desired.TCP, desired.UDP} {
		for _, port := range ports {
			from, to, _ := strings.Cut(port, ":")
			number, err := strconv.ParseUint(from, 10, 16)
			if err != nil {
				panic(err)
			}
			f.Ports = append(f.Ports, desired.Port{Protocol: protocol, Port: uint16(number), Target: netip.MustParseAddrPort(v.at(target + ":" + to))})
		}
	}
	return f
}

// forward leads ports to the same ports of an IPv4 address.
func forward(vip, target string, ports ...uint16) desired.Forward {
	var all []string
	for _, p := range ports {
		all = append(all, fmt.Sprintf("%d:%d", p, p))
	}
	return lead(ipVersions[0], vip, target, all...)
}

// sync lets a Datapath write the node's table.
func (c *cluster) sync(t testing.TB, d *datapath.Rules, forwards []desired.Forward) {
	t.Helper()
	c.node.Do(func() {
		if err := d.Sync(desired.Datapath{Forwards: forwards, PodCIDRs: podCIDRs()}); err != nil {
			t.Fatal(err)
		}
	})
}

// podCIDRs are the networks of the node's pods.
func podCIDRs() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10:244:1::/64")}
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
	if err := acknowledge(c); err != nil {
		return netip.AddrPort{}, err
	}
	from, echo, ok := strings.Cut(strings.TrimPrefix(string(b[:n]), "you are "), ": ")
	if !ok || strings.TrimSpace(echo) != strings.TrimSpace(line) {
		return netip.AddrPort{}, fmt.Errorf("said %q, got %q", line, b[:n])
	}
	return netip.ParseAddrPort(from)
}

// acknowledge sends at once what TCP would send up to 40 ms later, maybe while a
// test has taken rules away.
func acknowledge(c net.Conn) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	})
	return errors.Join(err, optErr)
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
	// Type, code 0, checksum, identifier 1, sequence number 1. The kernel
	// computes the checksum of ICMPv6.
	network, request, reply := "ip4:icmp", []byte{8, 0, 0xf7, 0xfd, 0, 1, 0, 1}, byte(0)
	if netip.MustParseAddr(address).Is6() {
		network, request, reply = "ip6:ipv6-icmp", []byte{128, 0, 0, 0, 0, 1, 0, 1}, 129
	}
	var c *net.IPConn
	var err error
	ns.Do(func() { c, err = net.DialIP(network, nil, &net.IPAddr{IP: net.ParseIP(address)}) })
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(request); err != nil {
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
		if n >= 8 && b[0] == reply {
			return nil
		}
	}
}
