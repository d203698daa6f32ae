package netns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// threadPath is the network namespace of the calling thread.
const threadPath = "/proc/thread-self/ns/net"

// Namespace is a network namespace that lives until it is closed.
type Namespace struct {
	// Name is for errors and logs.
	Name string
	fd   int
}

// New makes a network namespace. Its loopback interface is down.
func New(name string) (*Namespace, error) {
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{-1, err}
			return
		}
		fd, err := unix.Open(threadPath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		done <- result{fd, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("make network namespace %s (are you root?): %w", name, r.err)
	}
	return &Namespace{Name: name, fd: r.fd}, nil
}

// Close ends the namespace, unless a program still runs in it.
func (n *Namespace) Close() error { return unix.Close(n.fd) }

// FD is the namespace as a file descriptor, open until Close.
func (n *Namespace) FD() int { return n.fd }

// Path names the namespace for Do, Enter and Dial, and for programs that take a
// file, such as ip link set ... netns PATH.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd) }

// Do runs f on a thread of its own in the namespace, as the function Do does.
func (n *Namespace) Do(f func() error) error { return Do(n.Path(), f) }

// DoHere runs f on the calling goroutine with its thread in the namespace, so that f
// may end a test. Sockets that f opens stay there. Goroutines that f starts do not.
// A thread that cannot be moved, or not back, is a panic.
func (n *Namespace) DoHere(f func()) {
	runtime.LockOSThread()
	before, err := unix.Open(threadPath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		panic(fmt.Sprintf("open the thread's namespace: %v", err))
	}
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		panic(fmt.Sprintf("enter namespace %s: %v", n.Name, err))
	}
	defer func() {
		if err := unix.Setns(before, unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("leave namespace %s: %v", n.Name, err))
		}
		unix.Close(before)
		runtime.UnlockOSThread()
	}()
	f()
}

// Run runs a command in the namespace and returns what it wrote, trimmed.
func (n *Namespace) Run(name string, args ...string) (string, error) {
	return n.RunInput("", name, args...)
}

// IP runs iproute2's commands, one in a line, without the leading "ip".
func (n *Namespace) IP(lines ...string) error {
	_, err := n.RunInput(strings.Join(lines, "\n")+"\n", "ip", "-batch", "-")
	return err
}

// Nft runs commands of nft, or loads tables.
func (n *Namespace) Nft(script string) error {
	_, err := n.RunInput(script, "nft", "-f", "-")
	return err
}

// RunInput is Run with text on the command's standard input.
func (n *Namespace) RunInput(input, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	var out []byte
	// The child is cloned from the thread, and so starts in the namespace.
	err := n.Do(func() error {
		var err error
		out, err = cmd.CombinedOutput()
		return err
	})
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("in %s: %s %s: %w\n%s%s", n.Name, name, strings.Join(args, " "), err, input, text)
	}
	return text, nil
}

// Sysctl writes network sysctls, such as net/ipv4/conf/all/rp_filter=0.
func (n *Namespace) Sysctl(settings ...string) error {
	return n.Do(func() error {
		for _, s := range settings {
			key, value, _ := strings.Cut(s, "=")
			if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0o644); err != nil {
				return fmt.Errorf("in %s: set %s: %w", n.Name, s, err)
			}
		}
		return nil
	})
}
