package proxy

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/desired"
)

const (
	// dialTimeout is how long the target has to take a connection.
	dialTimeout = 5 * time.Second
	// burst is how much is read at once. Who has that much to say may have
	// more, which is moved by splice(2) then.
	burst = 16 << 10
	// turn is how often a connection moves bytes before others have theirs.
	turn = 16
)

// connection is a client's connection and the one to the target. After dial it
// is the loop's.
type connection struct {
	listener       *listener
	client, target side
	// header is what the target is told first.
	header []byte
	// deadline is when the target has to have taken the connection, and then,
	// if half of it is closed, when something has to have come on the other.
	deadline         time.Time
	connected, ended bool
	// again: it has more to move than its turn allowed.
	again bool
}

// side is one of the two sockets of a connection.
type side struct {
	*connection
	fd   int
	peer *side
	// readable: there may be something to read. last: that may end with less
	// than was asked for although there is more to be told, as a FIN. broken: it
	// was reset, or is gone.
	readable, last, broken bool
	// done: it was read to its end. shut: its write half was closed.
	done, shut bool
	// rest came from the peer and waits to be written here, as does what is in
	// the pipe.
	rest []byte
	pipe *pipe
}

// dial opens the connection to the target, without waiting for it. If it
// fails, it returns as what that counts.
func (c *connection) dial(target netip.AddrPort) (result, error) {
	fd, address, err := c.listener.proxy.socket(target)
	if err != nil {
		return failed, err
	}
	c.target.fd = fd
	if err := unix.Connect(fd, address); err != nil && err != unix.EINPROGRESS {
		return unreachable, err
	}
	return unreachable, nil
}

// late tells that the deadline has passed. What waits for the other side to
// take it is not silent.
func (c *connection) late(now time.Time) bool {
	return !c.deadline.IsZero() && now.After(c.deadline) && c.client.waits()+c.target.waits() == 0
}

// header returns what the target is told about a client and what it asked for.
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

// event goes on with what the kernel told about a side.
func (l *loop) event(s *side, events uint32) {
	c := s.connection
	if c.ended {
		return
	}
	if !c.connected {
		if code, err := unix.GetsockoptInt(c.target.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
			l.end(c, unreachable)
			return
		}
		c.connected = true
		c.deadline = time.Time{}
		// Mostly there is something to send with the header.
		c.client.readable = true
		if err := l.greet(c); err != nil {
			l.end(c, reset)
			return
		}
		if err := l.watch(&c.client); err != nil {
			l.end(c, failed)
			return
		}
	}
	// A read does not go beyond urgent data either (EPOLLPRI).
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLPRI) != 0 {
		s.last = true
	}
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.broken = true
		// Nobody reads it any more.
		if s.done && events&unix.EPOLLERR != 0 {
			l.end(c, reset)
			return
		}
	}
	// The end is read once.
	s.readable = !s.done && (s.readable || s.last || events&unix.EPOLLIN != 0)
	l.advance(c)
}

// greet sends the header, and with it what the client has said already. It does
// not block: nothing has been written before.
func (l *loop) greet(c *connection) error {
	if c.header == nil {
		return nil
	}
	n := copy(l.buffer, c.header)
	c.header = nil
	// An end is read again, an error is not.
	m, err := unix.Read(c.client.fd, l.buffer[n:])
	switch err {
	case nil:
		n += m
	case unix.EAGAIN, unix.EINTR:
	default:
		return err
	}
	return c.target.write(l.buffer[:n])
}

// advance moves what there is to move, and ends what is done.
func (l *loop) advance(c *connection) {
	err := l.move(&c.target, &c.client)
	if err == nil {
		err = l.move(&c.client, &c.target)
	}
	switch {
	case err != nil:
		l.end(c, reset)
	case c.client.done && c.target.done && c.client.waits()+c.target.waits() == 0:
		l.end(c, closed)
	}
}

// move moves what comes from one side to the other, and then its end. It
// returns when one of them has to be waited for.
func (l *loop) move(to, from *side) error {
	for range turn {
		if waits := to.waits(); waits > 0 {
			if err := to.flush(); err != nil {
				return err
			}
			if to.waits() < waits {
				l.moved(from)
			}
			if to.waits() > 0 {
				return nil
			}
		}
		if !from.readable {
			l.release(to)
			return nil
		}
		n, err := l.read(to, from)
		switch {
		case errors.Is(err, unix.EAGAIN) && to.pipe != nil:
			// splice(2) does not go beyond urgent data, a read does.
			l.release(to)
		case errors.Is(err, unix.EAGAIN):
			from.readable = false
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			if err := l.finish(to, from); err != nil {
				return err
			}
		default:
			l.moved(from)
		}
	}
	// The kernel does not tell again what it has told.
	if !from.again {
		from.again = true
		l.again = append(l.again, from.connection)
	}
	return nil
}

// moved puts off the deadline of a half that something came on.
func (l *loop) moved(from *side) {
	if from.shut {
		from.deadline = l.now.Add(from.listener.proxy.dead)
	}
}

// read reads from one side, and writes to the other one what that takes.
func (l *loop) read(to, from *side) (n int, err error) {
	if to.pipe != nil {
		n, err = to.pipe.fill(from.fd)
	} else if n, err = unix.Read(from.fd, l.buffer); n > 0 {
		err = to.write(l.buffer[:n])
	}
	switch {
	case n >= burst:
		l.acquire(to)
	case n > 0 && to.pipe == nil:
		// That was all, unless there is an end too. Of a pipe nobody knows: it may
		// be full of small pieces.
		from.readable = from.last
	}
	return n, err
}

// finish passes on the end of one side. From then on the opposite direction
// must not be silent for longer than the proxy allows.
func (l *loop) finish(to, from *side) error {
	if from.broken && !from.shut {
		if err := from.lost(); err != nil {
			return err
		}
	}
	from.done, from.readable = true, false
	if to.done {
		return nil // Closing it says so.
	}
	to.shut = true
	l.moved(to)
	return unix.Shutdown(to.fd, unix.SHUT_WR)
}

// lost returns an error if a connection that was read to its end is open no more,
// although this side has not closed its half: after its FIN it was reset, which
// a read does not tell.
func (s *side) lost() error {
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return err
	}
	if info.State == unix.BPF_TCP_CLOSE {
		return unix.ECONNRESET
	}
	return nil
}

// waits returns how many bytes wait to be written to a side.
func (s *side) waits() int {
	if s.pipe != nil {
		return len(s.rest) + s.pipe.holds
	}
	return len(s.rest)
}

// write writes to a side, and keeps what it does not take now.
func (s *side) write(data []byte) error {
	rest, err := write(s.fd, data)
	if len(rest) > 0 {
		s.rest = slices.Clone(rest)
	}
	return err
}

// flush writes what waits, as far as it is taken.
func (s *side) flush() (err error) {
	if s.rest, err = write(s.fd, s.rest); len(s.rest) > 0 || err != nil {
		return err
	}
	s.rest = nil
	if s.pipe != nil {
		return s.pipe.drain(s.fd)
	}
	return nil
}

// write returns what is not taken.
func write(fd int, data []byte) ([]byte, error) {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		switch err {
		case nil:
			data = data[n:]
		case unix.EAGAIN:
			return data, nil
		case unix.EINTR:
		default:
			return data, err
		}
	}
	return nil, nil
}
