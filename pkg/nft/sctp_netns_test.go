package nft_test

import (
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/netnstest"
	"kube-vrrp-vip/pkg/nft"
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
	c := newCluster(t, "kube-proxy.nft")
	var all []desired.Forward
	for _, v := range ipVersions {
		f := desired.Forward{VIP: netip.MustParseAddr(v.of(vip))}
		for _, port := range []uint16{80, 8080} {
			f.Ports = append(f.Ports, desired.Port{Protocol: desired.SCTP, Port: port, Target: netip.MustParseAddrPort(v.at(clusterIP + ":80"))})
		}
		all = append(all, f)
	}
	c.sync(t, nft.NewDatapath(), all)
	for _, v := range ipVersions {
		t.Run(v.name, func(t *testing.T) {
			client, pod := sctpSocket(c.client, v), sctpSocket(c.pod, v)
			to := &net.IPAddr{IP: net.ParseIP(v.of(vip))}
			for _, port := range []uint16{80, 8080} {
				if _, err := client.WriteTo(newSCTP(40000, port, 0, sctpInit), to); err != nil {
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
			// A port that no Service has.
			errors := capture(t, c.client, v)
			if _, err := client.WriteTo(newSCTP(40000, 81, 0, sctpInit), to); err != nil {
				t.Fatal(err)
			}
			e := errors.nextError(t)
			e.checkSums(t)
			if e.source().String() != v.of(vip) || e.quotedDestination().String() != v.at(vip+":81") {
				t.Errorf("the client got an error of %s about a packet to %s", e.source(), e.quotedDestination())
			}
		})
	}
}
