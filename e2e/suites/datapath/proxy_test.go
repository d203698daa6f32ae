package datapath

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/pkg/netns"
)

// The VIPs of each kind of header, of IPv4 and of IPv6.
var (
	proxiedV1 = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.101:443"), netip.MustParseAddrPort("[2001:db8::101]:443")}
	proxiedV2 = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.102:443"), netip.MustParseAddrPort("[2001:db8::102]:443")}
	none      = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.103:443"), netip.MustParseAddrPort("[2001:db8::103]:443")}
	closed    = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.104:443"), netip.MustParseAddrPort("[2001:db8::104]:443")}
)

// proxied is the ConfigMap that names them. A short entry has one address.
func proxied() map[string]string {
	return map[string]string{
		proxiedV1[0].Addr().String(): "default/web:PROXY",
		proxiedV1[1].Addr().String(): "default/web:PROXY",
		"v2":                         `{addresses: [192.0.2.102, "2001:db8::102"], services: [{name: default/web}], proxyProtocol: v2}`,
		"none":                       `{addresses: [192.0.2.103, "2001:db8::103"], services: [{name: default/none}], proxyProtocol: v2}`,
		"closed":                     `{addresses: [192.0.2.104, "2001:db8::104"], services: [{name: default/closed}], proxyProtocol: v1}`,
	}
}

// TestNetnsProxy: connections to VIPs whose backends are told who the client is,
// on a node where a program listens on the same port of all addresses.
func TestNetnsProxy(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.SetConfigMap(proxied())
	n.start()
	for version, vips := range map[int][]netip.AddrPort{1: proxiedV1, 2: proxiedV2} {
		for _, vip := range vips {
			n.private(vip)
			n.checkGreeting(version, vip)
			n.checkTransfer(vip)
			n.checkHalfClose(vip)
			n.checkReset(vip)
		}
	}
	n.checkRefused()
	n.checkPrivate()

	counted := map[string]uint64{}
	for _, p := range n.status().Datapath.Proxy {
		for result, count := range p.Ended {
			counted[result] += count
		}
		if p.VIP == none[0] && p.Ended["unreachable"] != 1 {
			t.Errorf("the status of a Service without endpoints: %+v", p)
		}
	}
	if counted["reset"] != 4 || counted["unreachable"] != 4 {
		t.Errorf("the status counts %v, want 4 that were reset and 4 unreachable", counted)
	}
	metrics, err := n.daemon.Metrics(t.Context())
	n.check(err)
	for _, want := range []string{
		`kube_vrrp_vip_proxy_connections_total{port="443",result="unreachable",vip="2001:db8::103"} 1`,
		`kube_vrrp_vip_proxy_connections_total{port="443",result="reset",vip="192.0.2.102"} 1`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the metrics do not have %s", want)
		}
	}
}

// checkGreeting checks that the backend is told the client's address and the VIP's.
func (n *node) checkGreeting(version int, vip netip.AddrPort) {
	n.t.Helper()
	c := n.connect(vip, echoes)
	n.check(c.CloseWrite())
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		n.t.Errorf("%s: got %q, %v", vip, got, err)
	}
	want := greeting{version, client(c), vip}
	if told, ok := n.told.of(client(c)); !ok || told != want {
		n.t.Errorf("%s: the backend was told %v, want %v", vip, told, want)
	}
}

// checkTransfer checks that 8 MiB arrive both ways at the same time.
func (n *node) checkTransfer(vip netip.AddrPort) {
	n.t.Helper()
	content := random()
	c := n.connect(vip, echoes)
	var writing sync.WaitGroup
	writing.Go(func() {
		if _, err := c.Write(content); err != nil {
			n.t.Errorf("%s: write: %v", vip, err)
		}
		_ = c.CloseWrite()
	})
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, content) {
		n.t.Errorf("%s: %d of %d bytes came back, %v", vip, len(got), len(content), err)
	}
	writing.Wait()
}

// checkHalfClose checks that the answer comes after the client has closed its side.
func (n *node) checkHalfClose(vip netip.AddrPort) {
	n.t.Helper()
	content := random()
	c := n.connect(vip, counts)
	_, err := c.Write(content)
	n.check(err)
	n.check(c.CloseWrite())
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, content) {
		n.t.Errorf("%s: %d of %d bytes came back, %v", vip, len(got), len(content), err)
	}
}

// checkReset checks that a reset by the backend reaches the client.
func (n *node) checkReset(vip netip.AddrPort) {
	n.t.Helper()
	c := n.connect(vip, breaks)
	if got, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		n.t.Errorf("%s: %d bytes, %v; want a reset", vip, got, err)
	}
}

// TestNetnsProxyPorts: more connections than the node has ports for, which the client
// ends first, one after the other. Each is a new one to conntrack and to kube-proxy.
func TestNetnsProxyPorts(t *testing.T) {
	t.Parallel()
	const connections = 300
	n := newNode(t)
	n.check(n.host.Sysctl("net/ipv4/ip_local_port_range=40000 40099"))
	n.SetConfigMap(proxied())
	n.start()
	for version, vip := range map[int]netip.AddrPort{1: proxiedV1[0], 2: proxiedV2[1]} {
		n.private(vip)
		for range connections {
			n.checkGreeting(version, vip)
		}
		n.eventually("all have ended", func() error {
			for _, p := range n.status().Datapath.Proxy {
				if p.VIP == vip && (len(p.Ended) != 1 || p.Ended["closed"] != connections) {
					return fmt.Errorf("%+v", p)
				}
			}
			return nil
		})
	}
}

func client(c *net.TCPConn) netip.AddrPort { return c.LocalAddr().(*net.TCPAddr).AddrPort() }

func random() []byte {
	content := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	return content
}

// checkRefused checks that a Service without an endpoint, or with one that refuses, is
// a reset for the client, at once.
func (n *node) checkRefused() {
	n.t.Helper()
	for _, vip := range slices.Concat(none, closed) {
		n.private(vip)
		began := time.Now()
		n.check(n.refused(n.Client.Namespace, vip))
		if took := time.Since(began); took > 5*time.Second {
			n.t.Errorf("%s: reset after %v", vip, took)
		}
	}
}

// checkPrivate checks that the private listeners are reached by the VIPs alone, also by
// the node's own processes.
func (n *node) checkPrivate() {
	n.t.Helper()
	for _, vip := range slices.Concat(proxiedV1, proxiedV2) {
		private := n.private(vip)
		for _, from := range []*netns.Namespace{n.Client.Namespace, n.host.Namespace, n.pod} {
			n.check(n.refused(from, private))
		}
		c, err := n.dial(n.host.Namespace, vip)
		n.check(err)
		n.echo(c)
		if told, ok := n.told.of(client(c)); !ok || told.destination != vip {
			n.t.Errorf("the backend was told %v of a process of the node at %s", told, client(c))
		}
	}
}

// echo has a byte echoed.
func (n *node) echo(c *net.TCPConn) {
	n.t.Helper()
	_, err := c.Write([]byte{echoes, 'x'})
	n.check(err)
	got := make([]byte, 1)
	if _, err := io.ReadFull(c, got); err != nil || got[0] != 'x' {
		n.t.Fatalf("%s echoed %q, %v", c.RemoteAddr(), got, err)
	}
}

// served reports whether a VIP leads to the backend, and what that was told.
func (n *node) served(vip netip.AddrPort) (greeting, error) {
	c, err := n.dial(n.Client.Namespace, vip)
	if err != nil {
		return greeting{}, err
	}
	defer c.Close()
	if _, err := c.Write([]byte{echoes, 'x'}); err != nil {
		return greeting{}, err
	}
	got := make([]byte, 1)
	if _, err := io.ReadFull(c, got); err != nil || got[0] != 'x' {
		return greeting{}, fmt.Errorf("%s said %q, %w", vip, got, err)
	}
	told, _ := n.told.of(client(c))
	return told, nil
}

// TestNetnsProxyRestart: the end of the daemon is a reset for those that are
// connected, however it ends; new ones are refused until it is there again.
func TestNetnsProxyRestart(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.SetConfigMap(proxied())
	n.start()
	for _, how := range []string{"killed", "terminated"} {
		before := map[netip.AddrPort]netip.AddrPort{}
		var open []*net.TCPConn
		for _, vip := range slices.Concat(proxiedV1, proxiedV2) {
			before[vip] = n.private(vip)
			c, err := n.dial(n.Client.Namespace, vip)
			n.check(err)
			n.echo(c)
			open = append(open, c)
		}
		began := time.Now()
		if how == "killed" {
			n.daemon.Kill()
		} else {
			n.check(n.daemon.Terminate())
			// The pod has 15 s.
			took := time.Since(began)
			t.Logf("measured: proxy_drain=%.1fs target=15s", took.Seconds())
			if took > 15*time.Second {
				t.Errorf("terminated within %v", took)
			}
		}
		for _, c := range open {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: open to %s: %v, want a reset", how, c.RemoteAddr(), err)
			}
		}
		// The node still has the VIPs: they outlive a daemon that is killed, but for
		// too short a time for a test.
		for vip := range before {
			n.hold(vip.Addr())
			n.check(n.refused(n.Client.Namespace, vip))
			n.check(n.refused(n.host.Namespace, vip))
		}

		n.start()
		for vip, private := range before {
			if n.private(vip) == private {
				t.Errorf("%s: %s is still at %s: the test tells nothing", how, vip, private)
			}
			n.eventually(vip.String()+" serves again", func() error {
				told, err := n.served(vip)
				if err == nil && told.destination != vip {
					err = fmt.Errorf("the backend was told %v", told)
				}
				return err
			})
		}
	}
}

// hold gives the node an address.
func (n *node) hold(vip netip.Addr) {
	n.t.Helper()
	if vip.Is4() {
		n.check(n.host.IP("addr replace " + vip.String() + "/32 dev eth0"))
	} else {
		n.check(n.host.IP("addr replace " + vip.String() + "/128 dev eth0 nodad"))
	}
}

// TestNetnsProxyUnheard: with the guard off a port that cannot be listened on is
// refused and not answered by the node, as the others are.
func TestNetnsProxyUnheard(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	vip := netip.MustParseAddrPort("[2001:db8::105]:443")
	n.SetConfigMap(map[string]string{"open": `{addresses: [192.0.2.105, "2001:db8::105"], services: [{name: default/web}], guard: false, proxyProtocol: v2}`})
	listen(t, n.host.Namespace, "tcp", ":8022", func(c net.Conn) {
		defer c.Close()
		_, _ = c.Write([]byte(hostSays))
	})
	n.start()
	n.eventually("the port serves", func() error { _, err := n.served(vip); return err })

	// The Node's IPv6 address is not known any more.
	n.DeletePod(n.host)
	n.API.Set("nodes", lab.Object{
		"metadata": map[string]any{"name": n.host.Name, "annotations": map[string]string{"kube-vrrp-vip/priority": "200"}},
		"status":   map[string]any{"addresses": []any{map[string]any{"type": "InternalIP", "address": n.host.IPv4.String()}}},
	})
	n.eventually("the status says which port is not listened on", func() error {
		s, err := n.daemon.Status(t.Context())
		if want := "proxy " + vip.String() + ": "; err == nil && !strings.Contains(s.Datapath.ProxyError, want) {
			err = fmt.Errorf("%q, want %q", s.Datapath.ProxyError, want)
		}
		return err
	})
	for _, from := range []*netns.Namespace{n.Client.Namespace, n.host.Namespace} {
		n.check(n.refused(from, vip))
	}
	c, err := n.dial(n.Client.Namespace, netip.AddrPortFrom(vip.Addr(), 8022))
	n.check(err)
	if got, err := io.ReadAll(c); string(got) != hostSays || err != nil {
		t.Errorf("another port of the VIP: %q, %v", got, err)
	}
	_, err = n.served(netip.MustParseAddrPort("192.0.2.105:443"))
	n.check(err)

	n.SetPod(n.host)
	n.eventually("the port serves again", func() error { _, err := n.served(vip); return err })
}

// TestNetnsNoKubeProxy: where nothing translates ClusterIPs but for the node's own
// processes, the daemon carries TCP itself, and says that it cannot carry UDP. It
// stops when kube-proxy comes.
func TestNetnsNoKubeProxy(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.check(n.host.Nft("delete table ip kube-proxy\ndelete table ip6 kube-proxy\n" + kubeProxy("other") +
		"delete chain ip other prerouting\ndelete chain ip6 other prerouting\n"))
	vips := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.106:443"), netip.MustParseAddrPort("[2001:db8::106]:443")}
	n.SetConfigMap(map[string]string{"web": `{addresses: [192.0.2.106, "2001:db8::106"], services: [{name: default/web}]}`})
	began := time.Now()
	n.start()
	const about = "no kube-proxy was found on this node"
	if s := n.status(); len(problems(s, about)) > 0 || len(s.Datapath.Proxy) > 0 {
		t.Errorf("at the start: %+v", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n.check(lab.Eventually(ctx, "the daemon proxies", func() error {
		if s, err := n.daemon.Status(ctx); err != nil || len(s.Datapath.Proxy) == 0 {
			return errors.Join(err, errors.New("no proxy"))
		}
		return nil
	}))
	if waited := time.Since(began); waited < time.Minute {
		t.Errorf("a kube-proxy that is late was given %v", waited)
	}
	for _, vip := range vips {
		n.private(vip)
		n.eventually("the proxy carries "+vip.String()+" without a header", func() error {
			told, err := n.served(vip)
			if err == nil && told.version != 0 {
				err = fmt.Errorf("the backend was told %v", told)
			}
			return err
		})
		n.checkTransfer(vip)
		n.checkReset(vip)
	}
	n.eventually("one problem", func() error {
		s, err := n.daemon.Status(t.Context())
		if err != nil {
			return err
		}
		if found := problems(s, about); len(found) != 1 || !strings.HasSuffix(found[0], ": these ports are not served: 443/UDP") {
			return fmt.Errorf("problems %q", found)
		}
		return nil
	})

	n.check(n.host.Nft(kubeProxy("kube-proxy")))
	n.eventually("kube-proxy carries", func() error {
		s, err := n.daemon.Status(t.Context())
		if err == nil && (len(s.Datapath.Proxy) > 0 || len(problems(s, about)) > 0) {
			err = fmt.Errorf("proxy %+v, problems %+v", s.Datapath.Proxy, s.Problems)
		}
		return err
	})
	for _, vip := range vips {
		n.eventually(vip.String()+" serves", func() error { _, err := n.served(vip); return err })
	}
}
