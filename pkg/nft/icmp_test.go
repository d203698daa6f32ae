package nft_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/netnstest"
)

// icmpErrors receives the ICMP errors that a namespace receives.
type icmpErrors struct{ fd int }

// captureErrors begins to receive those of a family.
func captureErrors(t *testing.T, ns *netnstest.NS, v ipVersion) icmpErrors {
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
	return icmpErrors{fd}
}

// next returns the next error. One that does not come ends the test.
func (c icmpErrors) next(t *testing.T) icmpError {
	t.Helper()
	b := make([]byte, 1<<16)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n, from, err := unix.Recvfrom(c.fd, b, 0)
		if err != nil {
			t.Fatalf("no ICMP error was received: %v", err)
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		e := icmpError(b[:n])
		if len(e) >= 56 && e[0]>>4 == 4 && e[9] == unix.IPPROTO_ICMP && (e[20] == 3 || e[20] == 11 || e[20] == 12) {
			return e[:binary.BigEndian.Uint16(e[2:])]
		}
		if len(e) >= 96 && e[0]>>4 == 6 && e[6] == unix.IPPROTO_ICMPV6 && e[40] < 128 {
			return e
		}
	}
	t.Fatal("no ICMP error was received")
	return nil
}

// icmpError is a packet: 20 or, with IPv6, 40 bytes of header, 8 of ICMP, as
// many of the quoted header and some of what follows that.
type icmpError []byte

func (e icmpError) is6() bool { return e[0]>>4 == 6 }

func (e icmpError) header() int {
	if e.is6() {
		return 40
	}
	return 20
}

func (e icmpError) quoted() icmpError { return e[e.header()+8:] }

func (e icmpError) source() netip.Addr {
	if e.is6() {
		return netip.AddrFrom16([16]byte(e[8:]))
	}
	return netip.AddrFrom4([4]byte(e[12:]))
}

func (e icmpError) quotedSource() netip.AddrPort {
	q := e.quoted()
	return netip.AddrPortFrom(q.source(), binary.BigEndian.Uint16(q[q.header():]))
}

func (e icmpError) quotedDestination() netip.AddrPort {
	q := e.quoted()
	port := binary.BigEndian.Uint16(q[q.header()+2:])
	if e.is6() {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(q[24:])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(q[16:])), port)
}

// checkSums looks at the checksums over addresses and ports.
func (e icmpError) checkSums(t *testing.T) {
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
