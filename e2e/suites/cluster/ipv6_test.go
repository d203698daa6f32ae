package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
	"kube-vrrp-vip/pkg/netns"
)

// TestClusterIPv6 has an IPv6 VIP without a Service, for a listener of the nodes.
func TestClusterIPv6(t *testing.T) {
	s, _ := install(t, &nftables)
	if !s.Addr6("client").IsValid() {
		t.Skip("this machine has no IPv6")
	}
	const port = 9080
	for _, n := range s.Nodes() {
		serveOn(t, s, n, port)
	}
	vip := netip.MustParseAddr("fd89::200")
	vips := append(baseVIPs(), vip)
	if err := s.SetEntry(t.Context(), "fd89--200", ""); err != nil {
		t.Fatal(err)
	}
	var holders map[netip.Addr]string
	eventually(t, "IPv6 VIP", func(ctx context.Context) (err error) {
		holders, err = s.Spread(ctx, vips)
		return err
	})
	master, target := holders[vip], netip.AddrPortFrom(vip, port)
	if err := scenario.Answered(t.Context(), s.NetNS("client"), target, []string{master}); err != nil {
		t.Error(err)
	}
	eventually(t, "echo reply", func(ctx context.Context) error { return ping6(ctx, s.NetNS("client"), vip) })

	p, err := probe.Start(s.NetNS("client"), target, 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	pod, err := s.Pod(t.Context(), master)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kubectl(t.Context(), "", "--namespace="+scenario.Namespace, "delete", "pod", pod.Name, "--wait=false"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another Master than "+master, func(ctx context.Context) (err error) {
		if holders, err = s.Spread(ctx, vips); err == nil && holders[vip] == master {
			err = errors.New("it is still that one")
		}
		return err
	})
	if err := scenario.Answered(t.Context(), s.NetNS("client"), target, []string{holders[vip]}); err != nil {
		t.Error(err)
	}
	eventually(t, "echo reply", func(ctx context.Context) error { return ping6(ctx, s.NetNS("client"), vip) })
	r := p.Stop()
	t.Log(r)
	measured(t, "ipv6_graceful_failover_ms", r.Outage(), scenario.GracefulTarget)
}

// serveOn says on all IPv6 addresses of a node which node it is, until the test ends.
func serveOn(t *testing.T, s *scenario.Site, node string, port uint16) {
	t.Helper()
	var l net.Listener
	err := netns.Do(s.NetNS(node), func() (err error) {
		l, err = net.Listen("tcp6", netip.AddrPortFrom(netip.IPv6Unspecified(), port).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: probe.Timeout,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "node=%s\n", node) }),
	}
	t.Cleanup(func() { server.Close() })
	go func() { _ = server.Serve(l) }()
}

// ping6 asks an address by ICMPv6 echo, once, from the namespace at path. The kernel
// sets and checks the checksum.
func ping6(ctx context.Context, path string, a netip.Addr) error {
	conn, err := netns.Dial(ctx, path, "ip6:58", a.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	const request, reply = 128, 129
	message := []byte{request, 0, 0, 0, 0x12, 0x34, 0, 1}
	if _, err := conn.Write(message); err != nil {
		return err
	}
	for {
		var buf [64]byte
		n, err := conn.Read(buf[:])
		if err != nil {
			return err
		}
		// All but the checksum.
		if n == len(message) && buf[0] == reply && bytes.Equal(buf[4:n], message[4:]) {
			return nil
		}
	}
}
