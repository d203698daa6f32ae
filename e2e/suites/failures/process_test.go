package failures

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/pkg/netns"
)

const (
	daemonGroup  = "The daemon"
	plannedGroup = "Planned work"
	nodeGroup    = "The node and its link"
	networkGroup = "The network"
	addressGroup = "Addresses and rules that others change"
	kubeGroup    = "Kubernetes"
)

// The texts that several rows have in common.
const (
	deadClients = "The node goes on serving what reaches it, until the next one has taken over and announced the VIPs. Open connections break. Both may answer ARP and Neighbor Discovery until 0.5 s after the daemon's end"
	crashRemedy = "nothing; find out why"
)

func startOld(s *site) error { return s.start(old) }

// daemonCells are faults of the daemon alone: its node goes on.
var daemonCells = []*cell{
	{
		name: "kill", event: "The daemon is killed (`kill -9`)", clients: deadClients, remedy: "nothing; the kubelet starts it again",
		sees: []sight{became(next, "Master", "masterDown")}, dead: true,
		fault: func(s *site) error { s.kill(old); return nil }, heal: startOld,
	},
	{
		name: "restartedAtOnce", event: "It is killed and started again at once", clients: "The same, and the new process removes the addresses first of all", remedy: "nothing",
		sees: []sight{became(next, "Master", "masterDown"), logged(old, "Removed address left by an earlier run")}, dead: true,
		fault:   func(s *site) error { s.kill(old); return s.start(old) },
		targets: map[string]time.Duration{silent: 500 * time.Millisecond, two: 500 * time.Millisecond, gone: 500 * time.Millisecond},
	},
	{
		name: "crash", event: "It crashes: a panic, a fatal error of the runtime, a signal such as SIGSEGV", clients: deadClients,
		operator: "`kubectl logs --previous` ends with the stacks", remedy: "report it with that log",
		sees: []sight{became(next, "Master", "masterDown"), {who: old, line: "SIGSEGV", text: roles[old] + ": log `SIGSEGV: segmentation violation`"}}, dead: true,
		fault: func(s *site) error { return s.end(old, syscall.SIGSEGV) }, heal: startOld,
	},
	{
		name: "abort", event: "It is made to show its stacks (SIGQUIT, SIGABRT)", clients: deadClients, operator: "the stacks in `kubectl logs --previous`", remedy: "nothing",
		sees: []sight{became(next, "Master", "masterDown"), {who: old, line: "SIGQUIT", text: roles[old] + ": log `SIGQUIT: quit`"}}, dead: true,
		fault: func(s *site) error { return s.end(old, syscall.SIGQUIT) }, heal: startOld,
	},
	{
		name: "memoryLimit", event: "Out of memory: the kernel kills it at the limit of its container", clients: deadClients,
		operator: "`OOMKilled` in `kubectl describe pod`", remedy: "raise `resources.limits.memory`",
		sees: []sight{became(next, "Master", "masterDown")}, dead: true, fault: exceedMemoryLimit, heal: startOld,
	},
	{
		name: "stop", event: "It is stopped (SIGSTOP) and goes on later", clients: deadClients, remedy: "nothing",
		sees: []sight{became(next, "Master", "masterDown"), became(old, "Backup", "stalled")}, dead: true,
		fault: func(s *site) error { return s.signal(old, syscall.SIGSTOP) },
		heal:  func(s *site) error { return s.signal(old, syscall.SIGCONT) },
	},
	{
		name: "hang", event: "Its VRRP loop hangs, all else of it works", clients: deadClients,
		operator: "`/healthz` says `the VRRP loop has not run`, and the liveness probe restarts it", remedy: "report it",
		sees: []sight{became(next, "Master", "masterDown"), became(old, "Backup", "stalled")}, dead: true,
		targets: map[string]time.Duration{noticed: 10500 * time.Millisecond},
		fault: func(s *site) error {
			tid, err := s.daemons[old].LoopThread()
			if err != nil {
				return err
			}
			s.resume, err = s.daemons[old].Hang(tid)
			return err
		},
		during: func(s *site) {
			s.waitAlone(next, vips...)
			s.eventually("the liveness probe fails", func() error {
				if s.daemons[old].Health(s.t.Context()) == nil {
					return errors.New("it is healthy")
				}
				return nil
			})
			s.figures[noticed] = time.Since(s.at)
		},
		heal: func(s *site) error { return s.resume() },
	},
	{
		name: "shortStop", event: "It stands still for 0.15 s", clients: "Nothing", remedy: "nothing", stays: true, dead: true,
		targets: map[string]time.Duration{outage: 20 * time.Millisecond},
		fault:   func(s *site) error { return s.standstill(old, 150*time.Millisecond) },
	},
	{
		name: "backupKilled", event: "A Backup's daemon is killed", clients: "Nothing", remedy: "nothing; the kubelet starts it again", stays: true,
		targets: map[string]time.Duration{outage: 20 * time.Millisecond},
		fault:   func(s *site) error { s.kill(next); return nil },
		heal:    func(s *site) error { return s.start(next) },
	},
	{
		name: "backupStops", event: "A Backup's daemon stands still for 1 s", clients: "Nothing: silence that it could not hear does not count", remedy: "nothing", stays: true,
		targets: map[string]time.Duration{outage: 20 * time.Millisecond},
		fault: func(s *site) error {
			err := s.signal(next, syscall.SIGSTOP)
			<-time.After(time.Second)
			return errors.Join(err, s.signal(next, syscall.SIGCONT))
		},
	},
	{
		name: "fullDisk", event: "Its log cannot be written: the disk is full", clients: "Nothing; a failover, here after a cut cable, is as ever",
		operator: "no log", remedy: "make room; Events, `/status` and metrics are there meanwhile", silentLog: true,
		sees:    []sight{became(next, "Master", "masterDown")},
		command: fullDisk,
		fault:   func(s *site) error { return s.Cut(old) },
		heal:    func(s *site) error { return s.Restore(old) },
	},
	{
		name: "logGone", event: "What reads its log has ended (the container runtime's shim), and the pod is deleted", clients: gracefulClients,
		operator: "no log", remedy: "nothing", silentLog: true, graceful: true,
		sees:    []sight{became(next, "Master", "masterResigned")},
		command: ofOld(shell(`f=$(mktemp -u); mkfifo "$f"; exec 3<>"$f" 4>"$f" 3>&-; rm "$f"; exec "$@" >&4 2>&1 4>&-`)),
		fault:   terminate, heal: startOld,
	},
	{
		name: "logBlocked", event: "What reads its log has stopped reading", clients: "Nothing; a failover, here after a cut cable, is as ever",
		operator: "no log; the Events that go with it come late", remedy: "find out what is wrong with the container runtime", silentLog: true,
		sees:    []sight{became(next, "Master", "masterDown")},
		command: ofOld(shell(`f=$(mktemp -u); mkfifo "$f"; exec 3<>"$f"; rm "$f"; exec "$@" >&3 2>&1`)),
		fault:   func(s *site) error { return errors.Join(s.fillLog(), s.Cut(old)) },
		heal:    func(s *site) error { return errors.Join(s.Restore(old), s.emptyLog()) },
	},
	{
		name: "readOnlySysctls", event: "`/proc/sys` is read-only", clients: "Nothing; a failover, here after a cut cable, is as ever", remedy: "nothing; only VIPs with a virtual MAC need sysctls (`virtualMACFailed`)",
		sees:    []sight{became(next, "Master", "masterDown")},
		command: shell(`mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && ! touch /proc/sys/net/ipv4/ip_forward 2>/dev/null && exec "$@"`, "unshare", "--mount"),
		fault:   func(s *site) error { return s.Cut(old) },
		heal:    func(s *site) error { return s.Restore(old) },
	},
	{
		name: "clocksApart", event: "The nodes' monotonic clocks are apart by years", clients: "Nothing; a failover, here after `kill -9`, is as ever", remedy: "nothing: no clock is compared with another's",
		sees: []sight{became(next, "Master", "masterDown")}, dead: true,
		command: func(host int) []string {
			if host != next {
				return nil
			}
			return []string{"unshare", "--time", "--monotonic=100000000", "--boottime=100000000"}
		},
		fault: func(s *site) error { s.kill(old); return nil },
		heal:  startOld,
	},
}

// shell is the command that lets a shell execute a daemon in the end.
func shell(script string, before ...string) func(int) []string {
	return func(int) []string { return append(before, "/bin/sh", "-ec", script, "sh") }
}

// ofOld has the old Master's daemon alone started by a command.
func ofOld(command func(int) []string) func(int) []string {
	return func(host int) []string {
		if host != old {
			return nil
		}
		return command(host)
	}
}

// fillLog fills the pipe that is the old Master's log, so that the next line waits.
func (s *site) fillLog() error {
	return s.log(os.O_WRONLY, func(f *os.File) error {
		_, err := f.Write(bytes.Repeat([]byte("full\n"), 1<<16))
		return err
	})
}

// emptyLog reads all that is in the pipe, and what waited for it.
func (s *site) emptyLog() error {
	return s.log(os.O_RDONLY, func(f *os.File) error {
		_, err := io.Copy(io.Discard, f)
		return err
	})
}

// log opens the pipe and uses it until nothing happens for a time.
func (s *site) log(how int, use func(*os.File) error) error {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", s.daemons[old].PID()), how|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return err
	}
	if err := use(f); !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("log of the daemon: %w, want it to be full or empty", err)
	}
	return nil
}

// fullDisk lets a daemon write its log to a full file system of its own, or where
// there is never room.
func fullDisk(host int) []string {
	if host == old {
		return shell(`exec "$@" >/dev/full 2>&1`)(host)
	}
	return shell(`mount -t tmpfs -o size=64k tmpfs /mnt; ! head -c 1M /dev/zero 2>/dev/null >/mnt/fill; exec "$@" >>/mnt/log 2>&1`, "unshare", "--mount")(host)
}

// exceedMemoryLimit gives the old Master's daemon more to keep than it may.
func exceedMemoryLimit(s *site) error {
	remove, err := s.daemons[old].LimitMemory(2 << 20)
	if err != nil {
		return err
	}
	err = s.grow()
	s.kill(old) // It ends before the group does, whatever has happened.
	return errors.Join(err, remove(), killed(s.daemons[old].Process))
}

// killed reports whether a program was ended by SIGKILL.
func killed(p *netns.Process) error {
	var exit *exec.ExitError
	if !errors.As(p.Err(), &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		return fmt.Errorf("the daemon has ended with %w, not by SIGKILL", p.Err())
	}
	return nil
}

// grow makes the cluster so large, by Services, that a daemon without memory ends.
// The fault begins there.
func (s *site) grow() error {
	defer func() { s.at = time.Now().Round(0) }()
	for i := range 40 {
		s.API.Set("services", lab.Object{
			"metadata": map[string]any{
				"namespace": "default", "name": fmt.Sprintf("large%d", i),
				"annotations": map[string]string{"text": strings.Repeat("large ", 40000)},
			},
			"spec": map[string]any{"type": "ClusterIP", "clusterIP": "None"},
		})
		select {
		case <-s.daemons[old].Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
	return s.waitEnded(old)
}
