package proxy

import "golang.org/x/sys/unix"

const (
	// pipeSize is what a pipe should hold; it holds less if the kernel says so.
	pipeSize = 1 << 20
	// maxPipes are those of a loop. Who gets none has its bytes copied. Those of
	// all loops stay below fs.pipe-user-pages-soft, which is 64 MiB.
	maxPipes = 8
	// sparePipes are kept while nobody needs them.
	sparePipes = 4
)

// pipe is what bytes go through that the kernel moves from one socket to
// another one.
type pipe struct {
	read, write int
	holds       int
}

// acquire has what is written to a side go through a pipe, if there is one.
func (l *loop) acquire(to *side) {
	if to.pipe != nil {
		return
	}
	if n := len(l.pipes); n > 0 {
		to.pipe, l.pipes = l.pipes[n-1], l.pipes[:n-1]
		return
	}
	if l.piped == maxPipes {
		return
	}
	var ends [2]int
	if unix.Pipe2(ends[:], unix.O_NONBLOCK|unix.O_CLOEXEC) != nil {
		return
	}
	_, _ = unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, pipeSize)
	l.piped++
	to.pipe = &pipe{read: ends[0], write: ends[1]}
}

// release takes the pipe from a side that needs it no more.
func (l *loop) release(to *side) {
	p := to.pipe
	if p == nil {
		return
	}
	to.pipe = nil
	if p.holds == 0 && len(l.pipes) < sparePipes {
		l.pipes = append(l.pipes, p)
		return
	}
	l.piped--
	p.close()
}

func (p *pipe) close() {
	_ = unix.Close(p.read)
	_ = unix.Close(p.write)
}

// fill moves into an empty pipe what a socket has.
func (p *pipe) fill(from int) (int, error) {
	n, err := unix.Splice(from, nil, p.write, nil, pipeSize, unix.SPLICE_F_NONBLOCK)
	if n > 0 {
		p.holds = int(n)
	}
	return int(n), err
}

// drain moves out what a socket takes.
func (p *pipe) drain(to int) error {
	for p.holds > 0 {
		n, err := unix.Splice(p.read, nil, to, nil, p.holds, unix.SPLICE_F_NONBLOCK)
		switch err {
		case nil:
			p.holds -= int(n)
		case unix.EAGAIN:
			return nil
		case unix.EINTR:
		default:
			return err
		}
	}
	return nil
}
