package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
)

// speak says something and its end, and reads to the other's end, in one of the
// orders that there are.
func speak(c *net.TCPConn, order string, what []byte) ([]byte, error) {
	say := func() error {
		if _, err := c.Write(what); err != nil {
			return err
		}
		return c.CloseWrite()
	}
	switch order {
	case "first": // Says all, and hears then.
		if err := say(); err != nil {
			return nil, err
		}
		return io.ReadAll(c)
	case "last": // Hears all, and says then.
		heard, err := io.ReadAll(c)
		if err != nil {
			return heard, err
		}
		return heard, say()
	case "late": // The end is said alone.
		if _, err := c.Write(what); err != nil {
			return nil, err
		}
		heard, err := io.ReadAll(c)
		if err != nil {
			return heard, err
		}
		return heard, c.CloseWrite()
	default: // Says and hears at once.
		said := make(chan error, 1)
		go func() { said <- say() }()
		heard, err := io.ReadAll(c)
		return heard, errors.Join(err, <-said)
	}
}

// TestEnds: in whatever order two sides end, and however much they said, each
// gets all that the other one said, and then its end.
func TestEnds(t *testing.T) {
	const connections, atOnce = 10000, 32
	type dialogue struct {
		client, target         string
		clientSays, targetSays []byte
	}
	content := make([]byte, 5*burst)
	for i := range content {
		content[i] = byte(i * i >> 8)
	}
	var dialogues []dialogue
	for _, orders := range [][2]string{
		{"first", "first"},
		{"first", "last"},
		{"first", "late"},
		{"first", "both"},
		{"last", "first"},
		{"late", "first"},
		{"last", "both"},
		{"both", "last"},
		{"both", "both"},
		{"late", "both"},
		{"both", "late"},
		{"both", "first"},
	} {
		for _, n := range []int{0, 1, burst, burst + 1, len(content)} {
			if n > burst+1 && slices.Equal(orders[:], []string{"first", "first"}) {
				continue // Neither would read.
			}
			dialogues = append(dialogues,
				dialogue{orders[0], orders[1], content[:n], content[:1]},
				dialogue{orders[0], orders[1], content[1:2], content[:n]})
		}
	}

	var ports []Port
	for i, d := range dialogues {
		target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			if heard, err := speak(c, d.target, d.targetSays); err != nil || !bytes.Equal(heard, d.clientSays) {
				t.Errorf("%s, %s: the target got %d of %d bytes, %v", d.client, d.target, len(heard), len(d.clientSays), err)
			}
		})
		ports = append(ports, Port{netip.AddrPortFrom(vip4.Addr(), uint16(1+i)), node4, target, desired.ProxyPlain})
	}
	p := newProxy(t)
	private, err := p.Open(ports)
	if err != nil {
		t.Fatal(err)
	}
	work := make(chan int)
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for i := range work {
				d := dialogues[i]
				c, err := net.DialTimeout("tcp", private[ports[i].VIP].String(), 10*time.Second)
				if err != nil {
					t.Error(err)
					continue
				}
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				if heard, err := speak(c.(*net.TCPConn), d.client, d.clientSays); err != nil || !bytes.Equal(heard, d.targetSays) {
					t.Errorf("%s, %s: the client got %d of %d bytes, %v", d.client, d.target, len(heard), len(d.targetSays), err)
				}
				_ = c.Close()
			}
		})
	}
	for i := range connections {
		work <- i % len(dialogues)
	}
	close(work)
	clients.Wait()
	within(t, "end of all", func() bool { return p.places.count(&p.places.all) == 0 })
	all := map[string]uint64{}
	for _, s := range p.Status() {
		for result, n := range s.Ended {
			all[result] += n
		}
	}
	if d := cmp.Diff(map[string]uint64{"closed": connections}, all); d != "" {
		t.Error(d)
	}
}

// held makes a Proxy serve a port, and lets it connect to the target when start
// is called, or the test ends.
func held(t *testing.T, port Port) (p *Proxy, at netip.AddrPort, start func()) {
	t.Helper()
	p = newProxy(t)
	at = open(t, p, port)
	ports := &p.listeners[port.VIP].ports // They are asked first.
	ports.mu.Lock()
	start = sync.OnceFunc(ports.mu.Unlock)
	t.Cleanup(start) // Closing the Proxy waits for it.
	return p, at, start
}

// hear returns what a backend does that hears so many bytes and sends them to got.
func hear(got chan<- []byte, bytes int) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		buffer := make([]byte, bytes)
		n, _ := io.ReadFull(c, buffer)
		got <- buffer[:n]
	}
}

// TestPieces: what was said in small pieces before the target took the connection
// arrives whole.
func TestPieces(t *testing.T) {
	t.Parallel()
	const first, pieces, piece = burst, 60, 500
	got := make(chan []byte, 2)
	target := backend(t, "127.0.0.3:0", hear(got, first+pieces*piece))
	_, at, start := held(t, Port{vip4, node4, target, desired.ProxyPlain})
	c, other := connect(t, at), connect(t, at)
	content := bytes.Repeat([]byte("0123456789"), (first+pieces*piece)/10+1)[:first+pieces*piece]
	if _, err := c.Write(content[:first]); err != nil {
		t.Fatal(err)
	}
	for rest := content[first:]; len(rest) > 0; rest = rest[piece:] {
		// The kernel would put pieces of one connection together.
		for _, c := range []*net.TCPConn{c, other} {
			if _, err := c.Write(rest[:piece]); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = other.Close()
	start()
	a, b := <-got, <-got
	if !bytes.Equal(a, content) && !bytes.Equal(b, content) {
		t.Errorf("got %d and %d bytes, want %d of one", len(a), len(b), len(content))
	}
}

// TestUrgent: what follows an urgent byte arrives, though the kernel stops there
// as if that was all, also while signals are pending.
func TestUrgent(t *testing.T) {
	t.Parallel()
	go func() {
		for ticker := time.NewTicker(200 * time.Microsecond); t.Context().Err() == nil; <-ticker.C {
			_ = unix.Kill(unix.Getpid(), unix.SIGURG) // As the Go runtime does to preempt.
		}
	}()
	for _, n := range []int{3, burst, 20 * burst} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			got := make(chan []byte, 1)
			target := backend(t, "127.0.0.3:0", hear(got, 2*n))
			c := connect(t, open(t, newProxy(t), Port{vip4, node4, target, desired.ProxyPlain}))
			half := bytes.Repeat([]byte("x"), n)
			if _, err := c.Write(half); err != nil {
				t.Fatal(err)
			}
			raw, err := c.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var failed error
			if err := raw.Write(func(fd uintptr) bool {
				failed = unix.Send(int(fd), []byte("!"), unix.MSG_OOB)
				return true
			}); err != nil || failed != nil {
				t.Fatal(err, failed)
			}
			if _, err := c.Write(half); err != nil {
				t.Fatal(err)
			}
			if heard := <-got; !bytes.Equal(heard, append(half, half...)) {
				t.Errorf("got %d of %d bytes", len(heard), 2*n)
			}
		})
	}
}

// TestResetAfterEnd: a side that has ended and is reset then waits for nothing
// more.
func TestResetAfterEnd(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"client", "target"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			breaks := func(c *net.TCPConn, heard <-chan struct{}) {
				_ = c.CloseWrite()
				<-heard
				_ = c.SetLinger(0)
				_ = c.Close()
			}
			hears := func(c *net.TCPConn, heard chan<- struct{}) {
				_, _ = io.ReadAll(c)
				close(heard)
			}
			heard, over := make(chan struct{}), make(chan struct{})
			target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
				if by == "target" {
					breaks(c, heard)
				} else {
					hears(c, heard)
				}
				<-over
			})
			defer close(over)
			p := newProxy(t)
			c := connect(t, open(t, p, Port{vip4, node4, target, desired.ProxyPlain}))
			if by == "target" {
				hears(c, heard)
			} else {
				breaks(c, heard)
			}
			within(t, "end", func() bool { return ended(p)["reset"] == 1 })
		})
	}
}

// TestTurns: connections that always have more to move, in both directions, leave
// others their turn.
func TestTurns(t *testing.T) {
	t.Parallel()
	const busy = 2
	both := func(c *net.TCPConn) {
		var reads sync.WaitGroup
		reads.Go(func() { _, _ = io.Copy(io.Discard, c) })
		for block := make([]byte, 1<<18); ; {
			if _, err := c.Write(block); err != nil {
				break
			}
		}
		reads.Wait()
	}
	p := newProxy(t)
	other := netip.MustParseAddrPort("192.0.2.98:443")
	private, err := p.Open([]Port{
		{vip4, node4, backend(t, "127.0.0.3:0", both), desired.ProxyPlain},
		{other, node4, backend(t, "127.0.0.3:0", echo), desired.ProxyPlain},
	})
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for range busy {
		c := connect(t, private[vip4])
		clients.Go(func() { both(c) })
		defer c.Close()
	}
	began, exchanges := time.Now(), 0
	for ; time.Since(began) < 2*time.Second; exchanges++ {
		if exchange(t, private[other]) == nil {
			t.Fatal("reset")
		}
	}
	if exchanges < 10 {
		t.Errorf("%d exchanges within 2 s", exchanges)
	}
	p.Close()
	clients.Wait()
}

// TestResetFirst: a client that is reset before the target has taken the
// connection is not taken for one that ended, whatever it did before.
func TestResetFirst(t *testing.T) {
	t.Parallel()
	for _, header := range []desired.Proxy{desired.ProxyPlain, desired.ProxyV2} {
		for _, before := range []string{"", "says", "says and ends"} {
			t.Run(fmt.Sprint(header, before), func(t *testing.T) {
				t.Parallel()
				target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) { _, _ = io.ReadAll(c) })
				p, at, start := held(t, Port{vip4, node4, target, header})
				c := connect(t, at)
				if before != "" {
					_, _ = c.Write([]byte("x"))
				}
				if before == "says and ends" {
					_ = c.CloseWrite()
				}
				_ = c.SetLinger(0)
				within(t, "connection", func() bool { return p.Status()[0].Connections == 1 })
				_ = c.Close()
				start()
				within(t, "end", func() bool { return p.places.count(&p.places.all) == 0 })
				if d := cmp.Diff(map[string]uint64{"reset": 1}, ended(p)); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// TestPipeOfAnother: what was on its way through a pipe when its connection ended
// reaches nobody else.
func TestPipeOfAnother(t *testing.T) {
	t.Parallel()
	target := backend(t, "127.0.0.3:0", func(c *net.TCPConn) {
		what := make([]byte, 1)
		_, _ = c.Read(what)
		_, _ = c.Write(bytes.Repeat(what, 8<<20))
	})
	p := newProxy(t)
	at := open(t, p, Port{vip4, node4, target, desired.ProxyPlain})
	for range 10 {
		c := connect(t, at)
		_, _ = c.Write([]byte("a"))
		if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		// Now it takes no more: what the target says fills all that there is.
		open := p.places.count(&p.places.all)
		_ = c.SetLinger(0)
		_ = c.Close()
		within(t, "end", func() bool { return p.places.count(&p.places.all) < open })

		c = connect(t, at)
		_, _ = c.Write([]byte("b"))
		got, err := io.ReadAll(c)
		if others := bytes.Count(got, []byte("a")); others > 0 || len(got) != 8<<20 || err != nil {
			t.Fatalf("got %d bytes, %d of another connection, %v", len(got), others, err)
		}
		_ = c.Close()
	}
}
