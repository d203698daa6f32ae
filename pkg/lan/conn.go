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

// Port is the sockets of one interface for one family.
type Port struct {
	Interface
	// receive is an AF_PACKET socket.
	receive int
	// send is a raw IP socket, which also holds the multicast membership.
	send int
	// setting is a file that is gone for good when the kernel takes IPv6 off
	// the interface; -1 with IPv4.
	setting int
	// broken tells the Network that uses the port that receive has failed for
	// good.
	broken bool
}

// Ports opens and closes ports. Both block for as long as others hold the lock
// of the kernel's network configuration, and closing one always takes some
// milliseconds, so they are not for the thread of a Network. The zero value is
// ready for use, by any number of goroutines.
type Ports struct{}

// Open opens a port, which collects packets from then on. The error is an
// *InterfaceError.
func (Ports) Open(i Interface) (*Port, error) {
	p := &Port{Interface: i, receive: -1, send: -1, setting: -1}
	if err := p.open(); err != nil {
		return nil, &InterfaceError{Interface: i, Err: errors.Join(err, p.close())}
	}
	return p, nil
}

func (p *Port) open() (err error) {
	if p.IPv6 {
		// Before the group is joined, which IPv6 takes with it when it goes.
		if p.setting, err = openIPv6Setting(p.Index, "disable_ipv6"); err != nil {
			return err
		}
	}
	if p.receive, err = openReceive(p.Interface); err != nil {
		return err
	}
	p.send, err = openSend(p.Interface)
	return err
}

// Close closes a port that no Network uses any longer. Close it before another is
// opened in its place: where IPv6 was taken off the interface in the meantime, the
// kernel counts its leaving the group as the other's.
func (Ports) Close(p *Port) error {
	err := error(unix.EBADF)
	if p.receive >= 0 {
		err = p.close()
	}
	if err != nil {
		return fmt.Errorf("close the sockets of %s: %w", p.Name, err)
	}
	return nil
}

// close closes what is open.
func (p *Port) close() error {
	var errs []error
	for _, fd := range []*int{&p.receive, &p.send, &p.setting} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1 // The number may be another's by the time of a second Close.
		}
	}
	return errors.Join(errs...)
}

// attached tells whether the sockets still work: the kernel takes them off an
// interface that is deleted and, with an MTU below 1280, has it leave all of
// IPv6's groups, for good.
func (p *Port) attached() bool {
	if p.IPv6 {
		if _, err := unix.Pread(p.setting, make([]byte, 1), 0); err != nil {
			return false
		}
	}
	return boundTo(p.receive, p.Index)
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
