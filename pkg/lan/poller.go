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

// Network is the VRRP side of the LANs this node is on. It is used by one
// goroutine, except Wake.
type Network struct {
	ports []*Port
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

// NewNetwork returns a Network without ports.
func NewNetwork() (*Network, error) {
	event, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create timerfd: %w", err), unix.Close(event))
	}
	n := &Network{event: event, timer: timer, armed: math.MaxInt64, via: unix.PktInfo4(&unix.Inet4Pktinfo{})}
	n.empty = n.Now()
	n.in.init()
	n.setPoll()
	return n, nil
}

// Now returns CLOCK_MONOTONIC in nanoseconds.
func (n *Network) Now() int64 { return clock(unix.CLOCK_MONOTONIC) }

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
func (n *Network) Use(ports []*Port) {
	n.ports = append(n.ports[:0], ports...)
	n.next = 0
	n.setPoll()
}

// Broken returns the ports in use that have stopped working for good and must
// be opened anew, such as after the interface was deleted and created again with
// the same index. It does not block.
func (n *Network) Broken() []*Port {
	var broken []*Port
	for _, p := range n.ports {
		if p.broken || !p.attached() {
			broken = append(broken, p)
		}
	}
	return broken
}

func (n *Network) setPoll() {
	n.poll = append(n.poll[:0],
		unix.PollFd{Fd: int32(n.event), Events: unix.POLLIN},
		unix.PollFd{Fd: int32(n.timer), Events: unix.POLLIN})
	for _, p := range n.ports {
		fd := unix.PollFd{Fd: int32(p.receive), Events: unix.POLLIN}
		if p.broken {
			fd.Fd = -1
		}
		n.poll = append(n.poll, fd)
	}
}

// Wait returns when a packet has arrived, Wake was called, or the clock has
// reached deadline (as of Now; math.MaxInt64 means never).
func (n *Network) Wait(deadline int64) error {
	if err := n.arm(deadline); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	for {
		_, err := unix.Ppoll(n.poll, nil, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for packets: %w", err)
		}
		if n.poll[0].Revents != 0 {
			var count [8]byte
			if _, err := unix.Read(n.event, count[:]); err != nil && err != unix.EAGAIN && err != unix.EINTR {
				return fmt.Errorf("read eventfd: %w", err)
			}
		}
		return nil
	}
}

// arm sets the timer to an absolute time, which cannot come late because this
// thread was preempted between reading the clock and falling asleep. A timer
// that has expired stays readable until it is set to another time.
func (n *Network) arm(deadline int64) error {
	if deadline == n.armed {
		return nil
	}
	var spec unix.ItimerSpec // The zero value never expires.
	if deadline != math.MaxInt64 {
		spec.Value = unix.NsecToTimespec(max(deadline, 1))
	}
	if err := unix.TimerfdSettime(n.timer, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		return err
	}
	n.armed = deadline
	return nil
}

// Receive fills p with the next waiting packet: of each port in the order of
// arrival, and the ports in turn, so that a flood on one does not hide the
// others. It never blocks; false means that no port has one.
func (n *Network) Receive(p *Packet) bool {
	start := n.Now()
	for range n.ports {
		i := n.next
		n.next = (n.next + 1) % len(n.ports)
		port := n.ports[i]
		size, err := n.in.receive(port.receive)
		switch {
		case err == nil:
			p.Index = port.Index
			n.in.fill(p, size, n.empty)
			return true
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENETDOWN):
			// ENETDOWN is told once each time the interface goes down; the
			// socket hears again when it comes up.
		default:
			// Whatever it is would make Wait return at once for ever.
			port.broken = true
			n.poll[2+i].Fd = -1
		}
	}
	n.empty = start
	return false
}

// Send sends payload, one VRRP message, from source to destination, which are of
// one family, on an interface whose port of that family is in use. The checksum
// of the message is the caller's. What goes to a single host is routed as the
// kernel's tables say among the routes of that interface, and so passes a router
// where there is one, and never leaves by another interface.
func (n *Network) Send(index int, source, destination netip.Addr, payload []byte) error {
	return n.send(index, 0, source, destination, payload)
}

// SendVia is Send to a multicast group by another link than that of the port,
// such as one that is stacked on it. With IPv6 that link needs an address, though
// not source.
func (n *Network) SendVia(index, via int, source, destination netip.Addr, payload []byte) error {
	return n.send(index, via, source, destination, payload)
}

func (n *Network) send(index, via int, source, destination netip.Addr, payload []byte) error {
	if !source.IsValid() || source.BitLen() != destination.BitLen() {
		return fmt.Errorf("send VRRP from %q to %q: want two addresses of one family", source, destination)
	}
	for _, p := range n.ports {
		if p.Index != index || p.IPv6 != source.Is6() {
			continue
		}
		packet := appendPacket(n.out[:0], source, destination, payload)
		var err error
		if to := n.sockaddr(destination, via); via == 0 || p.IPv6 {
			err = unix.Sendto(p.send, packet, 0, to)
		} else {
			binary.NativeEndian.PutUint32(n.via[unix.CmsgLen(0):], uint32(via))
			_, err = unix.SendmsgN(p.send, packet, n.via, to, 0)
		}
		if err != nil {
			return fmt.Errorf("send VRRP to %s on %s: %w", destination, p.Name, err)
		}
		return nil
	}
	return fmt.Errorf("send VRRP to %s: link %d has no port for it", destination, index)
}

// sockaddr is the destination of a packet as the kernel takes it, valid until
// the next call. Without a zone a socket sends by its own interface.
func (n *Network) sockaddr(destination netip.Addr, via int) unix.Sockaddr {
	if destination.Is6() {
		n.to6.Addr, n.to6.ZoneId = destination.As16(), uint32(via)
		return &n.to6
	}
	n.to4.Addr = destination.As4()
	return &n.to4
}

// Wake makes the Wait that runs, or else the next one, return at once. It may
// be called by any goroutine, also after Close.
func (n *Network) Wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.event < 0 {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	// It fails only when 2^64-2 calls are waiting to be noticed.
	_, _ = unix.Write(n.event, one[:])
}

// Close ends the use of all ports, which it does not close.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.event < 0 {
		return nil
	}
	err := errors.Join(unix.Close(n.event), unix.Close(n.timer))
	n.event, n.timer, n.ports, n.poll = -1, -1, nil, nil
	return err
}
