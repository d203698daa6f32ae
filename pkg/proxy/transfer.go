package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// burst is how much is read at once. Where so much is there, more may follow,
	// which is moved by splice(2) then.
	burst = 16 << 10
	// spliceFor is for how long: splice(2) does not go beyond urgent data, a read
	// does. And a pipe is not kept by a connection that has nothing to move.
	spliceFor = time.Second
	// maxPipes bounds how many directions use splice(2) at once; the others are
	// copied. Pipes of 1 MiB, as package net has them, stay below
	// fs.pipe-user-pages-soft then, which is 64 MiB.
	maxPipes = 32
)

// buffers are for what is read. A direction that waits has none.
var buffers = sync.Pool{New: func() any { return new([burst]byte) }}

// transfer sends the header, if there is one, and what is read from one side to
// the other one, to the end of what is read.
func (p *Proxy) transfer(to, from *net.TCPConn, header []byte) error {
	raw, err := from.SyscallConn()
	if err != nil {
		return err
	}
	var buffer *[burst]byte
	var n int
	var failed error
	receive := func(fd uintptr) bool {
		buffer = buffers.Get().(*[burst]byte)
		n = copy(buffer[:], header)
		var m int
		m, failed = read(int(fd), buffer[n:])
		n += max(0, m)
		switch {
		case errors.Is(failed, unix.EINTR), errors.Is(failed, unix.EAGAIN) && n > 0:
			failed = nil
		case errors.Is(failed, unix.EAGAIN):
			buffers.Put(buffer)
			return false
		case failed == nil && m == 0 && n == 0:
			failed = io.EOF
		}
		return true
	}
	for {
		if err := raw.Read(receive); err != nil {
			return err
		}
		if failed == nil && n > 0 {
			_, failed = to.Write(buffer[:n])
			header = nil
		}
		buffers.Put(buffer)
		if failed == nil && n == burst {
			failed = p.splice(to, from)
		}
		switch {
		case errors.Is(failed, io.EOF):
			return nil
		case failed != nil:
			return failed
		}
	}
}

// read reads from a socket, also beyond urgent data. A read that begins there fails
// with EAGAIN, though data may follow, while a signal is pending for the thread,
// and the Go runtime sends signals. No event would announce those data.
func read(fd int, b []byte) (n int, err error) {
	for range 3 {
		if n, err = unix.Read(fd, b); !errors.Is(err, unix.EAGAIN) {
			break
		}
		// The mark is there before the urgent byte, too: then an event follows.
		if atMark, err := unix.IoctlGetInt(fd, unix.SIOCATMARK); err != nil || atMark == 0 {
			break
		}
	}
	return n, err
}

// splice has the kernel move bytes for a while, if there is a pipe left. Unless
// it returns an error, io.EOF for the end, there may be more.
func (p *Proxy) splice(to, from *net.TCPConn) error {
	select {
	case p.pipes <- struct{}{}:
		defer func() { <-p.pipes }()
	default:
		return nil
	}
	if err := from.SetReadDeadline(time.Now().Add(spliceFor)); err != nil {
		return err
	}
	_, err := io.Copy(to, from)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return from.SetReadDeadline(time.Time{})
	case err == nil:
		return io.EOF
	default:
		return err
	}
}
