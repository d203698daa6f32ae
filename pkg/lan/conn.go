package lan

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Interface is an interface to open a port on.
type Interface struct {
	Index int
	// Name is for errors.
	Name string
	// IPv6 tells which family's packets the port is for.
	IPv6 bool
}

// Conn is the sockets of one interface for one family.
type Conn struct {
	Interface
	// receive is an AF_PACKET socket.
	receive int
	// send is a raw IP socket, which also holds the multicast membership.
	send int
	// setting is a file that is gone for good when the kernel takes IPv6 off
	// the interface; -1 with IPv4.
	setting int
	// broken reports that receive has failed for good.
	broken bool
}

// Conns opens and closes ports. Both block for as long as others hold the lock
// of the kernel's network configuration, and closing one always takes some
// milliseconds, so they are not for the thread of a Poller. The zero value is
// ready for use, by any number of goroutines.
type Conns struct{}

// Open opens a port, which collects packets from then on. The error is an
// *InterfaceError.
func (Conns) Open(i Interface) (*Conn, error) {
	c := &Conn{Interface: i, receive: -1, send: -1, setting: -1}
	if err := c.open(); err != nil {
		return nil, &InterfaceError{Interface: i, Err: errors.Join(err, c.close())}
	}
	return c, nil
}

func (c *Conn) open() (err error) {
	if c.IPv6 {
		// Before the group is joined, which IPv6 takes with it when it goes.
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

// Close closes a port that no Poller uses any longer. Close it before another is
// opened in its place: where IPv6 was taken off the interface in the meantime, the
// kernel counts its leaving the group as the other's.
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

// close closes what is open.
func (c *Conn) close() error {
	var errs []error
	for _, fd := range []*int{&c.receive, &c.send, &c.setting} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1 // The number may be another's by the time of a second Close.
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

// InterfaceError is why a port cannot be opened on an interface.
type InterfaceError struct {
	Interface
	Err error
}

func (e *InterfaceError) Error() string {
	if e.IPv6 {
		return fmt.Sprintf("listen on %s for IPv6: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("listen on %s: %v", e.Name, e.Err)
}

func (e *InterfaceError) Unwrap() error { return e.Err }
