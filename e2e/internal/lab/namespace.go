package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/e2e/internal/netns"
)

// Namespace is a network namespace that lives until it is closed.
type Namespace struct {
	// Name is for errors and logs.
	Name string
	fd   int
}

func newNamespace(name string) (*Namespace, error) {
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
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		done <- result{fd, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("make network namespace %s (are you root?): %w", name, r.err)
	}
	return &Namespace{Name: name, fd: r.fd}, nil
}

func (n *Namespace) close() error { return unix.Close(n.fd) }

// Path names the namespace for netns.Do, for probes and for programs that take
// a file.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd) }

// Do runs f on a thread that is in the namespace.
func (n *Namespace) Do(f func() error) error { return netns.Do(n.Path(), f) }

// Run runs a command in the namespace and returns what it wrote, trimmed.
func (n *Namespace) Run(name string, args ...string) (string, error) {
	return n.runInput("", name, args...)
}

// IP runs iproute2's commands, one in a line, without the leading "ip".
func (n *Namespace) IP(lines ...string) error {
	_, err := n.runInput(strings.Join(lines, "\n")+"\n", "ip", "-batch", "-")
	return err
}

// Nft runs commands of nft, or loads tables.
func (n *Namespace) Nft(script string) error {
	_, err := n.runInput(script, "nft", "-f", "-")
	return err
}

func (n *Namespace) runInput(input, name string, args ...string) (string, error) {
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
