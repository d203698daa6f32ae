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

// Poller is the VRRP side of the LANs this node is on. It is used by one
// goroutine, except Wake.
type Poller struct {
	conns []*Conn
	// next is the port that Receive tries first.
	next int
	// empty is a moment at which no packet was waiting on any port in use.
	empty int64

	// poll is what Wait waits for: the eventfd, the timerfd, then the ports.
	poll []unix.PollFd
	// armed is the deadline the timerfd is set to.
	armed int64

	in  receiver
	out [maxPacket]byte
	to4 unix.SockaddrInet4
	to6 unix.SockaddrInet6
	// via is the control message that names the link of an IPv4 packet.
	via []byte

	// mu keeps Wake from writing to a descriptor that Close has closed.
	mu    sync.Mutex
	event int
	timer int
}

// NewPoller returns a Poller without ports.
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

// Now returns CLOCK_MONOTONIC in nanoseconds.
func (p *Poller) Now() int64 { return clock(unix.CLOCK_MONOTONIC) }

func clock(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(fmt.Sprintf("read clock %d: %v", id, err)) // Linux always has them.
	}
	return ts.Nano()
}

// Use makes exactly these, of each interface and family at most one, the ports
// that packets are received from and sent on; what is waiting on one that was in
// use before stays. It neither blocks nor opens nor closes anything: ports belong to the
// caller, who may close one that is no longer used as soon as Use has returned.
func (p *Poller) Use(conns []*Conn) {
	p.conns = append(p.conns[:0], conns...)
	p.next = 0
	p.setPoll()
}

// Broken returns the ports in use that have stopped working for good and must
// be opened anew, such as after the interface was deleted and created again with
// the same index. It does not block.
func (p *Poller) Broken() []*Conn {
	var broken []*Conn
	for _, c := range p.conns {
		if !c.works() {
			broken = append(broken, c)
		}
	}
	return broken
}

func (p *Poller) setPoll() {
	p.poll = append(p.poll[:0],
		unix.PollFd{Fd: int32(p.event), Events: unix.POLLIN},
		unix.PollFd{Fd: int32(p.timer), Events: unix.POLLIN})
	for _, c := range p.conns {
		p.poll = append(p.poll, c.pollFd())
	}
}

// Wait returns when a packet has arrived, Wake was called, or the clock has
// reached deadline (as of Now; math.MaxInt64 means never).
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

// arm sets the timer to an absolute time, which cannot come late because this
// thread was preempted between reading the clock and falling asleep. A timer
// that has expired stays readable until it is set to another time.
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

// Receive fills p with the next waiting packet: of each port in the order of
// arrival, and the ports in turn, so that a flood on one does not hide the
// others. It never blocks; false means that no port has one.
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

// Send sends payload, one VRRP message, from source to destination, which are of
// one family, on an interface whose port of that family is in use. The checksum
// of the message is the caller's. What goes to a single host is routed as the
// kernel's tables say among the routes of that interface, and so passes a router
// where there is one, and never leaves by another interface.
func (p *Poller) Send(index int, source, destination netip.Addr, payload []byte) error {
	return p.send(index, 0, source, destination, payload)
}

// SendVia is Send to a multicast group by another link than that of the port,
// such as one that is stacked on it. With IPv6 that link needs an address, though
// not source.
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
	return fmt.Errorf("send VRRP to %s: link %d has no port for it", destination, index)
}

// sockaddr is the destination of a packet as the kernel takes it, valid until
// the next call. Without a zone a socket sends by its own interface.
func (p *Poller) sockaddr(destination netip.Addr, via int) unix.Sockaddr {
	if destination.Is6() {
		p.to6.Addr, p.to6.ZoneId = destination.As16(), uint32(via)
		return &p.to6
	}
	p.to4.Addr = destination.As4()
	return &p.to4
}

// Wake makes the Wait that runs, or else the next one, return at once. It may
// be called by any goroutine, also after Close.
func (p *Poller) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.event < 0 {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	// It fails only when 2^64-2 calls are waiting to be noticed.
	_, _ = unix.Write(p.event, one[:])
}

// Close ends the use of all ports, which it does not close.
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
