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
	receive, err := openReceive(i)
	if err != nil {
		return nil, &InterfaceError{Interface: i, Err: err}
	}
	send, err := openSend(i)
	if err != nil {
		return nil, &InterfaceError{Interface: i, Err: errors.Join(err, unix.Close(receive))}
	}
	return &Port{Interface: i, receive: receive, send: send}, nil
}

// Close closes a port that no Network uses any longer.
func (Ports) Close(p *Port) error {
	err := errors.Join(unix.Close(p.receive), unix.Close(p.send))
	// Their numbers may be another's by the time of a second Close.
	p.receive, p.send = -1, -1
	if err != nil {
		return fmt.Errorf("close the sockets of %s: %w", p.Name, err)
	}
	return nil
}

// attached tells whether the receiving socket still works: the kernel takes it
// off an interface that is deleted.
func (p *Port) attached() bool {
	address, err := unix.Getsockname(p.receive)
	if err != nil {
		return false
	}
	packet, ok := address.(*unix.SockaddrLinklayer)
	return ok && packet.Ifindex == p.Index
}
