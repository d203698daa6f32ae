// Package probe measures from inside a network namespace how well a service is
// reached from there: for how long it was gone, and who answers.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/netns"
)

// Timeout is how long one connection has for all of it. Those that take longer do
// not delay the next: a new one is begun at every tick.
const Timeout = 2 * time.Second

// Probe opens a new TCP connection to an address at every tick, makes an HTTP
// request on it, and notes when the answer was complete.
//
// It is one thread with an event loop: begun on the thread that is in the network
// namespace, a connection costs a dozen system calls, and nothing waits for the Go
// scheduler between the arrival of an answer and the reading of the clock.
type Probe struct {
	target netip.AddrPort
	every  time.Duration
	epoll  int
	timer  int
	wake   int // an eventfd that ends the loop

	conns map[int]*conn // the open ones, by socket
	queue []*conn       // in the order of their deadlines; closed ones stay until then

	mu     sync.Mutex
	result Result

	stop  sync.Once
	ended chan struct{}
}

// conn is one connection under way.
type conn struct {
	fd    int
	begin time.Time
	sent  bool
	done  bool
	data  []byte
}

// Start begins to probe the target from the network namespace at that path ("" for
// this program's), a new connection every time that long. Stop ends it.
func Start(path string, target netip.AddrPort, every time.Duration) (*Probe, error) {
	if every <= 0 {
		return nil, fmt.Errorf("probe %s: interval %s", target, every)
	}
	p := &Probe{target: target, every: every, epoll: -1, timer: -1, wake: -1, conns: map[int]*conn{}, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(p.ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := p.open(path)
		defer p.close()
		started <- err
		if err == nil {
			p.loop()
		}
	}()
	if err := <-started; err != nil {
		<-p.ended
		if p.wake >= 0 {
			unix.Close(p.wake)
		}
		return nil, fmt.Errorf("probe %s: %w", target, err)
	}
	return p, nil
}

// Run probes until ctx is done, and returns what it has seen.
func Run(ctx context.Context, path string, target netip.AddrPort, every time.Duration) (*Result, error) {
	p, err := Start(path, target, every)
	if err != nil {
		return nil, err
	}
	<-ctx.Done()
	return p.Stop(), nil
}

// Stop ends the probing and returns all it has seen. Connections under way are given
// up and not counted.
func (p *Probe) Stop() *Result {
	p.stop.Do(func() {
		// The loop is the only reader and takes no more than one.
		_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-p.ended
		unix.Close(p.wake)
	})
	return p.Snapshot()
}

// Snapshot returns what has been seen up to now.
func (p *Probe) Snapshot() *Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.result.clone()
}

// Take is Snapshot, and forgets what it returns. What is seen from then on is another
// Result: it begins with the last answer of this one, so that no time without answers
// is cut in two. Not while another goroutine is in WaitSuccesses.
func (p *Probe) Take() *Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.result
	p.result = taken.next()
	taken.bodies = nil
	return &taken
}

// LastAnswer returns when the latest answer was complete that Take has not taken; the
// zero Time if there is none.
func (p *Probe) LastAnswer() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := len(p.result.Successes) - 1; last >= 0 {
		return p.result.Successes[last].End
	}
	return time.Time{}
}

// WaitSuccesses returns when n more answers have come.
func (p *Probe) WaitSuccesses(ctx context.Context, n int) error {
	count := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.result.Successes)
	}
	want := count() + n
	t := time.NewTicker(max(p.every, time.Millisecond))
	defer t.Stop()
	for count() < want {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %d answers of %s: %w (%s)", n, p.target, context.Cause(ctx), p.Snapshot())
		case <-p.ended:
			return fmt.Errorf("wait for %d answers of %s: the probe has ended", n, p.target)
		case <-t.C:
		}
	}
	return nil
}

// open enters the namespace and makes what the loop needs.
func (p *Probe) open(path string) error {
	if path != "" {
		if err := netns.Enter(path); err != nil {
			return err
		}
	}
	// On a busy machine everything else is behind this thread, which does next to
	// nothing: what it measures is to be the network, not the scheduler. Where this
	// is not permitted it measures a little less well; Result.Lag says how well.
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0); err != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	}
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	tick := unix.NsecToTimespec(int64(p.every))
	if err := unix.TimerfdSettime(p.timer, 0, &unix.ItimerSpec{Interval: tick, Value: tick}, nil); err != nil {
		return os.NewSyscallError("timerfd_settime", err)
	}
	for _, fd := range []int{p.timer, p.wake} {
		if err := p.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			return err
		}
	}
	p.result.Begin = time.Now()
	return nil
}

// close closes what open and the loop have opened, but for wake, which Stop uses.
func (p *Probe) close() {
	for fd := range p.conns {
		unix.Close(fd)
	}
	for _, fd := range []int{p.timer, p.epoll} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (p *Probe) watch(op, fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

// loop handles events until it is woken to end.
func (p *Probe) loop() {
	events := make([]unix.EpollEvent, 256)
	last := time.Now() // of the latest tick
	defer func() {
		p.mu.Lock()
		p.result.End = time.Now()
		p.mu.Unlock()
	}()
	for {
		n, err := unix.EpollWait(p.epoll, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			p.fail(os.NewSyscallError("epoll_wait", err))
			return
		}
		now := time.Now()
		tick := false
		for _, e := range events[:n] {
			switch fd := int(e.Fd); fd {
			case p.wake:
				return
			case p.timer:
				tick = true
			default:
				if c := p.conns[fd]; c != nil {
					p.advance(c, now)
				}
			}
		}
		// After the answers, so that they are not older than they have to be.
		if tick {
			var buf [8]byte
			_, _ = unix.Read(p.timer, buf[:]) // only to rearm; missed ticks are not made up for
			p.mu.Lock()
			p.result.Lag = max(p.result.Lag, now.Sub(last))
			p.result.End = now
			p.mu.Unlock()
			last = now
			p.expire(now)
			p.begin(now)
		}
	}
}

// begin opens a new connection.
func (p *Probe) begin(now time.Time) {
	p.mu.Lock()
	p.result.Begun++
	p.mu.Unlock()
	family, sa := unix.AF_INET6, unix.Sockaddr(nil)
	if a := p.target.Addr(); a.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(p.target.Port()), Addr: a.As4()}
	} else {
		sa = &unix.SockaddrInet6{Port: int(p.target.Port()), Addr: a.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		p.fail(os.NewSyscallError("socket", err))
		return
	}
	c := &conn{fd: fd, begin: now}
	// Closing resets the connection: thousands of them leave no trace behind.
	err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err == nil {
		err = unix.Connect(fd, sa)
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		p.fail(err)
		unix.Close(fd)
		return
	}
	if err := p.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLOUT); err != nil {
		p.fail(err)
		unix.Close(fd)
		return
	}
	p.conns[fd] = c
	p.queue = append(p.queue, c)
}

// advance goes on with a connection that something has happened to.
func (p *Probe) advance(c *conn, now time.Time) {
	if !c.sent {
		errno, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = syscall.Errno(errno)
		}
		if err == nil {
			_, err = unix.Write(c.fd, []byte("GET / HTTP/1.1\r\nHost: "+p.target.String()+"\r\nUser-Agent: probe\r\n\r\n"))
		}
		if err == nil {
			err = p.watch(unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLIN)
		}
		if err != nil {
			p.fail(err)
			p.drop(c)
			return
		}
		c.sent = true
		return
	}
	var buf [4096]byte
	n, err := unix.Read(c.fd, buf[:])
	if errors.Is(err, unix.EAGAIN) {
		return
	}
	if err != nil {
		p.fail(err)
		p.drop(c)
		return
	}
	c.data = append(c.data, buf[:n]...)
	body, complete, err := parseAnswer(c.data)
	switch {
	case err != nil:
		p.fail(err)
	case complete:
		p.mu.Lock()
		p.result.succeed(c.begin, now, body)
		p.mu.Unlock()
	case n == 0:
		p.fail(errCut)
	default:
		return
	}
	p.drop(c)
}

// expire gives up the connections whose time is over.
func (p *Probe) expire(now time.Time) {
	for len(p.queue) > 0 {
		c := p.queue[0]
		if !c.done {
			if now.Sub(c.begin) < Timeout {
				return
			}
			p.fail(errTimeout)
			p.drop(c)
		}
		p.queue = p.queue[1:]
	}
}

// drop closes a connection, which also ends the watching of it.
func (p *Probe) drop(c *conn) {
	c.done = true
	c.data = nil
	delete(p.conns, c.fd)
	unix.Close(c.fd)
}

func (p *Probe) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.fail(time.Now(), err)
}
