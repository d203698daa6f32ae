package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Recorder notes every advertisement, every packet of ARP and Neighbor
// Discovery at the switch's ports, and every address that a host gets or loses.
//
// It is one thread on sockets. Packets carry the kernel's time. Changes of
// addresses are timed when the thread has read them: it runs before all others
// where that is permitted (SCHED_RR), and is then a fraction of a millisecond
// late.
type Recorder struct {
	switchFD int
	hosts    map[int]*hostState // by the file descriptor of its rtnetlink socket
	ports    map[int]int        // from the index of a port to that of its host
	wake     int
	ended    chan struct{} // closed when the thread has ended; nil before it was started

	mu       sync.Mutex
	packets  []Packet
	bindings []Binding
	err      error
}

// Binding is the begin or the end of a host's holding an address.
type Binding struct {
	At      time.Time
	Host    int
	Address netip.Addr
	// Held means that it began. A link without carrier holds nothing.
	Held bool
}

// hostState is what rtnetlink has told of a host.
type hostState struct {
	index     int
	running   map[int]bool                // by link
	addresses map[netip.Addr]map[int]bool // to the links that have it
	held      map[netip.Addr]bool
}

func newRecorder() *Recorder {
	return &Recorder{switchFD: -1, wake: -1, hosts: map[int]*hostState{}, ports: map[int]int{}}
}

// watch subscribes to a host's addresses. It has no links yet.
func (r *Recorder) watch(h *Host) error {
	return h.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		r.hosts[fd] = &hostState{h.Index, map[int]bool{}, map[netip.Addr]map[int]bool{}, map[netip.Addr]bool{}}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
			return os.NewSyscallError("setsockopt SO_RCVBUFFORCE", err)
		}
		groups := uint32(1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1))
		return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
	})
}

// start records from now on.
func (r *Recorder) start(l *Lab) error {
	err := l.Switch.Do(func() error {
		for _, h := range l.everybody() {
			ifi, err := net.InterfaceByName(l.Port(h.Index))
			if err != nil {
				return err
			}
			r.ports[ifi.Index] = h.Index
		}
		return r.openSwitch()
	})
	if err != nil {
		return fmt.Errorf("record at the switch: %w", err)
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	r.ended = make(chan struct{})
	go func() {
		defer close(r.ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 2}, 0)
		if err := r.loop(); err != nil {
			r.mu.Lock()
			r.err = err
			r.mu.Unlock()
		}
	}()
	return nil
}

// openSwitch opens the packet socket in the switch's namespace.
func (r *Recorder) openSwitch() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	r.switchFD = fd
	for _, o := range []struct {
		level, name, value int
		text               string
	}{
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16 << 20, "SO_RCVBUFFORCE"},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1, "SO_TIMESTAMPNS"},
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING"},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt "+o.text, err)
		}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
		return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
	}
	// Bound last: nothing passes before the filter is there.
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL)}))
}

// filter passes ARP, protocol 112 and ICMPv6.
var filter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_ARP, Jt: 8},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IP, Jt: 1},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IPV6, Jt: 2, Jf: 5},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 23},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protocolVRRP, Jt: 4, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 20},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protocolVRRP, Jt: 2},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_ICMPV6, Jt: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
}

func (r *Recorder) close() error {
	if r.ended != nil {
		_, _ = unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-r.ended
	}
	var errs []error
	for _, fd := range []int{r.switchFD, r.wake} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	for fd := range r.hosts {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(append(errs, r.err)...)
}

func (r *Recorder) loop() error {
	poll := []unix.PollFd{{Fd: int32(r.wake), Events: unix.POLLIN}, {Fd: int32(r.switchFD), Events: unix.POLLIN}}
	for fd := range r.hosts {
		poll = append(poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	buf, oob := make([]byte, 1<<17), make([]byte, 128)
	for {
		if _, err := unix.Poll(poll, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
		if poll[0].Revents != 0 {
			return nil
		}
		// Addresses first: their time is taken here.
		for _, p := range poll[2:] {
			if p.Revents == 0 {
				continue
			}
			if err := r.readAddresses(int(p.Fd), buf); err != nil {
				return err
			}
		}
		if poll[1].Revents != 0 {
			if err := r.readPackets(buf, oob); err != nil {
				return err
			}
		}
	}
}

func (r *Recorder) readPackets(buf, oob []byte) error {
	for {
		n, on, _, from, err := unix.Recvmsg(r.switchFD, buf, oob, 0)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvmsg", err)
		}
		host, ok := r.ports[from.(*unix.SockaddrLinklayer).Ifindex]
		if !ok {
			continue // the bridge itself: the same once more
		}
		p, ok := parsePacket(buf[:n])
		if !ok {
			continue
		}
		p.Host, p.At = host, timestamp(oob[:on])
		r.mu.Lock()
		r.packets = append(r.packets, p)
		r.mu.Unlock()
	}
}

// timestamp reads the kernel's time of a packet.
func timestamp(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			sec, nsec := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			return time.Unix(int64(sec), int64(nsec))
		}
	}
	return time.Time{}
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// readAddresses takes in what rtnetlink has to tell of one host.
func (r *Recorder) readAddresses(fd int, buf []byte) error {
	now, h := time.Now().Round(0), r.hosts[fd]
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("rtnetlink of host %d: %w", h.index, err)
		}
		h.read(buf[:n])
	}
	changes := h.changes(now)
	r.mu.Lock()
	r.bindings = append(r.bindings, changes...)
	r.mu.Unlock()
	return nil
}

// read takes in netlink messages.
func (h *hostState) read(b []byte) {
	for len(b) >= unix.SizeofNlMsghdr {
		length, kind := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
		if length < unix.SizeofNlMsghdr || length > len(b) {
			return
		}
		body := b[unix.SizeofNlMsghdr:length]
		b = b[min((length+3)&^3, len(b)):]
		switch kind {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			if len(body) < unix.SizeofIfInfomsg {
				continue
			}
			link, flags := int(int32(binary.NativeEndian.Uint32(body[4:]))), binary.NativeEndian.Uint32(body[8:])
			h.running[link] = kind == unix.RTM_NEWLINK && flags&unix.IFF_UP != 0 && flags&unix.IFF_LOWER_UP != 0
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			if len(body) < unix.SizeofIfAddrmsg {
				continue
			}
			a := address(body[unix.SizeofIfAddrmsg:])
			if h.addresses[a] == nil {
				h.addresses[a] = map[int]bool{}
			}
			h.addresses[a][int(binary.NativeEndian.Uint32(body[4:]))] = kind == unix.RTM_NEWADDR
		}
	}
}

// address returns the IFA_LOCAL of an address message, or its IFA_ADDRESS.
func address(attributes []byte) (a netip.Addr) {
	for len(attributes) >= unix.SizeofRtAttr {
		length, kind := int(binary.NativeEndian.Uint16(attributes)), binary.NativeEndian.Uint16(attributes[2:])
		if length < unix.SizeofRtAttr || length > len(attributes) {
			break
		}
		value, ok := netip.AddrFromSlice(attributes[unix.SizeofRtAttr:length])
		if ok && (kind == unix.IFA_LOCAL || kind == unix.IFA_ADDRESS && !a.IsValid()) {
			a = value
		}
		attributes = attributes[min((length+3)&^3, len(attributes)):]
	}
	return a
}

// changes returns what is different from the last call.
func (h *hostState) changes(now time.Time) []Binding {
	var changes []Binding
	for a, links := range h.addresses {
		held := false
		for link, has := range links {
			held = held || has && h.running[link]
		}
		if held != h.held[a] {
			h.held[a] = held
			changes = append(changes, Binding{now, h.index, a, held})
		}
	}
	slices.SortFunc(changes, func(a, b Binding) int { return a.Address.Compare(b.Address) })
	return changes
}
