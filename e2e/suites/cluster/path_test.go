package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
	"kube-vrrp-vip/pkg/netns"
)

// TestClusterPaths is what is hard about a packet's way to a VIP and back.
func TestClusterPaths(t *testing.T) {
	t.Parallel()
	checkPaths(t, &nftables, "nftables")
}

// TestClusterPathsIPTables is TestClusterPaths where kube-proxy writes iptables.
func TestClusterPathsIPTables(t *testing.T) {
	t.Parallel()
	checkPaths(t, &iptables, "iptables")
}

// The last bytes of the VIPs.
const (
	vipEmpty = 230
	vipTwin  = 231 // and the next one
	vipOwn   = 221 // of the Service on n1, and the next ones
)

func checkPaths(t *testing.T, f *fixture, mode string) {
	s, _ := install(t, f)
	config, vips := map[string]string{}, []netip.Addr{}
	for _, family := range families(s) {
		for last, service := range map[int]string{
			vipEmpty: "empty", vipTwin: "all", vipTwin + 1: "all",
			vipOwn: "on-n1", vipOwn + 1: "on-n2", vipOwn + 2: "on-n3",
		} {
			vip := vipOf(family, last)
			config[entryKey(vip)] = "e2e/" + service
			vips = append(vips, vip)
		}
	}
	serve(t, s, config, vips)
	liftLimits(t, s)
	for _, service := range []string{"all", "on-n1", "on-n2", "on-n3"} {
		if err := s.EchoSettled(t.Context(), service); err != nil {
			t.Fatal(err)
		}
	}
	for _, family := range families(s) {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			for i := range s.Nodes() {
				written(t, s, []netip.Addr{vipOf(family, vipOwn+i)})
			}
			t.Run("narrow link", func(t *testing.T) { checkNarrowLink(t, s, family) })
			t.Run("no endpoint", func(t *testing.T) { checkNoEndpoint(t, s, vipOf(family, vipEmpty)) })
			t.Run("hairpin", func(t *testing.T) { checkHairpin(t, s, family) })
			t.Run("large datagrams", func(t *testing.T) { checkLargeDatagrams(t, s, vipOf(family, vipTwin)) })
			t.Run("same client port", func(t *testing.T) { checkSamePort(t, s, family) })
		})
	}
	t.Run("UDP endpoint gone", func(t *testing.T) { checkEndpointGone(t, s, mode) })
}

// checkNarrowLink downloads by a client behind a link that the servers' packets do not
// fit through, from an endpoint on each node.
func checkNarrowLink(t *testing.T, s *scenario.Site, family int) {
	const size = 1 << 20
	tooBig := func() int {
		t.Helper()
		n, err := sentTooBig(s.NetNS("router"), family)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var took []time.Duration
	for i, n := range s.Nodes() {
		// What it has learned of the way, it knows for ten minutes.
		forget(t, s, n)
		before, began := tooBig(), time.Now()
		target := netip.AddrPortFrom(vipOf(family, vipOwn+i), 80)
		if err := download(t.Context(), s.NetNS("routed"), target, size); err != nil {
			t.Errorf("from %s: %v", n, err)
		}
		took = append(took, time.Since(began))
		if tooBig() == before {
			t.Errorf("from %s: the router has not complained: the link was wide enough", n)
		}
	}
	measuredAll(t, fmt.Sprintf("narrow_link_1mib_ipv%d_ms", family), took, 500*time.Millisecond)
}

// forget makes a node and its pod of Echo forget the MTU of every path.
func forget(t *testing.T, s *scenario.Site, node string) {
	t.Helper()
	pod, err := s.EchoPodNetNS(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pod, s.NetNS(node)} {
		for _, family := range []string{"-4", "-6"} {
			cmd := exec.CommandContext(t.Context(), "ip", family, "route", "flush", "cache")
			if err := netns.Do(path, cmd.Run); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// sentTooBig returns how many ICMP errors a host has sent about packets that it could
// not forward.
func sentTooBig(path string, family int) (n int, err error) {
	err = netns.Do(path, func() error {
		if family == 6 {
			b, err := os.ReadFile("/proc/thread-self/net/snmp6")
			if err != nil {
				return err
			}
			_, rest, _ := strings.Cut(string(b), "Icmp6OutPktTooBigs")
			if fields := strings.Fields(rest); len(fields) > 0 {
				n, err = strconv.Atoi(fields[0])
				return err
			}
			return errors.New("no counter Icmp6OutPktTooBigs")
		}
		b, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		// A line of names, and one of numbers.
		var names []string
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if f[0] != "Icmp:" {
				continue
			}
			for i, name := range names {
				if name == "OutDestUnreachs" {
					n, err = strconv.Atoi(f[i])
					return err
				}
			}
			names = f
		}
		return errors.New("no counter OutDestUnreachs")
	})
	return n, err
}

// download gets that many bytes from a target.
func download(ctx context.Context, path string, target netip.AddrPort, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return netns.Dial(ctx, path, network, addr)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/bytes/%d", target, size), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && n != size {
		err = fmt.Errorf("%s", resp.Status)
	}
	if err != nil {
		err = fmt.Errorf("%d bytes of %s: %w", n, target, err)
	}
	return err
}

// liftLimits lets the kernels of the nodes send an ICMP error for every reason, until
// the test ends, instead of one a second to each host.
func liftLimits(t *testing.T, s *scenario.Site) {
	t.Helper()
	for _, n := range s.Nodes() {
		for _, key := range []string{"net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"} {
			set := func(value string) error {
				return netns.Do(s.NetNS(n), func() error {
					return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0)
				})
			}
			if strings.Contains(key, "ipv6") && !s.Addr6(n).IsValid() {
				continue
			}
			if err := set("0"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := set("1000"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// checkNoEndpoint asks a Service that has none: kube-proxy refuses, and every client
// knows as soon as it does at the ClusterIP.
func checkNoEndpoint(t *testing.T, s *scenario.Site, vip netip.Addr) {
	fromEverywhere(t, s, func(c scenario.Client) error {
		var errs []error
		for protocol, port := range portOf {
			most := refusal
			if protocol == "TCP" && vip.Is6() {
				// Between namespaces the ICMPv6 error comes before connect has let go of
				// the socket. The kernel then waits for the one about the next packet.
				most = 1900 * time.Millisecond
			}
			err := refusedWithin(most, func() (string, error) {
				body, err := askPort(t.Context(), c.NetNS, protocol, netip.AddrPortFrom(vip, port))
				if c.Node != "" && !c.IsPod && errors.Is(err, syscall.EPERM) {
					// Kube-proxy's refusal of what the node itself sends, at a ClusterIP too.
					err = syscall.ECONNREFUSED
				}
				return body, err
			})
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", protocol, err))
			}
		}
		return errors.Join(errs...)
	})
}

func clients(t *testing.T, s *scenario.Site) (cs []scenario.Client) {
	t.Helper()
	eventually(t, "clients", func(ctx context.Context) (err error) {
		cs, err = s.Clients(ctx)
		return err
	})
	return cs
}

// checkHairpin has each pod use the VIP of a Service that it is the only endpoint of.
func checkHairpin(t *testing.T, s *scenario.Site, family int) {
	for i, n := range s.Nodes() {
		path, err := s.EchoPodNetNS(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		for protocol := range portOf {
			body, err := ask(t.Context(), path, protocol, vipOf(family, vipOwn+i))
			if err != nil || probe.Field(body, "node") != n {
				t.Errorf("pod on %s to itself over %s: %q, %v", n, protocol, body, err)
			}
		}
	}
}

// checkLargeDatagrams asks with datagrams of several packets, and is answered with such.
//
// Two clients are left out over IPv6: the one behind the narrow link, which gets no
// answer of the ClusterIP either; and the node itself. What that gets in fragments has
// its checksum counted by the kernel, which does not count right when nftables then
// writes an IPv6 address: it is dropped.
func checkLargeDatagrams(t *testing.T, s *scenario.Site, vip netip.Addr) {
	question := strings.Repeat("who? ", 800)
	fromEverywhere(t, s, func(c scenario.Client) error {
		if vip.Is6() && (c.Name == "routed" || c.Node != "" && !c.IsPod) {
			return nil
		}
		var err error
		// The first ones may be lost to the search for the path's MTU, one for each pod.
		for range 6 {
			var body string
			body, err = probe.UDP(t.Context(), c.NetNS, netip.AddrPortFrom(vip, portOf["UDP"]), question)
			if err == nil && probe.Field(body, "node") == "" {
				err = fmt.Errorf("%q", body)
			}
			if err == nil {
				break
			}
		}
		return err
	})
}

// checkSamePort uses two VIPs of one Service, and the Service itself where it is
// known, all at the same time and from the same port.
func checkSamePort(t *testing.T, s *scenario.Site, family int) {
	ips, err := s.ClusterIPs(t.Context(), scenario.EchoNamespace, "all")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range clients(t, s) {
		targets := []netip.Addr{vipOf(family, vipTwin), vipOf(family, vipTwin+1)}
		for _, ip := range ips {
			if c.Node != "" && ip.Is4() == targets[0].Is4() {
				targets = append(targets, ip)
			}
		}
		t.Run(strings.ReplaceAll(c.Name, " ", "_"), func(t *testing.T) {
			for protocol, port := range portOf {
				var conns []net.Conn
				for _, target := range targets {
					conn, err := dialFrom(t.Context(), c.NetNS, protocol, uint16(21000+i), netip.AddrPortFrom(target, port))
					if err != nil {
						t.Fatalf("%s to %s: %v", protocol, target, err)
					}
					defer conn.Close()
					conns = append(conns, conn)
				}
				for range 3 {
					for i, conn := range conns {
						body, err := exchange(conn)
						if err != nil || probe.Field(body, "node") == "" {
							t.Errorf("%s to %s: %q, %v", protocol, targets[i], body, err)
						}
					}
				}
			}
		})
	}
}

// dialFrom connects from the namespace at path and a given port, which other
// connections may have too. The kernel gives out those from 32768 by itself.
func dialFrom(ctx context.Context, path, protocol string, port uint16, target netip.AddrPort) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, probe.Timeout)
	defer cancel()
	d := net.Dialer{
		LocalAddr: &net.TCPAddr{Port: int(port)},
		Control: func(_, _ string, c syscall.RawConn) error {
			var set error
			err := c.Control(func(fd uintptr) {
				set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			})
			return errors.Join(err, set)
		},
	}
	if protocol == "UDP" {
		d.LocalAddr = &net.UDPAddr{Port: int(port)}
	}
	err = netns.Do(path, func() error {
		conn, err = d.DialContext(ctx, strings.ToLower(protocol), target.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	if c, ok := conn.(*net.TCPConn); ok {
		// Closing leaves nothing behind that has the port.
		if err := c.SetLinger(0); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return conn, nil
}

// exchange asks once on an open connection, over TCP by HTTP.
func exchange(conn net.Conn) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(probe.Timeout)); err != nil {
		return "", err
	}
	if _, ok := conn.(*net.UDPConn); ok {
		if _, err := conn.Write([]byte("who?")); err != nil {
			return "", err
		}
		buf := make([]byte, 2048)
		n, err := conn.Read(buf)
		return strings.TrimSpace(string(buf[:n])), err
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: echo\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(body)), err
}

// checkEndpointGone deletes a pod that UDP clients talk to, each from a port that does
// not change: they are to talk to another one soon, as at the Service itself.
func checkEndpointGone(t *testing.T, s *scenario.Site, mode string) {
	const service, target = "all", 2 * time.Second
	ips, err := s.ClusterIPs(t.Context(), scenario.EchoNamespace, service)
	if err != nil {
		t.Fatal(err)
	}
	pods, err := s.Pods(t.Context(), scenario.EchoNamespace, "app=echo,node=n2")
	if err != nil || len(pods) != 1 {
		t.Fatalf("pods on n2: %+v, %v", pods, err)
	}
	pod := pods[0].Name
	type flow struct {
		name string
		conn net.Conn
		at   string
		took time.Duration
	}
	var flows []*flow
	open := func(c scenario.Client, at string, ip netip.Addr) {
		t.Helper()
		// Kube-proxy chooses the pod at random.
		for port := uint16(22000); port < 22100; port++ {
			conn, err := dialFrom(t.Context(), c.NetNS, "UDP", port, netip.AddrPortFrom(ip, portOf["UDP"]))
			if err != nil {
				t.Fatal(err)
			}
			if body, err := exchange(conn); err == nil && probe.Field(body, "host") == pod {
				t.Cleanup(func() { conn.Close() })
				flows = append(flows, &flow{name: fmt.Sprintf("%s to %s %s", c.Name, at, ip), conn: conn, at: at})
				return
			}
			conn.Close()
		}
		t.Errorf("%s to %s %s: never answered by %s", c.Name, at, ip, pod)
	}
	for _, c := range clients(t, s) {
		for _, family := range families(s) {
			open(c, "vip", vipOf(family, vipTwin))
		}
		for _, ip := range ips {
			if c.Node != "" {
				open(c, "clusterip", ip)
			}
		}
	}

	began := time.Now()
	if _, err := s.Kubectl(t.Context(), "", "--namespace="+scenario.EchoNamespace, "delete", "pod", pod, "--wait=false"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() { f.took = movedOn(f.conn, pod, began) })
	}
	wg.Wait()
	took := map[string][]time.Duration{}
	for _, f := range flows {
		took[f.at] = append(took[f.at], f.took)
		if f.took > target {
			t.Logf("%s: another pod answers after %s", f.name, f.took)
		}
	}
	for at, values := range took {
		measuredAll(t, fmt.Sprintf("udp_endpoint_gone_%s_%s_ms", at, mode), values, target)
	}
	if err := s.EchoSettled(t.Context(), service); err != nil {
		t.Error(err)
	}
}

// movedOn asks until another pod than this one answers, and returns when that was.
func movedOn(conn net.Conn, pod string, began time.Time) time.Duration {
	buf := make([]byte, 2048)
	for time.Since(began) < 2*scenario.Bound(2*time.Second) {
		// Of both: exchange has set one for writing, too.
		_ = conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
		// An error is news of a former packet's fate.
		_, _ = conn.Write([]byte("who?"))
		n, err := conn.Read(buf)
		if host := probe.Field(string(buf[:n]), "host"); err == nil && host != pod {
			break
		}
	}
	return time.Since(began)
}
