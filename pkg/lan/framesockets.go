package lan

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mdlayher/packet"
)

// sendTimeout bounds how long a device that transmits nothing can block a sender of
// frames.
const sendTimeout = time.Second

// frameSockets are the sockets that send Ethernet frames, one for each interface,
// opened when needed. The zero value is ready for use, by one goroutine.
type frameSockets struct {
	byIndex map[int]*packet.Conn
	to      packet.Addr
	// closing are the goroutines that close sockets of deleted links.
	closing sync.WaitGroup
}

// get returns the socket for the interface index. It receives nothing, because it
// is bound to no protocol; the frames name their own EtherType.
func (s *frameSockets) get(index int) (*packet.Conn, error) {
	if conn, ok := s.byIndex[index]; ok {
		return conn, nil
	}
	if n := len(s.byIndex); n&(n-1) == 0 {
		s.closeDeleted() // rare enough that many links cost little
	}
	conn, err := packet.Listen(&net.Interface{Index: index}, packet.Raw, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	if s.byIndex == nil {
		s.byIndex = make(map[int]*packet.Conn)
	}
	s.byIndex[index] = conn
	return conn, nil
}

// send sends an Ethernet frame on conn.
func (s *frameSockets) send(conn *packet.Conn, frame []byte) error {
	s.to.HardwareAddr = frame[:6]
	_, err := conn.WriteTo(frame, &s.to)
	return err
}

// discard closes the socket for the interface index after an error: the index may
// belong to another link by now, so the next get opens a new socket.
func (s *frameSockets) discard(index int) error {
	conn, ok := s.byIndex[index]
	if !ok {
		return nil
	}
	delete(s.byIndex, index)
	return conn.Close()
}

// closeDeleted closes the sockets of links that were deleted. Links that are created
// for a while, such as those with a virtual MAC address, have another index each
// time. Each close takes the kernel milliseconds, and the sender does not wait.
func (s *frameSockets) closeDeleted() {
	var deleted []*packet.Conn
	for index, conn := range s.byIndex {
		if !attached(conn, index) {
			deleted = append(deleted, conn)
			delete(s.byIndex, index)
		}
	}
	if len(deleted) == 0 {
		return
	}
	s.closing.Go(func() {
		for _, conn := range deleted {
			_ = conn.Close() // nothing was left to send
		}
	})
}

// attached reports whether the socket conn is still bound to the interface index.
func attached(conn *packet.Conn, index int) (bound bool) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { bound = boundTo(int(fd), index) })
	}
	return bound
}

// close closes every socket, and waits until all are closed. The sockets can be used
// again.
func (s *frameSockets) close() error {
	var errs []error
	for _, conn := range s.byIndex {
		errs = append(errs, conn.Close())
	}
	s.byIndex = nil
	s.closing.Wait()
	return errors.Join(errs...)
}
