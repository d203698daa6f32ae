package datapath_test

import (
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// sctpPacket is a packet of RFC 9260: ports, verification tag, checksum, chunks.
type sctpPacket []byte

// Chunk types of section 3.2.
const (
	sctpInit    = 1
	sctpInitAck = 2
)

// newSCTP has one chunk, INIT or INIT ACK, of section 3.3.2.
func newSCTP(from, to uint16, tag uint32, chunk byte) sctpPacket {
	p := binary.BigEndian.AppendUint16(nil, from)
	p = binary.BigEndian.AppendUint16(p, to)
	p = binary.BigEndian.AppendUint32(p, tag)
	p = append(p, 0, 0, 0, 0)
	p = append(p, chunk, 0, 0, 20)
	p = binary.BigEndian.AppendUint32(p, 7)     // Initiate tag.
	p = binary.BigEndian.AppendUint32(p, 1<<16) // Receiver window.
	p = append(p, 0, 1, 0, 1)                   // Streams.
	p = binary.BigEndian.AppendUint32(p, 1)     // First number.
	binary.LittleEndian.PutUint32(p[8:], sctpPacket(p).sum())
	return p
}

// sum is the checksum of appendix A, with zero in its place.
func (p sctpPacket) sum() uint32 {
	b := append(sctpPacket(nil), p...)
	copy(b[8:], []byte{0, 0, 0, 0})
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

func (p sctpPacket) source() uint16      { return binary.BigEndian.Uint16(p) }
func (p sctpPacket) destination() uint16 { return binary.BigEndian.Uint16(p[2:]) }

// sctpSocket receives every SCTP packet of a namespace.
func sctpSocket(ns *netnstest.NS, v ipVersion) net.PacketConn {
	if v.name == "IPv6" {
		return ns.ListenPacket("ip6:132", "::")
	}
	return ns.ListenPacket("ip4:132", "0.0.0.0")
}

// nextSCTP returns the next packet with a chunk of a type, and who sent it.
func nextSCTP(t *testing.T, c net.PacketConn, chunk byte) (sctpPacket, netip.Addr) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			t.Fatalf("no SCTP chunk %d: %v", chunk, err)
		}
		p := sctpPacket(b[:n])
		if n != 32 || p[12] != chunk {
			continue
		}
		if got := binary.LittleEndian.Uint32(p[8:]); got != p.sum() {
			t.Errorf("chunk %d: checksum %#x, want %#x", chunk, got, p.sum())
		}
		address, _ := netip.ParseAddr(from.String())
		return p, address
	}
}

// TestNetnsSCTP sends what opens an association, since Linux need not have SCTP.
func TestNetnsSCTP(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "kube-proxy.nft")
	var all []desired.Forward
	for _, v := range ipVersions {
		f := desired.Forward{VIP: netip.MustParseAddr(v.of(vip))}
		for _, port := range []uint16{80, 8080} {
			f.Ports = append(f.Ports, desired.Port{Protocol: desired.SCTP, Port: port, Target: netip.MustParseAddrPort(v.at(clusterIP + ":80"))})
		}
		all = append(all, f)
	}
	c.sync(t, datapath.NewRules(), all)
	for _, v := range ipVersions {
		t.Run(v.name, func(t *testing.T) {
			for _, port := range []uint16{80, 8080} {
				associate(t, c, v, vip, port)
			}
			refuseSCTP(t, c, v, 81) // A port that no Service has.
		})
	}
}

// associate opens an association with a port of a VIP that the pod serves.
func associate(t *testing.T, c *cluster, v ipVersion, vip string, port uint16) {
	t.Helper()
	client, pod := sctpSocket(c.client, v), sctpSocket(c.pod, v)
	if _, err := client.WriteTo(newSCTP(40000, port, 0, sctpInit), &net.IPAddr{IP: net.ParseIP(v.of(vip))}); err != nil {
		t.Fatal(err)
	}
	init, from := nextSCTP(t, pod, sctpInit)
	if from.String() != v.of(masqueraded) || init.destination() != 8080 {
		t.Errorf("port %d: the pod got a packet of %s to port %d", port, from, init.destination())
	}
	answer := newSCTP(8080, init.source(), 7, sctpInitAck)
	if _, err := pod.WriteTo(answer, &net.IPAddr{IP: from.AsSlice()}); err != nil {
		t.Fatal(err)
	}
	ack, from := nextSCTP(t, client, sctpInitAck)
	if from.String() != v.of(vip) || ack.source() != port || ack.destination() != 40000 {
		t.Errorf("port %d: the client got an answer of %s port %d to port %d", port, from, ack.source(), ack.destination())
	}
}

// refuseSCTP finds a port of the VIP refused.
func refuseSCTP(t *testing.T, c *cluster, v ipVersion, port uint16) {
	t.Helper()
	errors := capture(t, c.client, v)
	if _, err := sctpSocket(c.client, v).WriteTo(newSCTP(40000, port, 0, sctpInit), &net.IPAddr{IP: net.ParseIP(v.of(vip))}); err != nil {
		t.Fatal(err)
	}
	e := errors.nextError(t)
	e.checkSums(t)
	if want := netip.AddrPortFrom(netip.MustParseAddr(v.of(vip)), port); e.source() != want.Addr() || e.quotedDestination() != want {
		t.Errorf("the client got an error of %s about a packet to %s", e.source(), e.quotedDestination())
	}
}

// TestNetnsOlderKernel refuses the SCTP ports that it cannot write, and no others.
func TestNetnsOlderKernel(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "kube-proxy.nft")
	all := forwards()
	for i, v := range ipVersions {
		sctp := func(port, to uint16) desired.Port {
			return desired.Port{Protocol: desired.SCTP, Port: port, Target: netip.AddrPortFrom(netip.MustParseAddr(v.of(clusterIP)), to)}
		}
		first, second := &all[i*len(all)/2], &all[i*len(all)/2+1]
		first.Ports = append(first.Ports, sctp(80, 80), sctp(8080, 80))
		limited := sctp(80, 80) // Not in the first map.
		limited.Restricted, limited.Sources = true, []netip.Prefix{netip.MustParsePrefix(v.of(lanRange))}
		second.Ports = append(second.Ports, limited)
	}
	const want = "forward 192.0.2.100 SCTP port 8080 to 10.96.0.10:80: an SCTP port that leads to another port number needs Linux 5.11 or later\n" +
		"forward 2001:db8::100 SCTP port 8080 to [fd10:96::10]:80: an SCTP port that leads to another port number needs Linux 5.11 or later"
	d := datapath.OlderKernelRules()
	c.node.Do(func() {
		for range 2 {
			if err := d.Sync(desired.Datapath{Forwards: all, PodCIDRs: podCIDRs()}); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	})
	if n := d.Repairs(); n != 0 {
		t.Errorf("%d repairs", n)
	}
	table := list(c.node, "inet kube_vrrp_vip")
	for _, rule := range []string{"sctp sport set", "sctp dport set"} {
		if strings.Contains(table, rule) {
			t.Errorf("%s, in\n%s", rule, table)
		}
	}
	for _, v := range ipVersions {
		associate(t, c, v, vip, 80)
		associate(t, c, v, vip2, 80)
		refuseSCTP(t, c, v, 8080)
		for _, network := range []string{"tcp", "udp"} {
			if _, err := greet(c.client, network, v.at(vip+":8080")); err != nil {
				t.Errorf("%s: %v", network, err)
			}
		}
	}

	// The other specification takes the place of this one.
	for _, v := range ipVersions {
		c.sync(t, datapath.NewRules(), all)
		associate(t, c, v, vip, 8080)
	}
}
