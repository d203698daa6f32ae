package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/pkg/netns"
)

// scaleVIP is the address of the nth virtual router, outside of the hosts' prefix.
func scaleVIP(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}) }

// alone is a host that runs one program, and a client that asks all its VIPs.
type alone struct {
	lab     *lab.Lab
	process *netns.Process
	ping    *probe.Ping
	began   time.Time
}

// startAlone starts a program on a host of its own.
func startAlone(k kind, m mode, every time.Duration, routers []virtualRouter, ask ...netip.Addr) (*alone, error) {
	l, err := lab.New(1)
	if err != nil {
		return nil, err
	}
	a := &alone{lab: l}
	if err := l.Client.IP("route add 198.51.100.0/24 dev eth0"); err != nil {
		a.close()
		return nil, err
	}
	for _, r := range routers {
		ask = append(ask, r.vip)
	}
	if a.ping, err = probe.StartPing(l.Client.Path(), every, ask...); err != nil {
		a.close()
		return nil, err
	}
	a.began = time.Now()
	if a.process, err = k.start(l, l.Hosts[0], m, firstPriority, routers); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *alone) close() {
	if a.ping != nil {
		a.ping.Stop()
	}
	// What is left ends with this program.
	_ = a.lab.Close()
}

// answered waits until every VIP has answered after t, and returns when the first
// and the last of them did.
func (a *alone) answered(ctx context.Context, t time.Time, routers ...virtualRouter) (first, last time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for _, r := range routers {
		err := lab.Eventually(ctx, "answer", func() error {
			at, ok := a.ping.First(r.vip, t)
			if !ok {
				return fmt.Errorf("%s has not answered:\n%s", r.vip, a.lab.Report(t))
			}
			if first.IsZero() || at.Before(first) {
				first = at
			}
			if at.After(last) {
				last = at
			}
			return nil
		})
		if err != nil {
			return first, last, err
		}
	}
	return first, last, nil
}

// starts measures how long a program needs alone: from its start to the first
// answer, and for a virtual router that is added to it.
func starts(ctx context.Context, m mode, runs int, kinds [2]kind, progress func(format string, args ...any)) ([]row, error) {
	var cold, added [2][]time.Duration
	for n := range runs {
		for i, k := range kinds {
			c, a, err := start(ctx, k, m)
			if err != nil {
				return nil, err
			}
			cold[i], added[i] = append(cold[i], c), append(added[i], a)
		}
		progress("%v, start, run %d of %d: %v, keepalived %v; router added: %v, keepalived %v", m, n+1, runs,
			cold[0][n].Round(time.Millisecond), cold[1][n].Round(time.Millisecond),
			added[0][n].Round(time.Millisecond), added[1][n].Round(time.Millisecond))
	}
	return []row{
		{name: "start to Master, alone", unit: "ms", ours: milliseconds(cold[0]), theirs: milliseconds(cold[1])},
		{name: "virtual router added to a running daemon to Master", unit: "ms", ours: milliseconds(added[0]), theirs: milliseconds(added[1])},
	}, nil
}

func start(ctx context.Context, k kind, m mode) (cold, added time.Duration, err error) {
	routers := []virtualRouter{{defaultVRID, scaleVIP(1)}, {51, scaleVIP(2)}}
	a, err := startAlone(k, m, tick, routers[:1], routers[1].vip)
	if err != nil {
		return 0, 0, err
	}
	defer a.close()
	first, _, err := a.answered(ctx, a.began, routers[0])
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := k.add(a.lab, a.lab.Hosts[0], a.process, m, routers); err != nil {
		return 0, 0, err
	}
	second, _, err := a.answered(ctx, begin, routers[1])
	return first.Sub(a.began), second.Sub(begin), err
}

// scale measures what many virtual routers cost.
func scale(ctx context.Context, m mode, counts []int, window time.Duration, kinds [2]kind, progress func(format string, args ...any)) ([]row, error) {
	var rows []row
	for _, n := range counts {
		var spread, cpu, rss [2][]float64
		for i, k := range kinds {
			sp, c, r, err := many(ctx, k, m, n, window)
			if err != nil {
				return rows, err
			}
			spread[i], cpu[i], rss[i] = []float64{sp.Seconds()}, []float64{c}, []float64{r}
		}
		progress("%v, %d virtual routers: CPU %.3f s, keepalived %.3f s; RSS %.1f MB, keepalived %.1f MB; last VIP %.3f s after the first, keepalived %.3f s",
			m, n, cpu[0][0], cpu[1][0], rss[0][0], rss[1][0], spread[0][0], spread[1][0])
		name := fmt.Sprintf("%d virtual routers", n)
		if n == 1 {
			name = "1 virtual router"
		} else {
			rows = append(rows, row{name: name + ": last VIP after the first", unit: "s", ours: spread[0], theirs: spread[1]})
		}
		rows = append(rows,
			row{name: name + ": CPU per minute", unit: "s", ours: cpu[0], theirs: cpu[1]},
			row{name: name + ": memory (RSS)", unit: "MB", ours: rss[0], theirs: rss[1]})
	}
	return rows, nil
}

// many runs n virtual routers as Master and returns how long after the first VIP
// the last one answered, the CPU seconds per minute, and the memory in MB.
func many(ctx context.Context, k kind, m mode, n int, window time.Duration) (spread time.Duration, cpu, rss float64, err error) {
	var routers []virtualRouter
	for i := range n {
		routers = append(routers, virtualRouter{i + 1, scaleVIP(i + 1)})
	}
	// Often enough to see what matters, and no load of its own.
	a, err := startAlone(k, m, 20*time.Millisecond, routers)
	if err != nil {
		return 0, 0, 0, err
	}
	defer a.close()
	first, last, err := a.answered(ctx, a.began, routers...)
	if err != nil {
		return 0, 0, 0, err
	}
	a.ping.Stop()
	// Announcements after a takeover take 5 s, with a new batch of keepalived's
	// at their end.
	if err := rest(ctx, 7*time.Second); err != nil {
		return 0, 0, 0, err
	}
	before, _, err := usage(a.process.PID())
	if err != nil {
		return 0, 0, 0, err
	}
	began := time.Now()
	if err := rest(ctx, window); err != nil {
		return 0, 0, 0, err
	}
	after, rss, err := usage(a.process.PID())
	if err != nil {
		return 0, 0, 0, err
	}
	return last.Sub(first), (after - before) / time.Since(began).Minutes(), rss, nil
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// usage returns the CPU seconds and the memory in MB of a process and its
// children (proc(5)).
func usage(pid int) (cpu, rss float64, err error) {
	var spent unix.Timespec
	// A process's clock of the time it ran, as clock_getcpuclockid(3) makes it.
	if err := unix.ClockGettime(int32(^pid)<<3|2, &spent); err != nil {
		return 0, 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	cpu = float64(spent.Nano()) / 1e9
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, 0, err
	}
	// Behind the name, which may contain anything, come the fields from the third on.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	pages, err := strconv.ParseFloat(fields[24-3], 64)
	if err != nil {
		return 0, 0, err
	}
	rss = pages * float64(syscall.Getpagesize()) / 1e6
	children, err := os.ReadFile(filepath.Join(dir, "task", strconv.Itoa(pid), "children"))
	if err != nil {
		return 0, 0, err
	}
	for child := range strings.FieldsSeq(string(children)) {
		number, err := strconv.Atoi(child)
		if err != nil {
			return 0, 0, err
		}
		c, r, err := usage(number)
		if err != nil {
			return 0, 0, err
		}
		cpu, rss = cpu+c, rss+r
	}
	return cpu, rss, nil
}
