package datapath_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// The node's address towards the pod: what masquerade makes of a client.
const masqueraded = "10.244.1.1"

func TestNetnsDatapath(t *testing.T) {
	t.Parallel()
	for _, proxy := range []string{"kube-proxy.nft", "kube-proxy.iptables"} {
		t.Run(proxy, func(t *testing.T) {
			c := newCluster(t, proxy)
			c.sync(t, datapath.NewRules(), forwards())
			for _, v := range ipVersions {
				t.Run(v.name, func(t *testing.T) {
					t.Run("Reaches", func(t *testing.T) { testReaches(t, c, v) })
					t.Run("Refuses", func(t *testing.T) { testRefuses(t, c, v) })
					t.Run("LeavesAlone", func(t *testing.T) { testLeavesAlone(t, c, v) })
					t.Run("SamePort", func(t *testing.T) { testSamePort(t, c, v) })
					t.Run("Large", func(t *testing.T) { testLarge(t, c, v) })
					t.Run("Errors", func(t *testing.T) { testErrors(t, c, v) })
					t.Run("PathMTU", func(t *testing.T) { testPathMTU(t, c, v) })
				})
			}
		})
	}
}

func testReaches(t *testing.T, c *cluster, v ipVersion) {
	for _, test := range []struct {
		name    string
		from    *netnstest.NS
		address string
		want    string // Whom the pod sees.
	}{
		{"client", c.client, vip + ":80", masqueraded},
		{"client, second VIP", c.client, vip2 + ":80", masqueraded},
		{"client, mapped", c.client, vip + ":8080", masqueraded},
		{"client, another Service of the VIP", c.client, vip + ":90", masqueraded},
		{"client, whose address is kept", c.client, localVIP + ":80", clientIP},
		{"client, whose address is kept, mapped", c.client, localVIP + ":8080", clientIP},
		{"client, VIP that is not guarded", c.client, openVIP + ":80", masqueraded},
		{"client, NodePort of the VIP's Service", c.client, vip + ownNodePort, masqueraded},
		{"client behind a router", c.far, vip + ":80", masqueraded},
		{"client behind a router, mapped", c.far, vip + ":8080", masqueraded},
		{"client behind a router, whose address is kept", c.far, localVIP + ":80", farClientIP},
		{"client behind a router, whose address is kept, mapped", c.far, localVIP + ":8080", farClientIP},
		{"client behind a router, NodePort of the VIP's Service", c.far, vip + ownNodePort, masqueraded},
		{"process on the node", c.node, vip + ":80", masqueraded},
		{"process on the node, mapped", c.node, vip + ":8080", masqueraded},
		{"process on the node, NodePort of the VIP's Service", c.node, vip + ownNodePort, masqueraded},
		{"process on a node that is not master", c.node, foreignVIP + ":80", masqueraded},
		{"process on a node that is not master, mapped", c.node, foreignVIP + ":8080", masqueraded},
		{"pod, to its own Service", c.pod, vip + ":80", masqueraded},
		{"pod, to its own Service, mapped", c.pod, vip + ":8080", masqueraded},
		{"pod, on a node that is not master", c.pod, foreignVIP + ":80", masqueraded},
	} {
		for _, network := range []string{"tcp", "udp"} {
			t.Run(test.name+", "+network, func(t *testing.T) {
				got, err := greet(test.from, network, v.at(test.address))
				if err != nil {
					t.Fatal(err)
				}
				if got.String() != v.of(test.want) {
					t.Errorf("the pod saw %s, want %s", got, v.of(test.want))
				}
			})
		}
	}
}

func testRefuses(t *testing.T, c *cluster, v ipVersion) {
	for _, test := range []struct {
		name string
		port string
	}{
		{"closed in the pod", vip + ":81"},
		{"closed in the pod, mapped", vip + ":8081"},
		{"no endpoints", vip + ":82"},
		{"no endpoints, mapped", vip + ":8082"},
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
					_, err := greet(from, network, v.at(test.port))
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

func testLeavesAlone(t *testing.T, c *cluster, v ipVersion) {
	for _, address := range []string{vip, emptyVIP, plainVIP, openVIP, nodeIP} {
		if err := ping(c.client, v.of(address)); err != nil {
			t.Errorf("ping %s: %v", address, err)
		}
	}
	if err := ping(c.node, v.of(vip)); err != nil {
		t.Errorf("ping from the node: %v", err)
	}
	for _, address := range []string{nodeIP, plainVIP, openVIP} {
		for _, network := range []string{"tcp", "udp"} {
			for port, want := range map[string]string{":22": clientIP, ownNodePort: masqueraded, otherNodePort: masqueraded, hostPort: clientIP} {
				if got, err := greet(c.client, network, v.at(address+port)); err != nil || got.String() != v.of(want) {
					t.Errorf("%s %s%s: the server saw %s, %v, want %s", network, address, port, got, err, want)
				}
			}
		}
	}
	if got, err := greet(c.client, "tcp", v.at(clusterIP+":80")); err != nil || got.String() != v.of(masqueraded) {
		t.Errorf("ClusterIP: the pod saw %s, %v, want %s", got, err, masqueraded)
	}

	// A connection that the node opens from a VIP.
	serve(c.client, v.at(clientIP+":7"))
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(v.at(emptyVIP + ":0"))), Timeout: patience}
	c.node.Do(func() {
		conn, err := d.Dial("tcp", v.at(clientIP+":7"))
		if err != nil {
			t.Errorf("from a VIP: %v", err)
			return
		}
		defer conn.Close()
		if got, err := say(conn, "hello\n"); err != nil || got.Addr().String() != v.of(emptyVIP) {
			t.Errorf("from a VIP: the client saw %s, %v, want %s", got, err, emptyVIP)
		}
	})
}

// testSamePort has one client with one source port talk to several ports and VIPs
// of a Service and to its ClusterIP at the same time.
func testSamePort(t *testing.T, c *cluster, v ipVersion) {
	for _, network := range []string{"tcp", "udp"} {
		const localPort = 40000
		var conns []net.Conn
		for _, address := range []string{vip + ":80", vip2 + ":80", clusterIP + ":80", vip + ":8080", vip + ":8090", vip2 + ":8080"} {
			conn, err := dial(c.client, network, localPort, v.at(address))
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

func testLarge(t *testing.T, c *cluster, v ipVersion) {
	const size = 1 << 20
	for _, port := range []string{":80", ":8080"} {
		if n, err := download(c.client, v.at(vip+port), size); n != size {
			t.Errorf("%s: downloaded %d bytes of %d: %v", port, n, size, err)
		}
		// Three fragments each way.
		conn, err := dial(c.client, "udp", 0, v.at(vip+port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := say(conn, strings.Repeat("x", 4000)); err != nil {
			t.Errorf("%s: datagram of 4000 bytes: %v", port, err)
		}
	}
}

// testPathMTU needs the router's error, that a packet is too big, to find its
// way to the pod, or to the node where that holds the connection.
func testPathMTU(t *testing.T, c *cluster, v ipVersion) {
	for address, from := range map[string]string{localVIP + ":80": routerIP, localVIP + ":8080": routerIP, vip + ":80": masqueraded, vip + ":8080": masqueraded} {
		forgetMTU(c)
		errors := capture(t, c.pod, v)
		const size = 1 << 20
		if n, err := download(c.far, v.at(address), size); n != size {
			t.Errorf("%s: downloaded %d bytes of %d: %v", address, n, size, err)
		}
		// Linux believes an error whose quoted header is damaged; others do not.
		e := errors.nextError(t)
		e.checkSums(t)
		if e.source().String() != v.of(from) || e.quotedSource().String() != v.at(podIP+":8080") {
			t.Errorf("%s: the pod got an error of %s about a packet from %s, want %s about %s", address, e.source(), e.quotedSource(), v.of(from), v.at(podIP+":8080"))
		}
	}
}

// forgetMTU makes the pod and the node forget what they learned of paths.
func forgetMTU(c *cluster) {
	for _, ns := range []*netnstest.NS{c.pod, c.node} {
		ns.Run("ip", "route", "flush", "cache")
		ns.Run("ip", "-6", "route", "flush", "cache")
	}
}

// testErrors looks at the error that a client gets about a closed port.
func testErrors(t *testing.T, c *cluster, v ipVersion) {
	for _, address := range []string{vip + ":81", vip + ":82", vip + ":8081", vip + ":8082", emptyVIP + ":80", vip + hostPort, emptyVIP + otherNodePort} {
		errors := capture(t, c.client, v)
		if _, err := greet(c.client, "udp", v.at(address)); !refused(err) {
			t.Errorf("%s: got %v, want connection refused", address, err)
		}
		e := errors.nextError(t)
		e.checkSums(t)
		if e.source().String() != v.of(netip.MustParseAddrPort(address).Addr().String()) || e.quotedDestination().String() != v.at(address) {
			t.Errorf("%s: the client got an error of %s about a packet to %s", address, e.source(), e.quotedDestination())
		}
	}
}
