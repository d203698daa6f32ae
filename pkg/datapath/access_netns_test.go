package datapath_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// noLocalDetection makes of kube-proxy one that does not know which addresses
// are inside of the cluster: it masquerades only a pod that reaches itself.
var noLocalDetection = []string{"    ip saddr != 10.244.0.0/16 jump mark-for-masquerade\n", ""}

// addPod adds a pod of the node, 10.244.2.2, to the cluster.
func (c *cluster) addPod(t *testing.T) *netnstest.NS {
	t.Helper()
	pod := netnstest.New(t, "pod2")
	pod.Sysctl("net.ipv6.conf.default.accept_dad", "0")
	netnstest.Veth(c.node, "veth2", pod, "eth0")
	c.node.Run("ip", "addr", "add", "10.244.2.1/24", "dev", "veth2")
	c.node.Run("ip", "addr", "add", "fd00:10:244:2::1/64", "dev", "veth2", "nodad")
	pod.Run("ip", "addr", "add", "10.244.2.2/24", "dev", "eth0")
	pod.Run("ip", "addr", "add", "fd00:10:244:2::2/64", "dev", "eth0", "nodad")
	pod.Run("ip", "route", "add", "default", "via", "10.244.2.1")
	pod.Run("ip", "route", "add", "default", "via", "fd00:10:244:2::1")
	return pod
}

// TestNetnsMasquerade has the answer come back to the node, whatever kube-proxy
// does.
func TestNetnsMasquerade(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "kube-proxy.nft", noLocalDetection...)
	pod2 := c.addPod(t)
	otherPod := map[string]string{"IPv4": "10.244.2.2", "IPv6": "fd00:10:244:2::2"}
	d := datapath.NewRules()
	expect := func(v ipVersion, from *netnstest.NS, address, want string) {
		t.Helper()
		for _, network := range []string{"tcp", "udp"} {
			if got, err := greet(from, network, v.at(address)); err != nil || got.String() != want {
				t.Errorf("%s %s: the pod saw %s, %v, want %s", network, v.at(address), got, err, want)
			}
		}
	}
	for _, pods := range [][]netip.Prefix{
		nil,
		podCIDRs(),
		append(podCIDRs(), netip.MustParsePrefix("10.244.2.0/24"), netip.MustParsePrefix("fd00:10:244:2::/64")),
		{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.244.2.0/24"), netip.MustParsePrefix("fd00:10:244::/48")},
		podCIDRs(),
	} {
		c.node.Do(func() {
			if err := d.Sync(desired.Datapath{Forwards: forwards(), PodCIDRs: pods}); err != nil {
				t.Fatal(err)
			}
		})
		for _, v := range ipVersions {
			if got, err := greet(c.client, "tcp", v.at(clusterIP+":80")); err != nil || got.String() != v.of(clientIP) {
				t.Fatalf("ClusterIP: the pod saw %s, %v, want %s", got, err, v.of(clientIP))
			}
			for _, address := range []string{vip + ":80", vip + ":8080", vip + ":90", vip + ownNodePort} {
				expect(v, c.client, address, v.of(masqueraded))
				expect(v, c.far, address, v.of(masqueraded))
				expect(v, c.node, address, v.of(masqueraded))
				want := v.of(masqueraded)
				for _, p := range pods {
					if p.Contains(netip.MustParseAddr(otherPod[v.name])) {
						want = otherPod[v.name]
					}
				}
				expect(v, pod2, address, want)
			}
			for _, address := range []string{localVIP + ":80", localVIP + ":8080"} {
				expect(v, c.client, address, v.of(clientIP))
				expect(v, c.far, address, v.of(farClientIP))
				expect(v, pod2, address, otherPod[v.name])
			}
		}
	}
}

// TestNetnsHostNetwork has a Service whose Pod is on the node's own network: it
// sees the client, whatever kube-proxy masquerades, since nothing leaves the node.
func TestNetnsHostNetwork(t *testing.T) {
	t.Parallel()
	for _, replace := range [][]string{nil, noLocalDetection} {
		c := newCluster(t, "kube-proxy.nft", append([]string{"dnat to 10.244.1.2:8080", "dnat to " + nodeIP + ":22"}, replace...)...)
		c.sync(t, datapath.NewRules(), forwards())
		for _, v := range ipVersions {
			for _, network := range []string{"tcp", "udp"} {
				for _, address := range []string{vip + ":80", vip + ":8080", foreignVIP + ":80", foreignVIP + ":8080"} {
					for _, client := range []struct {
						from *netnstest.NS
						want string // Any of the node's.
					}{{c.client, clientIP}, {c.far, farClientIP}, {c.pod, podIP}, {c.node, ""}} {
						if strings.HasPrefix(address, foreignVIP+":") && (client.from == c.client || client.from == c.far) {
							continue // Nobody has it.
						}
						got, err := greet(client.from, network, v.at(address))
						if err != nil || client.want != "" && got.String() != v.of(client.want) {
							t.Errorf("%s %s: the pod saw %s, %v, want %s", network, v.at(address), got, err, v.of(client.want))
						}
					}
				}
			}
		}
	}
}

// TestNetnsPrimaryNodePorts reaches a NodePort by a VIP where kube-proxy serves
// those of the node's primary address only, which is its default in nftables mode.
func TestNetnsPrimaryNodePorts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "kube-proxy.nft", "fib daddr type local ip daddr != 127.0.0.0/8", "ip daddr "+nodeIP)
	c.sync(t, datapath.NewRules(), forwards())
	for _, v := range ipVersions {
		for _, network := range []string{"tcp", "udp"} {
			for name, from := range map[string]*netnstest.NS{"client": c.client, "far client": c.far, "node": c.node, "pod": c.pod} {
				if got, err := greet(from, network, v.at(vip+ownNodePort)); err != nil || got.String() != v.of(masqueraded) {
					t.Errorf("%s %s: the pod saw %s, %v, want %s", name, network, got, err, v.of(masqueraded))
				}
			}
			if _, err := greet(c.client, network, v.at(vip+otherNodePort)); !refused(err) {
				t.Errorf("%s, NodePort of another Service: got %v, want connection refused", network, err)
			}
		}
	}
}

// TestNetnsSourceRanges drops who is in none of them.
func TestNetnsSourceRanges(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "kube-proxy.nft")
	d := datapath.NewRules()
	sync := func(sources ...string) {
		t.Helper()
		var all []desired.Forward
		for _, v := range ipVersions {
			f := lead(v, vip, clusterIP, "80:80", "8080:80", "8090:80")
			for i := range f.Ports {
				if f.Ports[i].Port == 8090 {
					continue
				}
				f.Ports[i].Restricted = true
				for _, s := range sources {
					f.Ports[i].Sources = append(f.Ports[i].Sources, netip.MustParsePrefix(v.of(s)))
				}
			}
			all = append(all, f)
		}
		c.sync(t, d, all)
	}
	expect := func(name string, from *netnstest.NS, admitted bool) {
		t.Helper()
		for _, v := range ipVersions {
			for _, port := range []string{":80", ":8080", ":8090"} {
				for _, network := range []string{"tcp", "udp"} {
					admitted := admitted || port == ":8090"
					if !admitted {
						if err := greetBriefly(from, network, v.at(vip+port)); !timedOut(err) {
							t.Errorf("%s, %s to port %s of %s: got %v, want no answer", name, network, port, v.of(vip), err)
						}
					} else if _, err := greet(from, network, v.at(vip+port)); err != nil {
						t.Errorf("%s, %s to port %s of %s: %v", name, network, port, v.of(vip), err)
					}
				}
			}
		}
	}
	sync()
	expect("nobody is in", c.client, false)
	expect("the node's own processes are", c.node, true)

	sync(lanRange)
	expect("the LAN is in", c.client, true)
	expect("the far client is not", c.far, false)
	expect("nor a pod", c.pod, false)
	open, err := dial(c.client, "tcp", 0, vip+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()

	sync(lanRange, farRange)
	expect("the far client is in now", c.far, true)
	if _, err := say(open, "still there\n"); err != nil {
		t.Errorf("an open connection, after more were admitted: %v", err)
	}
	sync(farRange)
	expect("the LAN is out", c.client, false)

	// Without ranges the port is one of the others again, in the same zone.
	c.sync(t, d, forwards())
	expect("no ranges", c.client, true)
	if err := open.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := say(open, "still there\n"); err != nil {
		t.Errorf("an open connection, after the ranges went: %v", err)
	}
}

// The networks of the client, and of the one behind the router.
const (
	lanRange = "192.0.2.0/28"
	farRange = "203.0.113.2/32"
)

func timedOut(err error) bool {
	netErr, ok := errors.AsType[net.Error](err)
	return ok && netErr.Timeout()
}

// greetBriefly is greet of one who expects no answer.
func greetBriefly(ns *netnstest.NS, network, address string) error {
	const brief = 100 * time.Millisecond
	d := net.Dialer{Timeout: brief}
	var c net.Conn
	var err error
	ns.Do(func() { c, err = d.Dial(network, address) })
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(brief)); err != nil {
		return err
	}
	_, err = say(c, "hello\n")
	return err
}

// TestNetnsPrivateListener lets nobody reach the daemon's own listener but
// through the VIP.
func TestNetnsPrivateListener(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "kube-proxy.nft")
	const private = ":41000"
	var all []desired.Forward
	for _, v := range ipVersions {
		serve(c.node, v.at(nodeIP+private))
		for _, address := range []string{vip, foreignVIP} {
			all = append(all, desired.Forward{VIP: netip.MustParseAddr(v.of(address)), Ports: []desired.Port{
				{Protocol: desired.TCP, Port: 80, Target: netip.MustParseAddrPort(v.at(nodeIP + private)), KeepSource: true, Proxy: desired.ProxyPlain},
			}})
		}
		all = append(all, lead(v, vip2, clusterIP, "80:80", "8080:80"))
	}
	for _, v := range ipVersions {
		if got, err := greet(c.client, "tcp", v.at(nodeIP+private)); err != nil || got.String() != v.of(clientIP) {
			t.Fatalf("before: the listener saw %s, %v", got, err)
		}
	}
	c.sync(t, datapath.NewRules(), all)
	for _, v := range ipVersions {
		for _, test := range []struct {
			name string
			from *netnstest.NS
			want string
		}{
			{"client", c.client, clientIP},
			{"far client", c.far, farClientIP},
			{"pod", c.pod, podIP},
			{"node", c.node, vip},
		} {
			if got, err := greet(test.from, "tcp", v.at(vip+":80")); err != nil || got.String() != v.of(test.want) {
				t.Errorf("%s: the listener saw %s, %v, want %s", test.name, got, err, v.of(test.want))
			}
			if _, err := greet(test.from, "tcp", v.at(nodeIP+private)); !refused(err) {
				t.Errorf("%s, past the VIP: got %v, want connection refused", test.name, err)
			}
		}
		for _, from := range []*netnstest.NS{c.pod, c.node} {
			if _, err := greet(from, "tcp", v.at(foreignVIP+":80")); err != nil {
				t.Errorf("a node that is not master: %v", err)
			}
		}
		// Whatever else is on the node's address is not touched.
		if _, err := greet(c.client, "tcp", v.at(nodeIP+":22")); err != nil {
			t.Error(err)
		}
		if n, err := download(c.far, v.at(vip+":80"), 1<<20); n != 1<<20 {
			t.Errorf("downloaded %d bytes: %v", n, err)
		}
	}
}

// TestNetnsUDPWithoutChecksum leaves a datagram without a checksum, and gives it
// none that is wrong.
func TestNetnsUDPWithoutChecksum(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "kube-proxy.nft")
	c.sync(t, datapath.NewRules(), forwards())
	for _, v := range ipVersions {
		for _, port := range []string{":80", ":8080"} {
			packets := capture(t, c.pod, v)
			sendWithoutChecksum(t, c.client, v, v.at(vip+port))
			for {
				p := packets.nextPacket(t)
				if p.protocol() != 17 {
					continue
				}
				udp := p[p.header():]
				if sum := fmt.Sprintf("%x", udp[6:8]); sum != "0000" {
					t.Errorf("%s%s: the pod got a datagram with checksum %s, want none", v.of(vip), port, sum)
				}
				break
			}
		}
	}
}
