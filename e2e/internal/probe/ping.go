package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/netns"
)

const (
	icmpEchoReply   = 0
	icmpEchoRequest = 8
)

// Ping asks IPv4 addresses by ICMP echo, each of them at every tick, and notes
// when their answers come. It goes through the namespace's own neighbour table,
// as every client does, and like Probe it is one thread.
type Ping struct {
	targets []netip.Addr
	every   time.Duration
	id      uint16
	socket  int
	timer   int
	wake    int // an eventfd that ends the loop

	mu      sync.Mutex
	begin   time.Time
	end     time.Time
	lag     time.Duration
	answers map[netip.Addr][]time.Time

	stop  sync.Once
	ended chan struct{}
}

// StartPing begins to ask the targets from the network namespace at that path,
// each of them every time that long. Stop ends it.
func StartPing(path string, every time.Duration, targets ...netip.Addr) (*Ping, error) {
	p := &Ping{
		targets: targets, every: every, id: uint16(time.Now().UnixNano()), socket: -1, timer: -1, wake: -1,
		answers: map[netip.Addr][]time.Time{}, ended: make(chan struct{}),
	}
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
		return nil, fmt.Errorf("ping: %w", err)
	}
	return p, nil
}

// Stop ends the asking.
func (p *Ping) Stop() {
	p.stop.Do(func() {
		// The loop is the only reader and takes no more than one.
		_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-p.ended
		unix.Close(p.wake)
	})
}

// First returns when the first answer of a target came that is not before t; false
// if none did yet.
func (p *Ping) First(target netip.Addr, t time.Time) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.answers[target], t, time.Time.Compare)
	if i == len(p.answers[target]) {
		return time.Time{}, false
	}
	return p.answers[target][i], true
}

// Outage returns the longest time between two consecutive answers of a target of
// which the later one, or the end so far, is after t. The first answer needs
// nothing before it.
func (p *Ping) Outage(target netip.Addr, t time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var longest time.Duration
	last := p.begin
	for _, a := range append(slices.Clone(p.answers[target]), p.end) {
		if a.After(t) {
			longest = max(longest, a.Sub(last))
		}
		last = a
	}
	return longest
}

// Steady reports whether each target has been answering for d without a gap of more
// than ten ticks.
func (p *Ping) Steady(d time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.end.Add(-d)
	for _, target := range p.targets {
		last := since
		answers := p.answers[target]
		i, _ := slices.BinarySearchFunc(answers, since, time.Time.Compare)
		for _, a := range append(slices.Clone(answers[i:]), p.end) {
			if a.Sub(last) > 10*p.every {
				return false
			}
			last = a
		}
	}
	return since.After(p.begin)
}

// Lag is the longest time between two ticks: more than a little over the interval,
// and the machine was too busy to measure as exactly as that.
func (p *Ping) Lag() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lag
}

func (p *Ping) open(path string) error {
	if path != "" {
		if err := netns.Enter(path); err != nil {
			return err
		}
	}
	// See Probe.open.
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0); err != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	}
	var err error
	if p.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP); err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(p.socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
		return os.NewSyscallError("setsockopt", err)
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
	p.begin = time.Now()
	p.end = p.begin
	return nil
}

func (p *Ping) close() {
	for _, fd := range []int{p.socket, p.timer} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (p *Ping) loop() {
	poll := []unix.PollFd{
		{Fd: int32(p.wake), Events: unix.POLLIN},
		{Fd: int32(p.socket), Events: unix.POLLIN},
		{Fd: int32(p.timer), Events: unix.POLLIN},
	}
	for {
		if _, err := unix.Ppoll(poll, nil, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if poll[0].Revents != 0 {
			return
		}
		p.read()
		if poll[2].Revents != 0 {
			p.tick()
		}
	}
}

// tick asks every target once.
func (p *Ping) tick() {
	var buf [8]byte
	_, _ = unix.Read(p.timer, buf[:]) // only to rearm; missed ticks are not made up for
	now := time.Now()
	p.mu.Lock()
	p.lag = max(p.lag, now.Sub(p.end))
	p.end = now
	p.mu.Unlock()
	message := [8]byte{0: icmpEchoRequest}
	binary.BigEndian.PutUint16(message[4:], p.id)
	sum := icmpEchoRequest<<8 + uint32(p.id)
	binary.BigEndian.PutUint16(message[2:], ^uint16(sum+sum>>16))
	for _, target := range p.targets {
		// A target that cannot be reached just now does not answer.
		_ = unix.Sendto(p.socket, message[:], 0, &unix.SockaddrInet4{Addr: target.As4()})
	}
}

// read takes in all answers that have come.
func (p *Ping) read() {
	var packet [128]byte
	for {
		n, _, err := unix.Recvfrom(p.socket, packet[:], 0)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		// Anything else is an error that an ICMP message has left on the socket.
		if err != nil || n < 28 {
			continue
		}
		header := int(packet[0]&0x0f) * 4
		if header+8 > n || packet[header] != icmpEchoReply || binary.BigEndian.Uint16(packet[header+4:]) != p.id {
			continue
		}
		source := netip.AddrFrom4([4]byte(packet[12:16]))
		now := time.Now()
		p.mu.Lock()
		p.answers[source] = append(p.answers[source], now)
		p.mu.Unlock()
	}
}
