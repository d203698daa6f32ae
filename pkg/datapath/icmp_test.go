package datapath_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

// packets receives the packets that a namespace receives.
type packets struct{ fd int }

// capture begins to receive those of a family.
func capture(t *testing.T, ns *netnstest.NS, v ipVersion) packets {
	t.Helper()
	ethertype := uint16(unix.ETH_P_IP)
	if v.name == "IPv6" {
		ethertype = unix.ETH_P_IPV6
	}
	fd := -1
	var err error
	// A socket of IPv6 would not get the header.
	ns.Do(func() {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(ethertype<<8|ethertype>>8))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	return packets{fd}
}

// nextPacket returns the next packet. One that does not come ends the test.
func (c packets) nextPacket(t *testing.T) packet {
	t.Helper()
	b := make([]byte, 1<<16)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n, from, err := unix.Recvfrom(c.fd, b, 0)
		if err != nil {
			t.Fatalf("no packet was received: %v", err)
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		// A short packet has bytes behind it.
		p := packet(b[:n])
		length := int(binary.BigEndian.Uint16(p[2:]))
		if p.is6() {
			length = p.header() + int(binary.BigEndian.Uint16(p[4:]))
		}
		return p[:length]
	}
	t.Fatal("no packet was received")
	return nil
}

// nextError returns the next ICMP error.
func (c packets) nextError(t *testing.T) packet {
	t.Helper()
	for {
		p := c.nextPacket(t)
		if p.protocol() == unix.IPPROTO_ICMP && slices.Contains([]byte{3, 11, 12}, p[20]) || p.protocol() == unix.IPPROTO_ICMPV6 && p[40] < 128 {
			return p
		}
	}
}

// packet is 20 or, with IPv6, 40 bytes of header, and the payload. In an ICMP
// error that is 8 bytes, a header and some of what follows that one.
type packet []byte

func (e packet) is6() bool { return e[0]>>4 == 6 }

func (e packet) header() int {
	if e.is6() {
		return 40
	}
	return 20
}

func (e packet) protocol() byte {
	if e.is6() {
		return e[6]
	}
	return e[9]
}

func (e packet) quoted() packet { return e[e.header()+8:] }

func (e packet) source() netip.Addr {
	if e.is6() {
		return netip.AddrFrom16([16]byte(e[8:]))
	}
	return netip.AddrFrom4([4]byte(e[12:]))
}

func (e packet) quotedSource() netip.AddrPort {
	q := e.quoted()
	return netip.AddrPortFrom(q.source(), binary.BigEndian.Uint16(q[q.header():]))
}

func (e packet) quotedDestination() netip.AddrPort {
	q := e.quoted()
	port := binary.BigEndian.Uint16(q[q.header()+2:])
	if e.is6() {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(q[24:])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(q[16:])), port)
}

// checkSums looks at the checksums over addresses and ports.
func (e packet) checkSums(t *testing.T) {
	t.Helper()
	sums := map[string][]byte{"IPv4": e[:20], "ICMP": e[e.header():], "quoted IPv4": e.quoted()[:20]}
	if e.is6() {
		// The pseudo-header of RFC 8200 section 8.1.
		length := len(e) - 40
		sums = map[string][]byte{"ICMPv6": slices.Concat(e[8:40], []byte{0, 0, byte(length >> 8), byte(length), 0, 0, 0, unix.IPPROTO_ICMPV6}, e[40:])}
	}
	for name, covered := range sums {
		if got := internetSum(covered); got != 0xffff {
			t.Errorf("%s checksum is wrong: the sum is %#x, want 0xffff, of % x", name, got, []byte(e))
		}
	}
}

// internetSum is the sum of RFC 1071.
func internetSum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
