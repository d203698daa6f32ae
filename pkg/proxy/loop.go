package proxy

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many events are taken from the kernel at once.
	batch = 128
	// tick is how often deadlines are looked at.
	tick = time.Second
)

// loop moves the bytes of many connections on one goroutine: epoll(7) tells it
// what happened on their sockets, each change once. A goroutine for each
// direction would cost more time to wake, and memory for its stack.
type loop struct {
	// epoll watches the sockets. door watches epoll, and is what Go's own
	// poller watches: once for each time that the loop wants to be woken, so
	// that events do not wake anybody while it works.
	epoll int
	door  *os.File
	// buffer is for what is moved at once.
	buffer []byte
	events [batch]unix.EpollEvent
	told   [batch]*side
	// now is when the events were taken.
	now time.Time
	// again are connections with more to move than their turn allows.
	again []*connection
	// pipes are the spare ones, piped counts all.
	pipes []*pipe
	piped int

	// mu guards sides, by file descriptor.
	mu    sync.Mutex
	sides []*side
}

func newLoop() (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	door, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &loop{epoll: epoll, buffer: make([]byte, burst)}
	err = errors.Join(
		unix.EpollCtl(door, unix.EPOLL_CTL_ADD, epoll, &unix.EpollEvent{Events: unix.EPOLLONESHOT}),
		unix.SetNonblock(door, true), // Go's poller takes no others.
	)
	l.door = os.NewFile(uintptr(door), "epoll")
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *loop) close() {
	for _, p := range l.pipes {
		p.close()
	}
	_ = l.door.Close()
	_ = unix.Close(l.epoll)
}

// serve returns when the door is closed, which must not be before all
// connections have ended.
func (l *loop) serve() {
	defer l.close()
	raw, err := l.door.SyscallConn()
	for err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		l.now = time.Now()
		next := l.now.Add(tick)
		if l.door.SetReadDeadline(next) != nil {
			return
		}
		l.sweep()
		err = raw.Read(func(door uintptr) bool {
			// Waking is used up when it is taken.
			var woken [1]unix.EpollEvent
			_, _ = unix.EpollWait(int(door), woken[:], 0)
			for l.turn() {
				if l.now.After(next) {
					return true
				}
				runtime.Gosched()
			}
			_ = unix.EpollCtl(int(door), unix.EPOLL_CTL_MOD, l.epoll, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT})
			return false
		})
	}
}

// turn handles what has happened, and returns false if nothing had.
func (l *loop) turn() bool {
	n, _ := unix.EpollWait(l.epoll, l.events[:], 0)
	again := l.again
	if n <= 0 && len(again) == 0 {
		return false
	}
	l.now = time.Now()
	l.again = nil
	l.mu.Lock()
	for i := range max(n, 0) {
		l.told[i] = l.sides[l.events[i].Fd]
	}
	l.mu.Unlock()
	for i := range max(n, 0) {
		if s := l.told[i]; s != nil {
			l.event(s, l.events[i].Events)
			l.told[i] = nil
		}
	}
	for _, c := range again {
		c.again = false
		if !c.ended {
			l.advance(c)
		}
	}
	return true
}

// watch has the kernel tell what happens on a socket. If it fails, the loop knows
// nothing of it.
func (l *loop) watch(s *side) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s.fd >= len(l.sides) {
		l.sides = append(l.sides, nil)
	}
	err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(s.fd),
	})
	if err == nil {
		// The loop looks for it only after this.
		l.sides[s.fd] = s
	}
	return err
}

// wake makes the loop sweep.
func (l *loop) wake() { _ = l.door.SetReadDeadline(time.Now()) }

// sweep ends the connections whose time is over.
func (l *loop) sweep() {
	l.mu.Lock()
	var over []*connection
	for _, s := range l.sides {
		if s != nil && s == &s.target && (s.listener.cut.Load() || s.late(l.now)) {
			over = append(over, s.connection)
		}
	}
	l.mu.Unlock()
	for _, c := range over {
		switch {
		case c.listener.cut.Load():
			l.end(c, drained)
		case !c.connected:
			l.end(c, unreachable)
		default:
			l.end(c, silent)
		}
	}
}

// end closes a connection. Unless both sides were done they see a reset,
// whatever is waiting to be sent.
func (l *loop) end(c *connection, r result) {
	c.ended = true
	l.mu.Lock()
	for _, s := range []*side{&c.client, &c.target} {
		if s.fd < len(l.sides) && l.sides[s.fd] == s {
			l.sides[s.fd] = nil
		}
	}
	l.mu.Unlock()
	for _, s := range []*side{&c.client, &c.target} {
		l.release(s)
		if r == closed {
			// What the kernel still has to send is to arrive.
			_ = linger(s.fd, true)
		}
		_ = unix.Close(s.fd)
	}
	c.listener.left(r)
}
