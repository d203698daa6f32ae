package datapath

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"kube-vrrp-vip/pkg/netns"
)

// greeting is what a backend was told by a PROXY protocol header.
type greeting struct {
	version             int // 0: there was no header
	source, destination netip.AddrPort
}

// What a client wants is the first byte that it sends.
const (
	echoes = 'e' // back all that comes, and then its end
	counts = 'c' // read to the end, and then send it back
	breaks = 'r' // reset
)

// listen serves connections in a namespace until the test ends, each on a
// goroutine of its own.
func listen(t *testing.T, ns *netns.Namespace, network, address string, serve func(net.Conn)) {
	t.Helper()
	var l net.Listener
	err := ns.Do(func() error {
		var err error
		l, err = net.Listen(network, address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		open = nil
		mu.Unlock()
		running.Wait()
	})
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if open == nil {
				c.Close()
				mu.Unlock()
				return
			}
			open[c] = true
			mu.Unlock()
			running.Go(func() {
				serve(c)
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
}

// greetings are what the backend was told, by the client's address and port, or
// by that of whoever connected without a header.
type greetings struct {
	mu  sync.Mutex
	all map[netip.AddrPort]greeting
}

func (g *greetings) of(client netip.AddrPort) (greeting, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	told, ok := g.all[client]
	return told, ok
}

// serve starts a backend.
func serve(t *testing.T, ns *netns.Namespace, network, address string) *greetings {
	t.Helper()
	g := &greetings{all: map[netip.AddrPort]greeting{}}
	listen(t, ns, network, address, func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReader(c)
		told, err := readHeader(r)
		if err != nil {
			t.Errorf("the backend read a header: %v", err)
			return
		}
		if told.version == 0 {
			told.source = c.RemoteAddr().(*net.TCPAddr).AddrPort()
			told.source = netip.AddrPortFrom(told.source.Addr().Unmap(), told.source.Port())
		}
		g.mu.Lock()
		g.all[told.source] = told
		g.mu.Unlock()
		conn := c.(*net.TCPConn)
		switch does, _ := r.ReadByte(); does {
		case echoes:
			_, _ = io.Copy(c, r)
			_ = conn.CloseWrite()
		case counts:
			if all, err := io.ReadAll(r); err == nil {
				_, _ = c.Write(all)
				_ = conn.CloseWrite()
			}
		case breaks:
			_ = conn.SetLinger(0)
		}
	})
	return g
}

// readHeader reads a header of the PROXY protocol, if what comes begins like one.
func readHeader(r *bufio.Reader) (greeting, error) {
	const signature = "\r\n\r\n\x00\r\nQUIT\n"
	first, err := r.Peek(1)
	if err != nil {
		return greeting{}, nil // Whoever connected has said nothing.
	}
	switch first[0] {
	default:
		return greeting{}, nil
	case 'P':
		line, err := r.ReadString('\n')
		if err != nil {
			return greeting{}, err
		}
		var family, source, destination string
		var sport, dport uint16
		if _, err := fmt.Sscanf(line, "PROXY %s %s %s %d %d", &family, &source, &destination, &sport, &dport); err != nil {
			return greeting{}, fmt.Errorf("%q: %w", line, err)
		}
		if line != fmt.Sprintf("PROXY %s %s %s %d %d\r\n", family, source, destination, sport, dport) {
			return greeting{}, fmt.Errorf("%q is not as the protocol wants it", line)
		}
		g := greeting{version: 1}
		for _, a := range []struct {
			text string
			port uint16
			to   *netip.AddrPort
		}{{source, sport, &g.source}, {destination, dport, &g.destination}} {
			address, err := netip.ParseAddr(a.text)
			if err != nil {
				return greeting{}, err
			}
			if want := map[bool]string{true: "TCP4", false: "TCP6"}[address.Is4()]; want != family {
				return greeting{}, fmt.Errorf("%s in %q", family, line)
			}
			*a.to = netip.AddrPortFrom(address, a.port)
		}
		return g, nil
	case signature[0]:
		head := make([]byte, 16)
		if _, err := io.ReadFull(r, head); err != nil {
			return greeting{}, err
		}
		n := map[byte]int{0x11: 4, 0x21: 16}[head[13]]
		if !strings.HasPrefix(string(head), signature) || head[12] != 0x21 || n == 0 {
			return greeting{}, fmt.Errorf("% x is no header of version 2 for TCP", head)
		}
		body := make([]byte, binary.BigEndian.Uint16(head[14:]))
		if _, err := io.ReadFull(r, body); err != nil {
			return greeting{}, err
		}
		if len(body) < 2*n+4 {
			return greeting{}, errors.New("too short for two addresses and ports")
		}
		source, _ := netip.AddrFromSlice(body[:n])
		destination, _ := netip.AddrFromSlice(body[n : 2*n])
		return greeting{
			version:     2,
			source:      netip.AddrPortFrom(source, binary.BigEndian.Uint16(body[2*n:])),
			destination: netip.AddrPortFrom(destination, binary.BigEndian.Uint16(body[2*n+2:])),
		}, nil
	}
}
