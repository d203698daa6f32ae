package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pires/go-proxyproto"

	"kube-vrrp-vip/pkg/desired"
)

var (
	vip4  = netip.MustParseAddrPort("192.0.2.99:443")
	vip6  = netip.MustParseAddrPort("[2001:db8::99]:443")
	node4 = netip.MustParseAddr("127.0.0.2")
	node6 = netip.MustParseAddr("::1")
)

func within(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// newProxy returns a Proxy that is closed with the test. After that no
// goroutine of it is left.
func newProxy(t testing.TB) *Proxy {
	t.Helper()
	p := New()
	p.drain = 50 * time.Millisecond
	t.Cleanup(func() {
		p.Close()
		if n := p.places.count(&p.places.all); n != 0 {
			t.Errorf("%d connections are open after Close", n)
		}
		stacks := ""
		deadline := time.Now().Add(10 * time.Second)
		for {
			buffer := make([]byte, 1<<20)
			stacks = string(buffer[:runtime.Stack(buffer, true)])
			// Frames of this package that are not of its tests.
			if !strings.Contains(stacks, "pkg/proxy/listener.go") && !strings.Contains(stacks, "pkg/proxy/connection.go") {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("goroutines are left:\n%s", stacks)
			}
			time.Sleep(time.Millisecond)
		}
	})
	return p
}

// backend hands every connection it gets to serve, on a goroutine of its own.
func backend(t testing.TB, address string, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return backendAt(t, l, serve)
}

// backendAt is backend with a listener that there is.
func backendAt(t testing.TB, l net.Listener, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	var running sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// open makes p serve one port and returns where it listens.
func open(t testing.TB, p *Proxy, port Port) netip.AddrPort {
	t.Helper()
	private, err := p.Open([]Port{port})
	if err != nil {
		t.Fatal(err)
	}
	p.Prune()
	return private[port.VIP]
}

func connect(t testing.TB, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", to.String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// exchange connects, has one byte echoed and returns the connection. If that is
// reset, perhaps before it was known to be open, it returns nil.
func exchange(t testing.TB, with netip.AddrPort) *net.TCPConn {
	t.Helper()
	return exchangeFrom(t, netip.AddrPort{}, with)
}

// exchangeFrom is exchange from an address of the client's.
func exchangeFrom(t testing.TB, from, with netip.AddrPort) *net.TCPConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialTCP(ctx, "tcp", from, with)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err = conn.Write([]byte("x")); err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
	}
	switch {
	case err == nil:
		return conn
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return nil
	default:
		t.Fatalf("neither served nor reset: %v", err)
		return nil
	}
}

// ended returns how the connections of the only port ended.
func ended(p *Proxy) map[string]uint64 { return p.Status()[0].Ended }

func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

func TestHeader(t *testing.T) {
	t.Parallel()
	for _, family := range []struct {
		name string
		vip  netip.AddrPort
		node netip.Addr
	}{{"IPv4", vip4, node4}, {"IPv6", vip6, node6}} {
		for header, version := range map[desired.Proxy]byte{desired.ProxyPlain: 0, desired.ProxyV1: 1, desired.ProxyV2: 2} {
			t.Run(fmt.Sprint(family.name, " ", version), func(t *testing.T) {
				t.Parallel()
				type greeting struct {
					version             byte
					source, destination string
					rest                string
				}
				got := make(chan greeting, 1)
				target := backend(t, netip.AddrPortFrom(family.node, 0).String(), func(c *net.TCPConn) {
					r := bufio.NewReader(c)
					var g greeting
					if h, err := proxyproto.Read(r); err == nil {
						g = greeting{h.Version, h.SourceAddr.String(), h.DestinationAddr.String(), ""}
					}
					rest, _ := io.ReadAll(r)
					g.rest = string(rest)
					got <- g
				})
				p := newProxy(t)
				c := connect(t, open(t, p, Port{family.vip, family.node, target, header}))
				if _, err := c.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				want := greeting{rest: "hello"}
				if version > 0 {
					want = greeting{version, c.LocalAddr().String(), family.vip.String(), "hello"}
				}
				if g := <-got; g != want {
					t.Errorf("got %+v, want %+v", g, want)
				}
			})
		}
	}
}

// TestHeaderFirst: the target is told at once, whether or not the client says
// anything.
func TestHeaderFirst(t *testing.T) {
	t.Parallel()
	target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
		if _, err := proxyproto.Read(bufio.NewReader(c)); err == nil {
			_, _ = c.Write([]byte("220 ready"))
		}
	})
	c := connect(t, open(t, newProxy(t), Port{vip4, node4, target, desired.ProxyV2}))
	if got, err := io.ReadAll(c); string(got) != "220 ready" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestHalfClose: an end of one direction is passed on and leaves the other one
// open, whoever ends first.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB: more than the buffers hold.
	for _, targetFirst := range []bool{false, true} {
		t.Run(fmt.Sprint(targetFirst), func(t *testing.T) {
			t.Parallel()
			both := func(c *net.TCPConn, first bool) ([]byte, error) {
				if !first {
					got, err := io.ReadAll(c)
					if err != nil {
						return nil, err
					}
					if _, err := c.Write(content); err != nil {
						return nil, err
					}
					return got, c.CloseWrite()
				}
				if _, err := c.Write(content); err != nil {
					return nil, err
				}
				if err := c.CloseWrite(); err != nil {
					return nil, err
				}
				return io.ReadAll(c)
			}
			check := func(who string, got []byte, err error) {
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s got %d of %d bytes, %v", who, len(got), len(content), err)
				}
			}
			done := make(chan struct{})
			target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
				defer close(done)
				got, err := both(c, targetFirst)
				check("target", got, err)
			})
			p := newProxy(t)
			got, err := both(connect(t, open(t, p, Port{vip4, node4, target, desired.ProxyPlain})), !targetFirst)
			check("client", got, err)
			<-done
			within(t, "end", func() bool { return ended(p)["closed"] == 1 && p.Status()[0].Connections == 0 })
		})
	}
}

// TestReset: a connection that is reset on one side is reset on the other one,
// and never looks as if it had ended by itself: not even if the direction that
// moves bytes hears of the reset first.
func TestReset(t *testing.T) {
	t.Parallel()
	const rounds = 50
	for _, by := range []string{"target", "client"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			full := make(chan struct{})
			seen := make(chan error)
			// watches fills what is on the way, so that the other direction
			// has everything to tell, and then only reads.
			watches := func(c *net.TCPConn) error {
				_ = c.SetWriteBuffer(4096)
				for {
					_ = c.SetWriteDeadline(time.Now().Add(5 * time.Millisecond))
					if n, err := c.Write(make([]byte, 1<<16)); errors.Is(err, os.ErrDeadlineExceeded) && n == 0 {
						break
					} else if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("write: %v", err)
						break
					}
				}
				full <- struct{}{}
				_, err := c.Read(make([]byte, 1))
				_ = c.Close()
				return err
			}
			breaks := func(c *net.TCPConn) {
				_ = c.SetReadBuffer(4096)
				<-full
				_ = c.SetLinger(0)
				_ = c.Close()
			}
			target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
				if by == "target" {
					breaks(c)
				} else {
					seen <- watches(c)
				}
			})
			p := newProxy(t)
			at := open(t, p, Port{vip4, node4, target, desired.ProxyPlain})
			for range rounds {
				c := connect(t, at)
				if by == "client" {
					go breaks(c)
				} else {
					go func() { seen <- watches(c) }()
				}
				if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
					t.Fatalf("the other side saw %v, want a reset", err)
				}
			}
			within(t, "end", func() bool { return ended(p)["reset"] == rounds })
			if d := cmp.Diff(map[string]uint64{"reset": rounds}, ended(p)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestResetWhileIdle: a reset is passed on although nothing is moved.
func TestResetWhileIdle(t *testing.T) {
	t.Parallel()
	target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
	})
	c := connect(t, open(t, newProxy(t), Port{vip4, node4, target, desired.ProxyPlain}))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want a reset", err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	if exchange(t, open(t, p, Port{vip4, node4, netip.MustParseAddrPort("127.0.0.4:1"), desired.ProxyV1})) != nil {
		t.Error("served")
	}
	within(t, "count", func() bool { return ended(p)["unreachable"] == 1 })
}

// TestSilent: half a connection that says nothing is reset, one that is slow is
// not, and an idle one that is whole is not either.
func TestSilent(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
		_, _ = io.Copy(io.Discard, c)
		for range 20 { // Slow, for longer than silence is allowed.
			_, _ = c.Write([]byte("."))
			time.Sleep(100 * time.Millisecond)
		}
		<-stop
	})
	defer close(stop)
	p := newProxy(t)
	p.dead = time.Second
	at := open(t, p, Port{vip4, node4, target, desired.ProxyPlain})
	idle, half := connect(t, at), connect(t, at)
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(half)
	if string(got) != strings.Repeat(".", 20) || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %q, %v; want all of it, and then a reset", got, err)
	}
	within(t, "count", func() bool { return ended(p)["silent"] == 1 })
	if n := p.Status()[0].Connections; n != 1 {
		t.Errorf("%d connections, want the idle one", n)
	}
	idle.Close()
}

func TestLimit(t *testing.T) {
	t.Parallel()
	target := backend(t, "127.0.0.3:0", echo)
	p := newProxy(t)
	p.places.all.max = 6
	other := netip.MustParseAddrPort("192.0.2.99:80")
	third := netip.MustParseAddrPort("192.0.2.99:81")
	private, err := p.Open([]Port{{vip4, node4, target, 0}, {other, node4, target, 0}, {third, node4, target, 0}})
	if err != nil {
		t.Fatal(err)
	}
	var admitted []*net.TCPConn
	for _, vip := range []netip.AddrPort{vip4, other} {
		for i := range 5 { // A port has half of what there is.
			c := exchange(t, private[vip])
			if ok := c != nil; ok != (i < 3) {
				t.Errorf("connection %d of %s served: %t", i, vip, ok)
			} else if ok {
				admitted = append(admitted, c)
			}
		}
	}
	if exchange(t, private[third]) != nil {
		t.Error("more connections than allowed in all")
	}
	for _, s := range p.Status() {
		if want := map[netip.AddrPort]uint64{vip4: 2, other: 2, third: 1}[s.VIP]; s.Ended["limit"] != want {
			t.Errorf("%s: %d refused, want %d", s.VIP, s.Ended["limit"], want)
		}
	}
	admitted[0].Close()
	within(t, "a place", func() bool { return p.places.count(&p.places.all) == 5 })
	if exchange(t, private[third]) == nil {
		t.Error("no place although one was left")
	}
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	for files, want := range map[uint64]int{
		0: 1, 100: 1, 1024: (1024 - 320) / 2, 32768: (32768 - 320) / 2, 33088: maxConnections, 1 << 20: maxConnections, ^uint64(0): maxConnections,
	} {
		if got := connectionLimit(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}

// TestOpen: a port keeps its listener until it is gone, and those that cannot
// be listened on do not harm it.
func TestOpen(t *testing.T) {
	t.Parallel()
	says := func(what string) netip.AddrPort {
		return backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
			_, _ = c.Write([]byte(what))
			_, _ = io.Copy(c, c)
		})
	}
	a, b := says("a"), says("b")
	p := newProxy(t)
	at := open(t, p, Port{vip4, node4, a, 0})
	if at.Addr() != node4 || at.Port() == 0 {
		t.Fatalf("listens on %s", at)
	}
	greeting := func(c *net.TCPConn) string {
		buffer := make([]byte, 1)
		_, _ = c.Read(buffer)
		return string(buffer)
	}
	before := connect(t, at)
	if got := greeting(before); got != "a" {
		t.Fatalf("got %q", got)
	}

	other := netip.MustParseAddrPort("192.0.2.98:443")
	for range 2 { // It is tried again.
		private, err := p.Open([]Port{
			{vip4, node4, b, 0},
			{vip6, netip.Addr{}, a, 0},
			{other, netip.MustParseAddr("192.0.2.1"), a, 0},
		})
		p.Prune()
		for _, want := range []string{"proxy 192.0.2.98:443: ", "proxy [2001:db8::99]:443: the node's own address of this family is not known"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		}
		if d := cmp.Diff(fmt.Sprint(map[netip.AddrPort]netip.AddrPort{vip4: at}), fmt.Sprint(private)); d != "" {
			t.Error(d)
		}
	}
	if got := greeting(connect(t, at)); got != "b" {
		t.Errorf("after the change got %q", got)
	}
	if _, err := before.Write([]byte("x")); err != nil || greeting(before) != "x" {
		t.Errorf("the connection from before does not work: %v", err)
	}

	// Another address of the node: the old listener stays until Prune.
	private, err := p.Open([]Port{{vip4, netip.MustParseAddr("127.0.0.5"), b, 0}})
	if err != nil || private[vip4].Addr() != netip.MustParseAddr("127.0.0.5") {
		t.Fatalf("%v, %v", private, err)
	}
	if got := greeting(connect(t, at)); got != "b" {
		t.Errorf("before Prune got %q", got)
	}
	p.Prune()
	if c, err := net.Dial("tcp", at.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after Prune: %v, %v", c, err)
	}
	if got := greeting(connect(t, private[vip4])); got != "b" {
		t.Errorf("at the new address got %q", got)
	}
}

// TestDrain: after its port was removed a connection may end by itself for a
// while, and is reset then.
func TestDrain(t *testing.T) {
	t.Parallel()
	target := backend(t, "127.0.0.3:0", echo)
	p := newProxy(t)
	p.drain = time.Second
	at := open(t, p, Port{vip4, node4, target, 0})
	ends, stays := connect(t, at), connect(t, at)
	within(t, "connections", func() bool { return p.Status()[0].Connections == 2 })
	if _, err := p.Open(nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.Prune()
	if _, err := ends.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = ends.CloseWrite()
	if got, err := io.ReadAll(ends); string(got) != "x" || err != nil {
		t.Errorf("while it drained: %q, %v", got, err)
	}
	if _, err := stays.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want a reset", err)
	}
	if waited := time.Since(began); waited < p.drain {
		t.Errorf("reset after %s", waited)
	}
}

// TestEmpty: without ports there is nothing.
func TestEmpty(t *testing.T) {
	before := runtime.NumGoroutine()
	files := openFiles(t, "")
	p := New()
	if _, err := p.Open(nil); err != nil {
		t.Fatal(err)
	}
	p.Prune()
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, before %d", after, before)
	}
	if after := openFiles(t, ""); after > files {
		t.Errorf("%d files, before %d", after, files)
	}
	p.Close()
}

// openFiles counts the descriptors of this process whose target begins so.
func openFiles(t testing.TB, prefix string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(target, prefix) {
			n++
		}
	}
	return n
}

// TestFiles: a connection that is open has a socket to each side, and nothing
// else: that is what filesPerConnection counts on.
func TestFiles(t *testing.T) {
	const connections = 50
	target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		if _, err := proxyproto.Read(r); err == nil {
			b, _ := r.ReadByte()
			_, _ = c.Write([]byte{b})
			_, _ = r.ReadByte()
		}
	})
	at := open(t, newProxy(t), Port{vip4, node4, target, desired.ProxyV2})
	pipes, sockets := openFiles(t, "pipe:"), openFiles(t, "socket:")
	for range connections {
		if exchange(t, at) == nil {
			t.Fatal("not served")
		}
	}
	pipes = openFiles(t, "pipe:") - pipes
	sockets = openFiles(t, "socket:") - sockets - 2*connections // The test's own ends.
	if pipes > 0 || sockets > filesPerConnection*connections {
		t.Errorf("%d connections have %d pipe ends and %d sockets, want none and 2 each", connections, pipes, sockets)
	}
}

// TestSplice: much is moved by the kernel, through no more pipes than there may
// be, and through none when it was moved. It arrives whole, however many
// connections have how much.
func TestSplice(t *testing.T) {
	const connections = 2*maxPipes + 20
	content := make([]byte, 4<<20)
	for i := range content {
		content[i] = byte(i * i >> 8)
	}
	target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) { _, _ = c.Write(content) })
	at := open(t, newProxy(t), Port{vip4, node4, target, desired.ProxyPlain})
	before := openFiles(t, "pipe:")
	var clients []*net.TCPConn
	for range connections {
		clients = append(clients, connect(t, at))
	}
	within(t, "pipes", func() bool { return openFiles(t, "pipe:") > before })
	if n := openFiles(t, "pipe:") - before; n > 2*maxPipes {
		t.Errorf("%d pipe ends", n)
	}
	for _, c := range clients {
		if got, err := io.ReadAll(c); !bytes.Equal(got, content) || err != nil {
			t.Fatalf("got %d of %d bytes, %v", len(got), len(content), err)
		}
		c.Close()
	}
	// They wait in a pool until the collector has seen them.
	within(t, "pipes are gone", func() bool { runtime.GC(); return openFiles(t, "pipe:")-before <= 0 })
}
