package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	questionLength = 100
	answerLength   = 1000
	// chunkLength is what a download is written in.
	chunkLength = 256 << 10

	noHeader    = '-'
	proxyHeader = 'P'
)

// Endpoint is a server on all IPv4 addresses of a network namespace.
type Endpoint struct {
	poll         *poller
	listen, wake int
	conns        []conn // by file descriptor
	buf          []byte
	answer       []byte
	chunk        []byte
	ended        chan struct{}
	err          error
}

// conn is what the endpoint knows of a connection.
type conn struct {
	pattern Pattern
	have    int // bytes of the question
	open    bool
	begun   bool // the first bytes have come
	proxied bool
}

// StartEndpoint starts a server in the network namespace of the calling thread, on
// a processor of Pin.
func StartEndpoint(port uint16, processor int) (_ *Endpoint, err error) {
	e := &Endpoint{
		listen: -1, wake: -1, buf: make([]byte, 64<<10), ended: make(chan struct{}),
		answer: bytes.Repeat([]byte{'.'}, answerLength), chunk: make([]byte, chunkLength),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.release())
		}
	}()
	if e.poll, err = newPoller(); err != nil {
		return nil, err
	}
	if e.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	if e.listen, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(e.listen, &unix.SockaddrInet4{Port: int(port)}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(e.listen, 4096); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	for _, fd := range []int{e.wake, e.listen} {
		if err := e.poll.add(fd, unix.EPOLLIN); err != nil {
			return nil, err
		}
	}
	go func() {
		defer close(e.ended)
		runtime.LockOSThread()
		if e.err = Pin(processor); e.err == nil {
			e.err = e.serve()
		}
	}()
	return e, nil
}

// Close ends the server and its connections.
func (e *Endpoint) Close() error {
	_, _ = unix.Write(e.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-e.ended
	return errors.Join(e.err, e.release())
}

func (e *Endpoint) release() error {
	var errs []error
	if e.poll != nil {
		errs = append(errs, e.poll.close())
	}
	for _, fd := range []int{e.listen, e.wake} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

func (e *Endpoint) serve() error {
	defer func() {
		for fd, c := range e.conns {
			if c.open {
				closeSocket(fd)
			}
		}
	}()
	for {
		events, err := e.poll.wait()
		if err != nil {
			return err
		}
		if len(events) == 0 {
			if err := e.poll.rest(); err != nil {
				return err
			}
			continue
		}
		for _, event := range events {
			switch fd := int(event.Fd); fd {
			case e.wake:
				return nil
			case e.listen:
				if err := e.accept(); err != nil {
					return err
				}
			default:
				if !e.serveConn(fd, event.Events) {
					closeSocket(fd)
					e.conns[fd].open = false
				}
			}
		}
	}
}

func (e *Endpoint) accept() error {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(e.listen), 0, 0, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0, 0)
		switch {
		case errno == unix.EAGAIN:
			return nil
		case errno == unix.EINTR, errno == unix.ECONNABORTED:
			continue
		case errno != 0:
			return os.NewSyscallError("accept4", errno)
		}
		fd := int(n)
		if fd >= len(e.conns) {
			e.conns = append(e.conns, make([]conn, fd+1-len(e.conns)+1024)...)
		}
		e.conns[fd] = conn{open: true}
		if err := e.poll.add(fd, unix.EPOLLIN); err != nil {
			return err
		}
	}
}

// serveConn does what a connection is ready for. It returns false for one that
// has ended.
func (e *Endpoint) serveConn(fd int, events uint32) bool {
	c := &e.conns[fd]
	if c.pattern == Download && c.have == questionLength {
		if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			return false
		}
		_, errno := send(fd, e.chunk)
		return errno == 0 || again(errno)
	}
	n, errno := read(fd, e.buf)
	if errno != 0 {
		return again(errno)
	}
	if n == 0 {
		return false
	}
	b := e.buf[:n]
	if !c.begun {
		c.begun = true
		length, err := headerLength(b)
		if err != nil {
			return false
		}
		c.proxied = length > 0
		b = b[length:]
	}
	for len(b) > 0 {
		if c.have == 0 {
			c.pattern = Pattern(b[0])
		}
		part := min(questionLength-c.have, len(b))
		c.have += part
		b = b[part:]
		if c.have < questionLength {
			return true
		}
		if c.pattern == Download {
			// What waits to be read is only the end, which is an error then.
			return e.poll.change(fd, unix.EPOLLOUT) == nil
		}
		c.have = 0
		e.answer[0] = noHeader
		if c.proxied {
			e.answer[0] = proxyHeader
		}
		if n, errno := send(fd, e.answer); errno != 0 || n < len(e.answer) || c.pattern == PerConnection {
			return false
		}
	}
	return true
}

var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// headerLength returns the length of the PROXY header that a connection's first
// bytes begin with, version 1 or 2, and 0 if there is none. Whoever sends one
// sends it at once.
func headerLength(b []byte) (int, error) {
	switch {
	case bytes.HasPrefix(b, []byte("PROXY ")):
		if i := bytes.Index(b, []byte("\r\n")); i >= 0 {
			return i + 2, nil
		}
	case bytes.HasPrefix(b, signature):
		if len(b) >= 16 {
			if n := 16 + int(binary.BigEndian.Uint16(b[14:])); n <= len(b) {
				return n, nil
			}
		}
	default:
		return 0, nil
	}
	return 0, fmt.Errorf("half a PROXY header in %d bytes", len(b))
}
