// Package netns makes network namespaces and runs code and programs in them. Tests
// and the programs under e2e use it; the daemon does not.
//
// A namespace made here has no name: it lives as long as this process holds its file
// descriptor or a program runs in it, so nothing is left behind by a process that was
// killed. Those of other origin, such as ip netns add, are entered by their path.
package netns

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs f on an operating system thread that is in the network namespace at
// path ("" is the namespace of the process), and returns f's error. Sockets and
// processes that f makes stay in that namespace; goroutines that f starts do not.
//
// The thread is never given back to the scheduler: it ends with the call, so no
// other goroutine can find itself in the wrong namespace.
func Do(path string, f func() error) error {
	if path == "" {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the runtime destroys the thread when the goroutine ends.
		runtime.LockOSThread()
		if err := Enter(path); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// Enter moves the calling thread into the network namespace at path. The caller
// holds the thread by runtime.LockOSThread and does not unlock it again.
func Enter(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}

// Dial connects from inside the network namespace at path. The address is a
// literal one: there is no name service in a test network, and a single literal
// is dialed by the calling thread, the one that is in the namespace.
func Dial(ctx context.Context, path, network, address string) (net.Conn, error) {
	var c net.Conn
	err := Do(path, func() error {
		var d net.Dialer
		var err error
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}
