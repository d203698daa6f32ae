package datapath_test

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
)

// TestNetnsTargetChanges has a client talk to ports of VIPs and to their
// ClusterIP from one port, while one of them gets another target, and then none.
func TestNetnsTargetChanges(t *testing.T) {
	t.Parallel()
	for _, v := range ipVersions {
		for _, protocol := range []desired.Protocol{desired.TCP, desired.UDP} {
			t.Run(fmt.Sprintf("%s %s", v.name, protocol), func(t *testing.T) { testTargetChanges(t, v, protocol) })
		}
	}
}

func testTargetChanges(t *testing.T, v ipVersion, protocol desired.Protocol) {
	c := newCluster(t, "kube-proxy.nft")
	network := map[desired.Protocol]string{desired.TCP: "tcp", desired.UDP: "udp"}[protocol]
	target := func(port uint16, address string) desired.Port {
		return desired.Port{Protocol: protocol, Port: port, Target: netip.MustParseAddrPort(v.at(address))}
	}
	toNode := target(80, nodeIP+":22")
	toNode.KeepSource = true
	forwards := func(ports ...desired.Port) []desired.Forward {
		return []desired.Forward{
			{VIP: netip.MustParseAddr(v.of(vip)), Ports: ports},
			{VIP: netip.MustParseAddr(v.of(vip2)), Ports: []desired.Port{target(80, clusterIP+":80")}},
		}
	}
	d := datapath.NewRules()
	c.sync(t, d, forwards(target(80, clusterIP+":80"), target(8080, clusterIP+":80")))

	const localPort = 40000
	open := func(address string) net.Conn {
		t.Helper()
		conn, err := dial(c.client, network, localPort, v.at(address))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	expect := func(conn net.Conn, want string) {
		t.Helper()
		if from, err := say(conn, "hello\n"); err != nil || from.Addr().String() != v.of(want) {
			t.Errorf("%s: the server saw %s, %v, want %s", conn.RemoteAddr(), from, err, v.of(want))
		}
	}
	changed := open(vip + ":80")
	others := []net.Conn{open(vip + ":8080"), open(vip2 + ":80"), open(clusterIP + ":80")}
	expect(changed, masqueraded)
	for _, conn := range others {
		expect(conn, masqueraded)
	}
	// gone are the entries that an update deletes: all others stay.
	gone := func(d *datapath.Rules, forwards []desired.Forward, want ...string) {
		t.Helper()
		left := datapath.AllConnections(t, c.node)
		before := maps.Clone(left)
		c.sync(t, d, forwards)
		for _, name := range want {
			if _, ok := left[name]; !ok {
				t.Errorf("there was no %s in %q", name, left)
			}
			delete(left, name)
		}
		if diff := cmp.Diff(left, datapath.AllConnections(t, c.node)); diff != "" {
			t.Errorf("of %d connections -want +got:\n%s", len(before), diff)
		}
	}
	gone(d, forwards(toNode, target(8080, clusterIP+":80")), fmt.Sprintf("%s to %s in zone 20000", protocol, v.at(clusterIP+":80")))
	if protocol == desired.TCP {
		if _, err := say(changed, "hello\n"); err == nil {
			t.Error("the connection goes on")
		}
		changed.Close()
		changed = open(vip + ":80")
	}
	expect(changed, clientIP)
	for _, conn := range others {
		expect(conn, masqueraded)
	}

	toOldZone := fmt.Sprintf("%s to %s in zone 20003", protocol, v.at(nodeIP+":22"))
	gone(d, forwards(target(8080, clusterIP+":80")), toOldZone)
	if protocol == desired.UDP {
		_, _ = say(changed, "hello\n") // The refusal of it.
	}
	for _, conn := range others {
		expect(conn, masqueraded)
	}

	// A restart that comes with another target.
	mapped := fmt.Sprintf("%s to %s in zone 20001", protocol, v.at(clusterIP+":80"))
	gone(datapath.NewRules(), forwards(target(8080, otherClusterIP+":80")), mapped)
	for _, conn := range others[1:] {
		expect(conn, masqueraded)
	}
}
