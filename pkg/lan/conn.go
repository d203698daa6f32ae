package lan

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Interface is a network interface and an IP family.
type Interface struct {
	// Index is the interface index.
	Index int
	// Name is the interface's name, for errors. Two Interfaces with different names are
	// different.
	Name string
	// IPv6 selects IPv6 instead of IPv4.
	IPv6 bool
}

// Conn is the pair of sockets of one interface for VRRP of one family.
type Conn struct {
	Interface
	// receive is an AF_PACKET socket.
	receive int
	// send is a raw IP socket, which also holds the multicast membership.
	send int
	// setting is a file in /proc/sys that fails for good when the interface loses its
	// IPv6; -1 with IPv4.
	setting int
	// broken reports that receive has failed for good.
	broken bool
}

// Conns opens and closes Conns. Both block while another process holds the lock of
// the kernel's network configuration, and closing always takes some milliseconds, so
// do neither on the thread of a Poller. The zero value is ready for use, by any
// number of goroutines.
type Conns struct{}

// Open opens a Conn in the network namespace of the calling thread. The Conn queues
// packets from then on. The error is an *InterfaceError.
func (Conns) Open(i Interface) (*Conn, error) {
	c := &Conn{Interface: i, receive: -1, send: -1, setting: -1}
	if err := c.open(); err != nil {
		return nil, &InterfaceError{Interface: i, Err: errors.Join(err, c.close())}
	}
	return c, nil
}

func (c *Conn) open() (err error) {
	if c.IPv6 {
		// Open this before joining the group: an interface that loses its IPv6
		// afterwards also loses the membership, and the file shows it.
		if c.setting, err = openIPv6Setting(c.Index, "disable_ipv6"); err != nil {
			return err
		}
	}
	if c.receive, err = openReceive(c.Interface); err != nil {
		return err
	}
	c.send, err = openSend(c.Interface)
	return err
}

// Close closes a Conn that no Poller uses any longer. Close it before opening its
// replacement: if the interface lost its IPv6 in the meantime, the kernel counts the
// old Conn's leave of the group against the new one. A second Close fails with EBADF.
func (Conns) Close(c *Conn) error {
	err := error(unix.EBADF)
	if c.receive >= 0 {
		err = c.close()
	}
	if err != nil {
		return fmt.Errorf("close the sockets of %s: %w", c.Name, err)
	}
	return nil
}

// close closes the open descriptors.
func (c *Conn) close() error {
	var errs []error
	for _, fd := range []*int{&c.receive, &c.send, &c.setting} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1 // A second close must not close a reused number.
		}
	}
	return errors.Join(errs...)
}

// read receives the next packet into r and returns its length. An error other
// than EAGAIN and ENETDOWN leaves c broken.
func (c *Conn) read(r *receiver) (int, error) {
	n, err := r.receive(c.receive)
	// The kernel returns ENETDOWN once each time the interface goes down, and the
	// socket receives again when it comes up.
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENETDOWN) {
		c.broken = true
	}
	return n, err
}

// pollFd returns the entry of c for ppoll(2). A broken socket is left out, because
// it would end every ppoll at once.
func (c *Conn) pollFd() unix.PollFd {
	fd := unix.PollFd{Fd: int32(c.receive), Events: unix.POLLIN}
	if c.broken {
		fd.Fd = -1
	}
	return fd
}

// works reports whether the sockets still work. The kernel detaches them for good
// from an interface that is deleted, and drops the IPv6 memberships of an interface
// whose MTU falls below 1280.
func (c *Conn) works() bool {
	if c.broken {
		return false
	}
	if c.IPv6 {
		if _, err := unix.Pread(c.setting, make([]byte, 1), 0); err != nil {
			return false
		}
	}
	return boundTo(c.receive, c.Index)
}

// InterfaceError is the error of a Conn that cannot be opened.
type InterfaceError struct {
	Interface
	Err error
}

// Error names the interface and, for IPv6, the family.
func (e *InterfaceError) Error() string {
	if e.IPv6 {
		return fmt.Sprintf("listen on %s for IPv6: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("listen on %s: %v", e.Name, e.Err)
}

// Unwrap returns e.Err.
func (e *InterfaceError) Unwrap() error { return e.Err }
