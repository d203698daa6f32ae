package netnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"kube-vrrp-vip/pkg/netns"
)

// requireEnv turns a skipped test into a failed one when it is "1".
const requireEnv = "REQUIRE_NETNS"

var probe = sync.OnceValue(func() error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	ns, err := netns.New("probe")
	if err != nil {
		return err
	}
	return ns.Close()
})

// Require skips the test unless it may create network namespaces. With
// REQUIRE_NETNS=1 in the environment the test fails instead, so that a run
// that is meant to cover everything cannot pass without it.
func Require(t testing.TB) {
	t.Helper()
	err := probe()
	if err == nil {
		return
	}
	if os.Getenv(requireEnv) == "1" {
		t.Fatalf("network namespaces: %v", err)
	}
	t.Skipf("network namespaces: %v", err)
}

// NS is a network namespace that ends with the test.
type NS struct {
	t  testing.TB
	ns *netns.Namespace
}

// New makes a network namespace whose loopback is up. The name appears in
// failures only and need not be unique.
func New(t testing.TB, name string) *NS {
	t.Helper()
	Require(t)
	made, err := netns.New(name)
	if err != nil {
		t.Fatal(err)
	}
	ns := &NS{t: t, ns: made}
	t.Cleanup(func() {
		if t.Failed() {
			ns.dump()
		}
		if err := made.Close(); err != nil {
			t.Errorf("close namespace %s: %v", name, err)
		}
	})
	ns.Run("ip", "link", "set", "lo", "up")
	return ns
}

// FD is the namespace as a file descriptor, open until the test ends.
func (ns *NS) FD() int { return ns.ns.FD() }

// Path names the namespace for programs that take a file, such as
// ip link set ... netns PATH and nsenter --net=PATH.
func (ns *NS) Path() string { return ns.ns.Path() }

// Do runs f on the calling goroutine with its thread inside the namespace.
// Sockets that f opens stay there. Goroutines that f starts do not: they call
// Do themselves. f may end the test.
func (ns *NS) Do(f func()) { ns.ns.DoHere(f) }

// Run runs a command inside and returns what it wrote, trimmed. A command
// that fails ends the test.
func (ns *NS) Run(name string, args ...string) string {
	ns.t.Helper()
	return ns.RunInput("", name, args...)
}

// RunInput is Run with text on the command's standard input.
func (ns *NS) RunInput(input, name string, args ...string) string {
	ns.t.Helper()
	out, err := ns.ns.RunInput(input, name, args...)
	if err != nil {
		ns.t.Fatal(err)
	}
	return out
}

// Try is Run for a command that may fail.
func (ns *NS) Try(name string, args ...string) (string, error) {
	return ns.ns.Run(name, args...)
}

// DialContext connects from inside the namespace. The address must be
// numeric: a name would be looked up elsewhere. It fits http.Transport.
func (ns *NS) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	var d net.Dialer
	ns.Do(func() { conn, err = d.DialContext(ctx, network, address) })
	return conn, err
}

// Listen listens inside the namespace; the listener is closed with the test.
func (ns *NS) Listen(network, address string) net.Listener {
	ns.t.Helper()
	var l net.Listener
	var err error
	ns.Do(func() { l, err = net.Listen(network, address) })
	if err != nil {
		ns.t.Fatalf("%s: %v", ns.ns.Name, err)
	}
	ns.t.Cleanup(func() { l.Close() })
	return l
}

// ListenPacket is Listen for datagrams.
func (ns *NS) ListenPacket(network, address string) net.PacketConn {
	ns.t.Helper()
	var c net.PacketConn
	var err error
	ns.Do(func() { c, err = net.ListenPacket(network, address) })
	if err != nil {
		ns.t.Fatalf("%s: %v", ns.ns.Name, err)
	}
	ns.t.Cleanup(func() { c.Close() })
	return c
}

// Index returns the interface index of a link.
func (ns *NS) Index(link string) int {
	ns.t.Helper()
	var index int
	out := ns.Run("ip", "-o", "link", "show", "dev", link)
	if _, err := fmt.Sscanf(out, "%d:", &index); err != nil {
		ns.t.Fatalf("%s: index of %s: %v in %q", ns.ns.Name, link, err, out)
	}
	return index
}

// HardwareAddr returns the Ethernet address of a link.
func (ns *NS) HardwareAddr(link string) net.HardwareAddr {
	ns.t.Helper()
	fields := strings.Fields(ns.Run("ip", "-o", "link", "show", "dev", link))
	i := slices.Index(fields, "link/ether") + 1
	if i == 0 || i == len(fields) {
		ns.t.Fatalf("%s: no Ethernet address of %s in %q", ns.ns.Name, link, fields)
	}
	mac, err := net.ParseMAC(fields[i])
	if err != nil {
		ns.t.Fatalf("%s: Ethernet address of %s: %v", ns.ns.Name, link, err)
	}
	return mac
}

// Sysctl writes a network sysctl such as net.ipv4.ip_forward.
func (ns *NS) Sysctl(key, value string) {
	ns.t.Helper()
	if err := ns.ns.Sysctl(strings.ReplaceAll(key, ".", "/") + "=" + value); err != nil {
		ns.t.Fatal(err)
	}
}

// Veth connects two namespaces with a pair of links, both up.
func Veth(a *NS, aLink string, b *NS, bLink string) {
	a.t.Helper()
	a.Run("ip", "link", "add", aLink, "type", "veth", "peer", "name", bLink, "netns", b.Path())
	a.Run("ip", "link", "set", aLink, "up")
	b.Run("ip", "link", "set", bLink, "up")
}

// dump shows what a failed test left.
func (ns *NS) dump() {
	ns.t.Helper()
	const limit = 32 << 10
	for _, cmd := range []string{"ip -d addr", "ip route show table all", "ip neigh", "nft list ruleset"} {
		fields := strings.Fields(cmd)
		out, err := ns.Try(fields[0], fields[1:]...)
		if len(out) > limit {
			out = out[:limit] + "\n..."
		}
		if err != nil {
			out += "\n" + err.Error()
		}
		ns.t.Logf("%s: %s\n%s", ns.ns.Name, cmd, out)
	}
}
