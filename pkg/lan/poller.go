package lan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// Poller waits for VRRP packets on a set of Conns, receives them and sends others. It
// is used by one goroutine, except Wake. Times are in nanoseconds of CLOCK_MONOTONIC.
type Poller struct {
	conns []*Conn
	// next is the index of the Conn that Receive tries first.
	next int
	// empty is a time at which no packet was waiting on any Conn in use.
	empty int64

	// poll lists the descriptors that Wait waits for: the eventfd, the timerfd, then
	// the Conns.
	poll []unix.PollFd
	// armed is the deadline that the timerfd is set to.
	armed int64

	in  receiver
	out [maxPacket]byte
	to4 unix.SockaddrInet4
	to6 unix.SockaddrInet6
	// via is the control message that selects the interface of an IPv4 packet.
	via []byte

	// mu prevents Wake from writing to a descriptor that Close has closed.
	mu    sync.Mutex
	event int
	timer int
}

// NewPoller returns a Poller without Conns.
func NewPoller() (*Poller, error) {
	event, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create timerfd: %w", err), unix.Close(event))
	}
	p := &Poller{event: event, timer: timer, armed: math.MaxInt64, via: unix.PktInfo4(&unix.Inet4Pktinfo{})}
	p.empty = p.Now()
	p.in.init()
	p.setPoll()
	return p, nil
}

// Now returns the time.
func (p *Poller) Now() int64 { return clock(unix.CLOCK_MONOTONIC) }

// clock returns the time of a clock in nanoseconds.
func clock(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(fmt.Sprintf("read clock %d: %v", id, err)) // Linux always has them.
	}
	return ts.Nano()
}

// Use replaces the Conns that packets are received and sent on. conns has at most one
// Conn of each interface and family. Packets that wait on a Conn stay there. Use does
// not block and neither opens nor closes Conns: they belong to the caller, which may
// close an unused Conn as soon as Use has returned.
func (p *Poller) Use(conns []*Conn) {
	p.conns = append(p.conns[:0], conns...)
	p.next = 0
	p.setPoll()
}

// Broken returns the Conns in use that have stopped working for good and must be
// reopened, such as after the interface was deleted and created again with the same
// index. It does not block.
func (p *Poller) Broken() []*Conn {
	var broken []*Conn
	for _, c := range p.conns {
		if !c.works() {
			broken = append(broken, c)
		}
	}
	return broken
}

// setPoll rebuilds the poll list.
func (p *Poller) setPoll() {
	p.poll = append(p.poll[:0],
		unix.PollFd{Fd: int32(p.event), Events: unix.POLLIN},
		unix.PollFd{Fd: int32(p.timer), Events: unix.POLLIN})
	for _, c := range p.conns {
		p.poll = append(p.poll, c.pollFd())
	}
}

// Wait blocks until a packet has arrived, Wake was called, or Now has reached
// deadline; math.MaxInt64 means no deadline.
func (p *Poller) Wait(deadline int64) error {
	if err := p.arm(deadline); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	for {
		_, err := unix.Ppoll(p.poll, nil, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for packets: %w", err)
		}
		if p.poll[0].Revents != 0 {
			var count [8]byte
			if _, err := unix.Read(p.event, count[:]); err != nil && err != unix.EAGAIN && err != unix.EINTR {
				return fmt.Errorf("read eventfd: %w", err)
			}
		}
		return nil
	}
}

// arm sets the timer to an absolute time, so that preemption of this thread between
// reading the clock and falling asleep does not delay it. An expired timer stays
// readable until it is set to another time.
func (p *Poller) arm(deadline int64) error {
	if deadline == p.armed {
		return nil
	}
	var spec unix.ItimerSpec // The zero value never expires.
	if deadline != math.MaxInt64 {
		spec.Value = unix.NsecToTimespec(max(deadline, 1))
	}
	if err := unix.TimerfdSettime(p.timer, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		return err
	}
	p.armed = deadline
	return nil
}

// Receive sets packet to the next waiting packet and reports whether there was one.
// It does not block. It takes the packets of each Conn in the order of arrival, and
// the Conns in turn, so that a flood on one does not hide the others.
func (p *Poller) Receive(packet *Packet) bool {
	start := p.Now()
	for range p.conns {
		c := p.conns[p.next]
		p.next = (p.next + 1) % len(p.conns)
		size, err := c.read(&p.in)
		if err == nil {
			packet.Index = c.Index
			p.in.fill(packet, size, p.empty)
			return true
		}
		if c.broken {
			p.setPoll()
		}
	}
	p.empty = start
	return false
}

// Send sends payload, a VRRP message with its checksum, from source to destination,
// which must be of one family, on the interface index, whose Conn of that family must
// be in use. Among the routes of the interface, the kernel chooses the one for a
// unicast destination, so the packet may pass a router; it never leaves by another
// interface.
func (p *Poller) Send(index int, source, destination netip.Addr, payload []byte) error {
	return p.send(index, 0, source, destination, payload)
}

// SendVia is Send to a multicast group by another interface than that of the Conn,
// such as a macvlan on it: via is its index. With IPv6 that interface must have an
// address, which need not be source.
func (p *Poller) SendVia(index, via int, source, destination netip.Addr, payload []byte) error {
	return p.send(index, via, source, destination, payload)
}

func (p *Poller) send(index, via int, source, destination netip.Addr, payload []byte) error {
	if !source.IsValid() || source.BitLen() != destination.BitLen() {
		return fmt.Errorf("send VRRP from %q to %q: want two addresses of one family", source, destination)
	}
	for _, c := range p.conns {
		if c.Index != index || c.IPv6 != source.Is6() {
			continue
		}
		packet := appendPacket(p.out[:0], source, destination, payload)
		var err error
		if to := p.sockaddr(destination, via); via == 0 || c.IPv6 {
			err = unix.Sendto(c.send, packet, 0, to)
		} else {
			binary.NativeEndian.PutUint32(p.via[unix.CmsgLen(0):], uint32(via))
			_, err = unix.SendmsgN(c.send, packet, p.via, to, 0)
		}
		if err != nil {
			return fmt.Errorf("send VRRP to %s on %s: %w", destination, c.Name, err)
		}
		return nil
	}
	return fmt.Errorf("send VRRP to %s: link %d has no socket for it", destination, index)
}

// sockaddr returns destination as the kernel expects it, valid until the next call.
// Without a zone, a socket sends by its own interface.
func (p *Poller) sockaddr(destination netip.Addr, via int) unix.Sockaddr {
	if destination.Is6() {
		p.to6.Addr, p.to6.ZoneId = destination.As16(), uint32(via)
		return &p.to6
	}
	p.to4.Addr = destination.As4()
	return &p.to4
}

// Wake makes the current or else the next Wait return at once. It may be called by any
// goroutine, even after Close.
func (p *Poller) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.event < 0 {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	// The write fails only if 2^64-2 calls are pending.
	_, _ = unix.Write(p.event, one[:])
}

// Close closes the Poller and stops using its Conns, which stay open.
func (p *Poller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.event < 0 {
		return nil
	}
	err := errors.Join(unix.Close(p.event), unix.Close(p.timer))
	p.event, p.timer, p.conns, p.poll = -1, -1, nil, nil
	return err
}
