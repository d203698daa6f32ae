package nft_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/netnstest"
)

// icmpErrors receives the ICMP errors that a namespace receives.
type icmpErrors struct{ fd int }

// captureErrors begins to receive.
func captureErrors(t *testing.T, ns *netnstest.NS) icmpErrors {
	t.Helper()
	fd := -1
	var err error
	ns.Do(func() { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP) })
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
	b := make([]byte, 1500)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n, err := unix.Read(c.fd, b)
		if err != nil {
			t.Fatalf("no ICMP error was received: %v", err)
		}
		if e := icmpError(b[:n]); len(e) >= 56 && e[20] != 0 && e[20] != 8 {
			return e
		}
	}
	t.Fatal("no ICMP error was received")
	return nil
}

// icmpError is an IPv4 packet: 20 bytes of header, 8 of ICMP, 20 of the quoted
// header and some of what follows that.
type icmpError []byte

func (e icmpError) source() netip.Addr            { return netip.AddrFrom4([4]byte(e[12:16])) }
func (e icmpError) quotedSource() netip.Addr      { return netip.AddrFrom4([4]byte(e[40:44])) }
func (e icmpError) quotedDestination() netip.Addr { return netip.AddrFrom4([4]byte(e[44:48])) }

// checkSums looks at the three checksums over addresses.
func (e icmpError) checkSums(t *testing.T) {
	t.Helper()
	for name, covered := range map[string][]byte{"IPv4": e[:20], "ICMP": e[20:], "quoted IPv4": e[28:48]} {
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
