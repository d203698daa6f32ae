package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

func TestLocalPorts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, c := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:2"), netip.MustParseAddrPort("192.0.2.1:3")
		var p localPorts
		p.put(a)
		time.Sleep(reusable / 2)
		p.put(b)
		p.put(c)
		time.Sleep(reusable / 2)
		// The first one is too old.
		for _, want := range []netip.AddrPort{b, c, {}} {
			if got := p.take(); got != want {
				t.Errorf("took %s, want %s", got, want)
			}
		}
	})
}

// TestNetnsClientEndsFirst: connections that the client ends first do not use up
// the node's ports, and lose nothing: the target gets all that the client said and
// then its end, and the client all that the target said after that.
func TestNetnsClientEndsFirst(t *testing.T) {
	const ports, connections, atOnce = 100, 2000, 8
	lan := netnstest.NewLAN(t, 4)
	node, server, client, plain := lan.Hosts[0], lan.Hosts[1], lan.Hosts[2], lan.Hosts[3]
	for _, ns := range []*netnstest.NS{node, plain} {
		ns.Sysctl("net.ipv4.ip_local_port_range", "40000 "+strconv.Itoa(40000+ports-1))
	}
	// serve hears all, and answers then.
	serve := func() netip.AddrPort {
		return backendAt(t, server.Listen("tcp", netip.AddrPortFrom(lan.Addr(1), 0).String()), func(c *net.TCPConn) {
			if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
				t.Errorf("the target got %q, %v", got, err)
			}
			if _, err := c.Write([]byte("goodbye")); err != nil {
				t.Errorf("the target: %v", err)
			}
		})
	}
	ask := func(from *netnstest.NS, target netip.AddrPort) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, err := from.DialContext(ctx, "tcp", target.String())
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		got, err := io.ReadAll(c)
		if err == nil && string(got) != "goodbye" {
			err = errors.New("the client got " + strconv.Quote(string(got)))
		}
		return err
	}

	// A program that lets the kernel choose uses them up.
	target, n := serve(), 0
	var err error
	for err == nil && n <= ports {
		if err = ask(plain, target); err == nil {
			n++
		}
	}
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Fatalf("after %d connections from %d ports: %v, want %v", n, ports, err, syscall.EADDRNOTAVAIL)
	}

	for _, tt := range []struct {
		timestamps  string
		connections int
	}{
		{"1", connections},
		// Such a port cannot be used again, but others can.
		{"0", ports / 2},
	} {
		t.Run("timestamps="+tt.timestamps, func(t *testing.T) {
			node.Sysctl("net.ipv4.tcp_timestamps", tt.timestamps)
			proxy := startChild(t, func(cmd *exec.Cmd) (err error) {
				node.Do(func() { err = cmd.Start() })
				return err
			}, lan.Addr(0), serve(), 0)
			work := make(chan struct{})
			var clients sync.WaitGroup
			for range atOnce {
				clients.Go(func() {
					for range work {
						if err := ask(client, proxy.at); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for range tt.connections {
				work <- struct{}{}
			}
			close(work)
			clients.Wait()
			within(t, "end of all", func() bool { return proxy.status().Connections == 0 })
			if d := cmp.Diff(map[string]uint64{"closed": uint64(tt.connections)}, proxy.status().Ended); d != "" {
				t.Error(d)
			}
		})
	}
}
