package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/netns"
)

// Watch asks a LAN again and again who has each of several addresses, by ARP or
// Neighbor Discovery, and notes who answers. It asks as a stranger, whose addresses are
// the ones after the host's own: answers to the host would be in its neighbor table, and
// lead its connections to any of two holders. Like Probe it is one thread.
type Watch struct {
	targets []netip.Addr
	every   time.Duration
	link    *net.Interface
	mac     net.HardwareAddr    // the stranger's
	own     map[bool]netip.Addr // its addresses, by Is4
	socket  int
	timer   int
	wake    int // an eventfd that ends the loop

	// answered is who has answered since the latest question.
	answered map[netip.Addr][]string
	asked    time.Time

	mu    sync.Mutex
	spans map[netip.Addr][]Span

	stop  sync.Once
	ended chan struct{}
}

// Span is a time in which the same hosts answered every question for an address.
type Span struct {
	// From is the first of the questions, To the first one after them.
	From, To time.Time
	// Holders are the Ethernet addresses that the answers came from, sorted.
	Holders []string
}

// Duration is how long it was.
func (s Span) Duration() time.Duration { return s.To.Sub(s.From) }

// StartWatch begins to ask on a network interface of the namespace at that path who
// has the targets, each of them every time that long. Stop ends it.
func StartWatch(path, ifname string, every time.Duration, targets ...netip.Addr) (*Watch, error) {
	w := &Watch{
		targets: targets, every: every, own: map[bool]netip.Addr{}, socket: -1, timer: -1, wake: -1,
		answered: map[netip.Addr][]string{}, spans: map[netip.Addr][]Span{}, ended: make(chan struct{}),
	}
	started := make(chan error, 1)
	go func() {
		defer close(w.ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := w.open(path, ifname)
		defer w.close()
		started <- err
		if err == nil {
			w.loop()
		}
	}()
	if err := <-started; err != nil {
		<-w.ended
		if w.wake >= 0 {
			unix.Close(w.wake)
		}
		return nil, fmt.Errorf("watch %s: %w", ifname, err)
	}
	return w, nil
}

// Stop ends the asking.
func (w *Watch) Stop() {
	w.stop.Do(func() {
		// The loop is the only reader and takes no more than one.
		_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-w.ended
		unix.Close(w.wake)
	})
}

// Spans returns what was seen of a target after t, in the order of time. A span that t
// is within begins with t.
func (w *Watch) Spans(target netip.Addr, t time.Time) []Span {
	w.mu.Lock()
	defer w.mu.Unlock()
	var spans []Span
	for _, s := range w.spans[target] {
		if !s.To.After(t) {
			continue
		}
		if s.From.Before(t) {
			s.From = t
		}
		spans = append(spans, s)
	}
	return spans
}

func (w *Watch) open(path, ifname string) error {
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
	if w.link, err = net.InterfaceByName(ifname); err != nil {
		return err
	}
	w.mac = slices.Clone(w.link.HardwareAddr)
	w.mac[len(w.mac)-2]++
	for _, target := range w.targets {
		own, err := ownAddress(w.link, target.Is4())
		if err != nil {
			return err
		}
		w.own[target.Is4()] = own.Next()
	}
	if w.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(w.socket, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.SetsockoptSockFprog(w.socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(answers)), Filter: &answers[0]}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	// Bound last: nothing passes before the filter is there.
	if err := unix.Bind(w.socket, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: w.link.Index}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if w.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	tick := unix.NsecToTimespec(int64(w.every))
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(w.timer, 0, &unix.ItimerSpec{Interval: tick, Value: tick}, nil))
}

// answers passes ARP, and Neighbor Advertisements.
var answers = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_ARP, Jt: 6},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IPV6, Jf: 4},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 20},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_ICMPV6, Jf: 2},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 54},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: icmpNeighborAdvertisement, Jt: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
}

// ownAddress returns an address of the host's, of the family.
func ownAddress(link *net.Interface, is4 bool) (netip.Addr, error) {
	if is4 {
		return firstIPv4(link)
	}
	addrs, err := link.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("it has no IPv6 address")
}

func (w *Watch) close() {
	for _, fd := range []int{w.socket, w.timer} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (w *Watch) loop() {
	poll := []unix.PollFd{
		{Fd: int32(w.wake), Events: unix.POLLIN},
		{Fd: int32(w.socket), Events: unix.POLLIN},
		{Fd: int32(w.timer), Events: unix.POLLIN},
	}
	for {
		if _, err := unix.Ppoll(poll, nil, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if poll[0].Revents != 0 {
			return
		}
		w.read()
		if poll[2].Revents != 0 {
			var buf [8]byte
			_, _ = unix.Read(w.timer, buf[:]) // only to rearm; missed ticks are not made up for
			w.tick(time.Now())
		}
	}
}

// tick notes the answers to the latest questions, and asks again.
func (w *Watch) tick(now time.Time) {
	if !w.asked.IsZero() {
		w.mu.Lock()
		for _, target := range w.targets {
			w.spans[target] = extend(w.spans[target], Span{w.asked, now, w.answered[target]})
		}
		w.mu.Unlock()
	}
	clear(w.answered)
	w.asked = now
	to := &unix.SockaddrLinklayer{Ifindex: w.link.Index}
	for _, target := range w.targets {
		frame := NeighborSolicitation(w.mac, w.own[false], target)
		if target.Is4() {
			frame = ARPRequest(w.mac, w.own[true], target)
		}
		// One that cannot be sent just now has no answer.
		_ = unix.Sendto(w.socket, frame, 0, to)
	}
}

// extend adds a span to those before it: to the last one if the same hosts answered.
func extend(spans []Span, s Span) []Span {
	if last := len(spans) - 1; last >= 0 && slices.Equal(spans[last].Holders, s.Holders) {
		spans[last].To = s.To
		return spans
	}
	return append(spans, s)
}

// read takes in all answers that have come.
func (w *Watch) read() {
	buf := make([]byte, 1500)
	for {
		n, _, err := unix.Recvfrom(w.socket, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			continue // the link went down
		}
		for _, target := range w.targets {
			_, ok := parseARPReply(buf[:n], target)
			if a, isND := parseNeighborAdvertisement(buf[:n]); isND {
				ok = a == target
			}
			mac := net.HardwareAddr(buf[6:12]).String()
			if ok && !slices.Contains(w.answered[target], mac) {
				w.answered[target] = append(w.answered[target], mac)
				slices.Sort(w.answered[target])
			}
		}
	}
}
