package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Pattern is what a client does on its connections.
type Pattern byte

const (
	// KeepAlive asks again on the same connection as soon as the answer is there.
	KeepAlive Pattern = 'k'
	// PerConnection asks once on each connection. The endpoint ends it.
	PerConnection Pattern = 'c'
	// ClientEnds asks once on each connection, and ends it.
	ClientEnds Pattern = 'e'
	// Download reads what the endpoint sends, as fast as it comes.
	Download Pattern = 'd'
)

// stall is a time within which every answer comes unless a packet was lost and
// sent again, which takes a second at the beginning of a connection.
const stall = 190 * time.Millisecond

// Client makes connections from the network namespace of the calling thread.
type Client struct {
	Pattern     Pattern
	Connections int
	Target      netip.AddrPort
	// Proxied means that the endpoint must have been sent a PROXY header.
	Proxied bool
}

// Result is what a client has done within a time.
type Result struct {
	Took time.Duration
	// Requests have been answered.
	Requests int
	// Latency of each, sorted: from the question, or the beginning of the
	// connection where each request has its own, to the end of the answer.
	Latency []time.Duration
	// Stalls is how many took so long that a packet must have been lost.
	Stalls int
	// Bytes that a download has read.
	Bytes int64
}

// asker is a connection of a client.
type asker struct {
	began time.Time
	have  int  // bytes of the answer
	open  bool // the descriptor is one of the client's
	asked bool // the question has been sent
}

// run is a client at work.
type run struct {
	Client
	poll     *poller
	address  unix.RawSockaddrInet4
	question [questionLength]byte
	buf      []byte
	conns    []asker // by file descriptor
	result   Result
	counting bool
	once     bool // not to ask again
}

// Run works for a while before it counts, calls begin, works and counts, and
// calls end.
func (c Client) Run(warm, window time.Duration, begin, end func()) (_ Result, err error) {
	r, err := c.start()
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if _, err := r.work(warm); err != nil {
		return Result{}, err
	}
	r.counting = true
	begin()
	took, err := r.work(window)
	end()
	if err != nil {
		return Result{}, err
	}
	r.result.Took = took
	if r.result.Requests == 0 && r.result.Bytes == 0 {
		return Result{}, fmt.Errorf("nothing came from %s within %v", c.Target, window)
	}
	slices.Sort(r.result.Latency)
	return r.result, nil
}

func (c Client) start() (_ *run, err error) {
	r := &run{Client: c, buf: make([]byte, chunkLength)}
	r.result.Latency = make([]time.Duration, 0, 1<<20)
	r.question[0] = byte(c.Pattern)
	r.address = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: c.Target.Addr().As4()}
	// In network byte order, whatever the machine's is.
	r.address.Port = binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, c.Target.Port()))
	if r.poll, err = newPoller(); err != nil {
		return nil, err
	}
	for range c.Connections {
		if err := r.connect(); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return r, nil
}

func (r *run) close() error {
	for fd, c := range r.conns {
		if c.open {
			closeSocket(fd)
		}
	}
	return r.poll.close()
}

// work serves the connections for a while and returns for how long that was.
func (r *run) work(d time.Duration) (time.Duration, error) {
	began := time.Now()
	for {
		events, err := r.poll.wait()
		if err != nil {
			return 0, err
		}
		for _, event := range events {
			if err := r.serve(int(event.Fd), event.Events); err != nil {
				return 0, err
			}
		}
		if took := time.Since(began); took >= d {
			return took, nil
		}
	}
}

func (r *run) connect() error {
	began := time.Now()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if fd >= len(r.conns) {
		r.conns = append(r.conns, make([]asker, fd+1-len(r.conns)+64)...)
	}
	r.conns[fd] = asker{began: began, open: true}
	if errno := connect(fd, &r.address); errno != 0 && errno != unix.EINPROGRESS {
		return failed("connect to "+r.Target.String(), errno)
	}
	return r.poll.add(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLET)
}

// serve does what a connection is ready for.
func (r *run) serve(fd int, events uint32) error {
	c := &r.conns[fd]
	if !c.asked {
		if events&unix.EPOLLOUT == 0 {
			return nil
		}
		if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			_, errno := read(fd, r.buf)
			return failed("connect to "+r.Target.String(), errno)
		}
		return r.ask(fd)
	}
	for {
		n, errno := read(fd, r.buf)
		switch {
		case again(errno):
			return nil
		case errno != 0:
			return failed("read from "+r.Target.String(), errno)
		case n == 0 && r.Pattern == PerConnection && c.have == answerLength:
			closeSocket(fd)
			c.open = false
			return r.connect()
		case n == 0:
			return fmt.Errorf("%s ended a connection after %d bytes of an answer", r.Target, c.have)
		}
		if r.Pattern == Download {
			if r.counting {
				r.result.Bytes += int64(n)
			}
			if n < len(r.buf) {
				return nil
			}
			continue
		}
		if c.have == 0 && (r.buf[0] == proxyHeader) != r.Proxied {
			return fmt.Errorf("%s: PROXY header sent to the endpoint: %v, want %v", r.Target, !r.Proxied, r.Proxied)
		}
		c.have += n
		if c.have < answerLength {
			continue
		}
		if r.counting {
			took := time.Since(c.began)
			r.result.Requests++
			r.result.Latency = append(r.result.Latency, took)
			if took > stall {
				r.result.Stalls++
			}
		}
		if r.Pattern == PerConnection {
			continue // to its end
		}
		if r.Pattern == ClientEnds {
			closeSocket(fd)
			c.open = false
			return r.connect()
		}
		if r.once {
			return nil
		}
		c.have = 0
		c.began = time.Now()
		return r.ask(fd)
	}
}

func (r *run) ask(fd int) error {
	r.conns[fd].asked = true
	if n, errno := send(fd, r.question[:]); errno != 0 || n < len(r.question) {
		return failed("write to "+r.Target.String(), errno)
	}
	return nil
}

// Hold makes the connections, asks once on each, and keeps them while f runs.
func (c Client) Hold(f func() error) (err error) {
	r, err := c.start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	r.once = true
	r.counting = true
	for limit := time.Now().Add(10 * time.Second); r.result.Requests < c.Connections; {
		if time.Now().After(limit) {
			return fmt.Errorf("%d of %d connections to %s were answered within 10 s", r.result.Requests, c.Connections, c.Target)
		}
		if _, err := r.work(10 * time.Millisecond); err != nil {
			return err
		}
	}
	return f()
}
