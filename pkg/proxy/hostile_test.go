package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// TestNothingLeft: whatever clients and targets do to a connection, nothing of it
// is left, and each is counted once.
func TestNothingLeft(t *testing.T) {
	const connections, atOnce = 4000, 40
	target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
		first := make([]byte, 1)
		if n, _ := c.Read(first); n == 1 && first[0] == 'r' {
			_ = c.SetLinger(0)
			return
		}
		_, _ = io.Copy(c, c)
	})
	p := newProxy(t)
	gone := netip.MustParseAddrPort("192.0.2.98:443")
	private, err := p.Open([]Port{{gone, node4, netip.MustParseAddrPort("127.0.0.4:1"), 0}, {vip4, node4, target, desired.ProxyPlain}})
	if err != nil {
		t.Fatal(err)
	}
	within(t, "no pipes", func() bool { runtime.GC(); return openFiles(t, "pipe:") < 10 })
	files, goroutines := openFiles(t, ""), runtime.NumGoroutine()

	work := make(chan int)
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for i := range work {
				to := private[vip4]
				if i%5 == 4 {
					to = private[gone]
				}
				c, err := net.Dial("tcp", to.String())
				if err != nil {
					continue // It was reset so early.
				}
				conn := c.(*net.TCPConn)
				_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
				switch i % 5 {
				case 0: // Says nothing and ends.
				case 1: // Ends when all is said.
					_, _ = conn.Write([]byte("hello"))
					_ = conn.CloseWrite()
					if got, err := io.ReadAll(conn); string(got) != "ello" || err != nil {
						t.Errorf("got %q, %v", got, err)
					}
				case 2: // Is reset by the target.
					_, _ = conn.Write([]byte("r"))
					if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("read: %v, want a reset", err)
					}
				case 3: // Resets in the middle of much.
					_, _ = conn.Write(make([]byte, 1<<16))
					_ = conn.SetLinger(0)
				case 4:
					_, _ = io.ReadAll(conn)
				}
				_ = conn.Close()
			}
		})
	}
	for i := range connections {
		work <- i
	}
	close(work)
	clients.Wait()

	count := func() (ended uint64, open int) {
		for _, s := range p.Status() {
			open += s.Connections
			for _, n := range s.Ended {
				ended += n
			}
		}
		return ended, open
	}
	within(t, "end of all", func() bool { _, open := count(); return open == 0 })
	if ended, _ := count(); ended != connections {
		t.Errorf("%d of %d were counted: %+v", ended, connections, p.Status())
	}
	// Pipes that nobody uses wait in a pool until the collector has seen them.
	within(t, "no files", func() bool { runtime.GC(); return openFiles(t, "") <= files+5 })
	within(t, "no goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// TestShare: a client that has taken all places gives way to another one, up to
// as many as that one has, by its newest connections.
func TestShare(t *testing.T) {
	t.Parallel()
	target := backend(t, "127.0.0.3:0", echo)
	p := newProxy(t)
	p.places.all.max = 8
	at := open(t, p, Port{vip4, node4, target, desired.ProxyPlain})
	var greedy []*net.TCPConn
	for range 4 { // All that one port has.
		greedy = append(greedy, exchange(t, at))
	}
	if exchange(t, at) != nil {
		t.Error("more connections than allowed")
	}
	other := netip.MustParseAddrPort("127.0.0.9:0")
	for i, want := range []bool{true, true, false} {
		if c := exchangeFrom(t, other, at); (c != nil) != want {
			t.Errorf("connection %d of the other client served: %t", i, !want)
		}
	}
	for i, c := range greedy {
		if i < 2 {
			_, _ = c.Write([]byte("x"))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Errorf("connection %d of the first client: %v", i, err)
			}
		} else if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("connection %d of the first client: %v, want a reset", i, err)
		}
	}
	within(t, "count", func() bool { return ended(p)["limit"] == 4 && p.Status()[0].Connections == 4 })
}

// TestTakesNothing: a client that does not read does not keep the target waiting
// for ever.
func TestTakesNothing(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
		var err error
		for err == nil {
			_, err = c.Write(make([]byte, 1<<16))
		}
		failed <- err
	})
	p := New()
	p.dead = 2 * time.Second
	t.Cleanup(p.Close)
	connect(t, open(t, p, Port{vip4, node4, target, 0}))
	select {
	case err := <-failed:
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write: %v, want a reset", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("still waits")
	}
	within(t, "count", func() bool { return ended(p)["reset"] == 1 })
}

// TestNetnsDeadPeer: a client whose packets are lost is given up, whether something
// waits for it or not.
func TestNetnsDeadPeer(t *testing.T) {
	lan := netnstest.NewLAN(t, 2)
	for _, writes := range []bool{false, true} {
		t.Run(fmt.Sprintf("writes=%t", writes), func(t *testing.T) {
			lost := make(chan struct{})
			failed := make(chan error, 1)
			target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
				_, _ = c.Write([]byte("x"))
				<-lost
				if writes {
					_, _ = c.Write([]byte("x"))
				}
				_, err := c.Read(make([]byte, 1))
				failed <- err
			})
			p := newProxy(t)
			p.dead = 2 * time.Second
			var at netip.AddrPort
			lan.Hosts[0].Do(func() { at = open(t, p, Port{vip4, lan.Addr(0), target, 0}) })
			c, err := lan.Hosts[1].DialContext(t.Context(), "tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			lan.Drop(`iifname "p1"`)
			defer lan.Pass()
			began := time.Now()
			close(lost)
			select {
			case err := <-failed:
				if !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the target read %v, want a reset", err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("still waits")
			}
			if waited := time.Since(began); waited < time.Second {
				t.Errorf("given up after %v", waited)
			}
			within(t, "count", func() bool { return ended(p)["reset"] == 1 && p.Status()[0].Connections == 0 })
		})
	}
}

// childEnv tells this program to be a proxy: its value is the address to listen
// on, the target, and how many files there may be, 0 for as many as there are.
const childEnv = "PROXY_TEST_CHILD"

func TestMain(m *testing.M) {
	if arguments := os.Getenv(childEnv); arguments != "" {
		if err := beChild(arguments); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beChild serves a port. It prints where, and at each line that it reads how that
// goes.
func beChild(arguments string) error {
	var node, to string
	var files uint64
	if _, err := fmt.Sscan(arguments, &node, &to, &files); err != nil {
		return err
	}
	p := New()
	p.places.all.max, p.drain = 1000, time.Millisecond
	if files > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}); err != nil {
			return err
		}
	}
	private, err := p.Open([]Port{{vip4, netip.MustParseAddr(node), netip.MustParseAddrPort(to), desired.ProxyPlain}})
	if err != nil {
		return err
	}
	fmt.Println(private[vip4])
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := json.NewEncoder(os.Stdout).Encode(p.Status()[0]); err != nil {
			return err
		}
	}
	p.Close()
	return nil
}

// child is a process that serves a port.
type child struct {
	t     *testing.T
	at    netip.AddrPort
	stdin io.Writer
	said  *bufio.Scanner
}

// startChild starts one with start, which may do so in a network namespace. It has
// ended when the test ends, without complaint.
func startChild(t *testing.T, start func(*exec.Cmd) error, node netip.Addr, target netip.AddrPort, files int) *child {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", childEnv, node, target, files))
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil || complaints.Len() > 0 {
			t.Errorf("the proxy: %v, %s", err, complaints.String())
		}
	})
	c := &child{t: t, stdin: stdin, said: bufio.NewScanner(stdout)}
	if c.at, err = netip.ParseAddrPort(c.line()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *child) line() string {
	c.t.Helper()
	if !c.said.Scan() {
		c.t.Fatalf("the proxy says nothing: %v", c.said.Err())
	}
	return c.said.Text()
}

func (c *child) status() (s desired.ProxyStatus) {
	c.t.Helper()
	if _, err := io.WriteString(c.stdin, "\n"); err != nil {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(c.line()), &s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// TestFewFiles: a daemon without files left serves those that it has, and others
// as soon as it has files again.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	target := backend(t, "127.0.0.3:0", echo)
	// It thinks that it has more.
	proxy := startChild(t, (*exec.Cmd).Start, node4, target, 40)
	at := proxy.at
	first := connect(t, at)
	if _, err := first.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	var more []net.Conn
	within(t, "lack of files", func() bool {
		if len(more) < 200 {
			if c, err := net.Dial("tcp", at.String()); err == nil {
				more = append(more, c)
			}
		}
		return proxy.status().Ended["acceptFailed"] > 0
	})
	if _, err := first.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1)
	if _, err := io.ReadFull(first, got); err != nil || got[0] != 'y' {
		t.Errorf("meanwhile the first one got %q, %v", got, err)
	}
	for _, c := range more {
		c.Close()
	}
	within(t, "the others' end", func() bool { return proxy.status().Connections == 1 })
	for range 3 {
		c := exchange(t, at)
		if c == nil {
			t.Fatal("not served although there are files")
		}
		c.Close()
	}
}
