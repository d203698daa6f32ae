package nft_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"kube-vrrp-vip/pkg/internal/netnstest"
	"kube-vrrp-vip/pkg/nft"
)

// The node's address towards the pod: what masquerade makes of a client.
const masqueraded = "10.244.1.1"

func TestNetnsDatapath(t *testing.T) {
	for _, proxy := range []string{"kube-proxy.nft", "kube-proxy.iptables"} {
		t.Run(proxy, func(t *testing.T) {
			c := newCluster(t, proxy)
			c.sync(t, nft.NewDatapath(), forwards())
			t.Run("Reaches", func(t *testing.T) { testReaches(t, c) })
			t.Run("Refuses", func(t *testing.T) { testRefuses(t, c) })
			t.Run("LeavesAlone", func(t *testing.T) { testLeavesAlone(t, c) })
			t.Run("SamePort", func(t *testing.T) { testSamePort(t, c) })
			t.Run("Large", func(t *testing.T) { testLarge(t, c) })
			t.Run("Errors", func(t *testing.T) { testErrors(t, c) })
			t.Run("PathMTU", func(t *testing.T) { testPathMTU(t, c) })
		})
	}
}

func testReaches(t *testing.T, c *cluster) {
	for _, test := range []struct {
		name    string
		from    *netnstest.NS
		network string
		address string
		want    string // Whom the pod sees.
	}{
		{"client, TCP", c.client, "tcp", vip + ":80", masqueraded},
		{"client, UDP", c.client, "udp", vip + ":80", masqueraded},
		{"client, second VIP", c.client, "tcp", vip2 + ":80", masqueraded},
		{"client, without masquerade", c.client, "tcp", localVIP + ":80", clientIP},
		{"client behind a router, TCP", c.far, "tcp", vip + ":80", masqueraded},
		{"client behind a router, UDP", c.far, "udp", vip + ":80", masqueraded},
		{"client behind a router, without masquerade", c.far, "tcp", localVIP + ":80", farClientIP},
		{"process on the node, TCP", c.node, "tcp", vip + ":80", masqueraded},
		{"process on the node, UDP", c.node, "udp", vip + ":80", masqueraded},
		{"process on a node that is not master", c.node, "tcp", foreignVIP + ":80", masqueraded},
		{"pod, to its own Service", c.pod, "tcp", vip + ":80", masqueraded},
		{"pod, on a node that is not master", c.pod, "tcp", foreignVIP + ":80", masqueraded},
		{"client, NodePort of the VIP's Service, TCP", c.client, "tcp", vip + ownNodePort, masqueraded},
		{"client, NodePort of the VIP's Service, UDP", c.client, "udp", vip + ownNodePort, masqueraded},
		{"client behind a router, NodePort of the VIP's Service", c.far, "tcp", vip + ownNodePort, masqueraded},
		{"process on the node, NodePort of the VIP's Service", c.node, "tcp", vip + ownNodePort, masqueraded},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := greet(test.from, test.network, test.address)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != test.want {
				t.Errorf("the pod saw %s, want %s", got, test.want)
			}
		})
	}
}

func testRefuses(t *testing.T, c *cluster) {
	for _, test := range []struct {
		name string
		port string
	}{
		{"closed in the pod", vip + ":81"},
		{"no endpoints", vip + ":82"},
		{"no such port, a listener on the node", vip + ":22"},
		{"no such port, no listener", vip + ":9999"},
		{"no Service", emptyVIP + ":80"},
		{"no Service, a listener on the node", emptyVIP + ":22"},
		{"NodePort of another Service", vip + otherNodePort},
		{"NodePort of the Service of another VIP", localVIP + ownNodePort},
		{"NodePort, no Service", emptyVIP + ownNodePort},
		{"hostPort", vip + hostPort},
		{"hostPort, no Service", emptyVIP + hostPort},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, from := range map[string]*netnstest.NS{"client": c.client, "far client": c.far, "pod": c.pod, "node": c.node} {
				for _, network := range []string{"tcp", "udp"} {
					_, err := greet(from, network, test.port)
					// A process on the node meets kube-proxy's reject in its
					// own system call, as it does at the ClusterIP.
					if own := name == "node" && strings.Contains(errString(err), "operation not permitted"); !refused(err) && !own {
						t.Errorf("%s, %s: got %v, want connection refused", name, network, err)
					}
				}
			}
		})
	}
}

func errString(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func testLeavesAlone(t *testing.T, c *cluster) {
	for _, address := range []string{vip, emptyVIP, plainVIP, nodeIP} {
		if err := ping(c.client, address); err != nil {
			t.Errorf("ping %s: %v", address, err)
		}
	}
	if err := ping(c.node, vip); err != nil {
		t.Errorf("ping from the node: %v", err)
	}
	for _, address := range []string{nodeIP + ":22", plainVIP + ":22"} {
		if got, err := greet(c.client, "tcp", address); err != nil || got.String() != clientIP {
			t.Errorf("%s: the listener saw %s, %v, want %s", address, got, err, clientIP)
		}
	}
	for _, address := range []string{nodeIP, plainVIP} {
		for _, network := range []string{"tcp", "udp"} {
			for port, want := range map[string]string{ownNodePort: masqueraded, otherNodePort: masqueraded, hostPort: clientIP} {
				if got, err := greet(c.client, network, address+port); err != nil || got.String() != want {
					t.Errorf("%s %s%s: the pod saw %s, %v, want %s", network, address, port, got, err, want)
				}
			}
		}
	}
	if got, err := greet(c.client, "tcp", clusterIP+":80"); err != nil || got.String() != masqueraded {
		t.Errorf("ClusterIP: the pod saw %s, %v, want %s", got, err, masqueraded)
	}

	// A connection that the node opens from a VIP.
	serve(c.client, clientIP+":7")
	var d net.Dialer
	d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(emptyVIP + ":0"))
	c.node.Do(func() {
		conn, err := d.Dial("tcp", clientIP+":7")
		if err != nil {
			t.Errorf("from a VIP: %v", err)
			return
		}
		defer conn.Close()
		if got, err := say(conn, "hello\n"); err != nil || got.Addr().String() != emptyVIP {
			t.Errorf("from a VIP: the client saw %s, %v, want %s", got, err, emptyVIP)
		}
	})
}

// testSamePort has one client with one source port talk to two VIPs of a
// Service and to its ClusterIP at the same time.
func testSamePort(t *testing.T, c *cluster) {
	for _, network := range []string{"tcp", "udp"} {
		const localPort = 40000
		var conns []net.Conn
		for _, address := range []string{vip, vip2, clusterIP} {
			conn, err := dial(c.client, network, localPort, address+":80")
			if err != nil {
				t.Fatalf("%s %s: %v", network, address, err)
			}
			defer conn.Close()
			conns = append(conns, conn)
		}
		for _, line := range []string{"first\n", "second\n"} {
			for _, conn := range conns {
				if _, err := say(conn, line); err != nil {
					t.Errorf("%s %s: %v", network, conn.RemoteAddr(), err)
				}
			}
		}
	}
}

func testLarge(t *testing.T, c *cluster) {
	const size = 1 << 20
	if n, err := download(c.client, vip+":80", size); n != size {
		t.Errorf("downloaded %d bytes of %d: %v", n, size, err)
	}
	// Three fragments each way.
	conn, err := dial(c.client, "udp", 0, vip+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := say(conn, strings.Repeat("x", 4000)); err != nil {
		t.Errorf("datagram of 4000 bytes: %v", err)
	}
}

// testPathMTU needs the router's "fragmentation needed" to find its way to the
// pod, or to the node where that holds the connection.
func testPathMTU(t *testing.T, c *cluster) {
	errors := captureErrors(t, c.pod)
	const size = 1 << 20
	for _, address := range []string{localVIP, vip} {
		if n, err := download(c.far, address+":80", size); n != size {
			t.Errorf("%s: downloaded %d bytes of %d: %v", address, n, size, err)
		}
	}
	// Linux believes an error whose quoted header is damaged; others do not.
	e := errors.next(t)
	e.checkSums(t)
	if e.source().String() != routerIP || e.quotedSource().String() != podIP {
		t.Errorf("the pod got an error of %s about a packet from %s, want %s about %s", e.source(), e.quotedSource(), routerIP, podIP)
	}
}

// testErrors looks at the error that a client gets about a closed port.
func testErrors(t *testing.T, c *cluster) {
	for _, address := range []string{vip + ":81", vip + ":82", emptyVIP + ":80", vip + hostPort, emptyVIP + otherNodePort} {
		errors := captureErrors(t, c.client)
		if _, err := greet(c.client, "udp", address); !refused(err) {
			t.Errorf("%s: got %v, want connection refused", address, err)
		}
		e := errors.next(t)
		e.checkSums(t)
		want := netip.MustParseAddrPort(address).Addr()
		if e.source() != want || e.quotedDestination() != want {
			t.Errorf("%s: the client got an error of %s about a packet to %s", address, e.source(), e.quotedDestination())
		}
	}
}
