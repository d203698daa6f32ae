package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
)

// dialTimeout is how long the target has to take a connection.
const dialTimeout = 5 * time.Second

// connection is a client's connection and the one to the target.
type connection struct {
	listener *listener
	// source is what counts as its client.
	source netip.Prefix
	// cancel ends the attempt to connect to the target.
	cancel context.CancelFunc

	mu sync.Mutex
	// target is nil until it has taken the connection.
	client, target *side
	ended          bool
}

// side is one of the two sockets of a connection.
type side struct {
	*net.TCPConn
	// done: it was read to its end. shut: its write half was closed.
	done, shut bool
}

// serve moves the bytes of a connection until it has ended.
func (c *connection) serve(ctx context.Context, address netip.AddrPort) {
	port := c.listener.port.Load()
	header, err := header(address, port)
	if err != nil {
		c.end(failed)
		return
	}
	conn, err := c.listener.dial(ctx, port.Target)
	c.cancel()
	if err != nil {
		c.end(dialResult(err))
		return
	}
	if !c.connected(conn) {
		_ = conn.Close()
		return
	}
	var back sync.WaitGroup
	back.Go(func() { c.move(c.client, c.target, nil) })
	c.move(c.target, c.client, header)
	back.Wait()
}

// connected sets the target, and returns false if the connection has ended
// meanwhile.
func (c *connection) connected(conn *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.target = &side{TCPConn: conn}
	return !c.ended
}

// dialResult returns the result of a connection that could not be opened.
func dialResult(err error) result {
	var syscall *os.SyscallError
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return noPort
	case errors.Is(err, unix.ECONNRESET):
		return reset // The target took it first: otherwise it would be refused.
	case errors.As(err, &syscall) && syscall.Syscall != "connect":
		return failed
	default:
		return unreachable
	}
}

// header returns the PROXY protocol header, nil if the target wants none: the
// client's address and port, and those of the VIP.
func header(client netip.AddrPort, port *Port) ([]byte, error) {
	var version byte
	switch port.Header {
	case desired.ProxyV1:
		version = 1
	case desired.ProxyV2:
		version = 2
	default:
		return nil, nil
	}
	return proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(client), net.TCPAddrFromAddrPort(port.VIP)).Format()
}

// move moves what comes from one side to the other, and its end. If that was the
// first of the two ends, it waits for the other one.
func (c *connection) move(to, from *side, header []byte) {
	err := c.listener.proxy.transfer(to.TCPConn, from.TCPConn, header)
	if err == nil {
		err = c.finish(to, from)
	}
	if err != nil {
		c.end(reset)
		return
	}
	c.wait(to, from)
}

// finish passes on the end of one side. After the second one the connection has
// ended.
func (c *connection) finish(to, from *side) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	// A read does not tell of a reset that came after the end.
	if !from.shut {
		if info, err := info(from.TCPConn); err != nil || info.State == unix.BPF_TCP_CLOSE {
			return errors.Join(err, unix.ECONNRESET)
		}
	}
	from.done = true
	if !to.done {
		to.shut = true
		return to.CloseWrite()
	}
	if from == c.target && from.shut {
		defer c.listener.ports.put(from.LocalAddr().(*net.TCPAddr).AddrPort())
	}
	c.close(closed)
	return nil
}

// wait waits until the connection has ended, after the end of one side was passed
// on. It ends it if this side is reset, or nothing comes from the other one for
// longer than the proxy allows.
func (c *connection) wait(to, from *side) {
	raw, err := from.SyscallConn()
	if err != nil {
		c.end(reset)
		return
	}
	for left := c.listener.proxy.dead; left > 0; left = c.patience(to, from) {
		err := from.SetReadDeadline(time.Now().Add(left))
		if err == nil {
			err = raw.Read(func(fd uintptr) bool {
				info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
				return err != nil || info.State == unix.BPF_TCP_CLOSE
			})
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.end(reset) // Unless it has ended already.
			return
		}
	}
	c.end(silent)
}

// patience returns how long the silence of a side may still last. A side is not
// silent while the other one has not taken all that it said.
func (c *connection) patience(silent, other *side) time.Duration {
	dead := c.listener.proxy.dead
	if n, err := waiting(other.TCPConn); err != nil || n > 0 {
		return dead
	}
	said, err := info(silent.TCPConn)
	if err != nil {
		return dead
	}
	return dead - time.Duration(said.Last_data_recv)*time.Millisecond
}

// end ends the connection, if it has not ended yet. Unless both sides were done
// they see a reset, whatever is waiting to be sent.
func (c *connection) end(r result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close(r)
}

// close is end with mu held.
func (c *connection) close(r result) {
	if c.ended {
		return
	}
	c.ended = true
	c.listener.proxy.places.leave(c)
	c.listener.ended[r].Add(1)
	c.cancel()
	for _, s := range []*side{c.client, c.target} {
		if s == nil {
			continue
		}
		if r == closed {
			// What the kernel still has to send is to arrive.
			_ = s.SetLinger(-1)
		}
		_ = s.Close()
	}
}
