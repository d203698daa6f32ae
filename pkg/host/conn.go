package host

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// netlinkBuffer is the size in bytes of a receive buffer. It holds the kernel's
	// answers to a whole batch, and its events while Watch is busy.
	netlinkBuffer = 1 << 20
	// batchSize bounds the messages of one sendmsg, so that an error for each of them
	// fits into netlinkBuffer.
	batchSize = 256
	// replyTimeout bounds the wait for a lost answer.
	replyTimeout = 2 * time.Second
	// dumpAttempts bounds how often a list is requested while links or addresses change.
	dumpAttempts = 5
)

// conn lists and changes links and addresses by rtnetlink.
//
// The netlink library lacks two things: its AddrList, AddrReplace and AddrDel do not
// support IFA_PROTO, and each of its requests is a sendmsg and an answer of its own. So
// conn builds and parses messages about addresses with the library's package nl, and
// writes a batch of them to the library's socket.
type conn struct {
	handle *netlink.Handle
	// addr is the socket for messages about addresses. handle does not export its own.
	addr *nl.SocketHandle
}

// dial opens the sockets in the network namespace of the calling thread.
func dial() (*conn, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	addr, err := subscribe()
	if err != nil {
		handle.Close()
		return nil, err
	}
	c := &conn{handle: handle, addr: &nl.SocketHandle{Socket: addr}}
	limit := unix.NsecToTimeval(replyTimeout.Nanoseconds())
	if err := errors.Join(
		handle.SetSocketTimeout(replyTimeout),
		addr.SetReceiveTimeout(&limit),
		// With strict checks the kernel can list the addresses of one link (Linux 4.20).
		unix.SetsockoptInt(addr.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1),
	); err != nil {
		return nil, fmt.Errorf("set up netlink socket: %w", errors.Join(err, c.Close()))
	}
	return c, nil
}

// subscribe opens a socket in the network namespace of the calling thread that
// receives the events of the given multicast groups.
func subscribe(groups ...uint) (*nl.NetlinkSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	// Exceed net.core.rmem_max if that is permitted.
	if s.SetReceiveBufferSize(netlinkBuffer, true) == nil {
		return s, nil
	}
	if err := s.SetReceiveBufferSize(netlinkBuffer, false); err != nil {
		s.Close()
		return nil, fmt.Errorf("set up netlink socket: %w", err)
	}
	return s, nil
}

// Close closes the sockets. The library returns no error, so neither does Close.
func (c *conn) Close() error {
	c.handle.Close()
	c.addr.Close()
	return nil
}

// socket is a conn that is opened when needed.
type socket struct {
	// conn is nil until it is needed, and after an error.
	conn *conn
}

// use calls f with the conn. After any error the conn is closed, and the next use opens
// another one: a late answer to a failed request cannot be taken for a later one.
func (s *socket) use(f func(*conn) error) error {
	if s.conn == nil {
		c, err := dial()
		if err != nil {
			return err
		}
		s.conn = c
	}
	if err := f(s.conn); err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

// close closes the conn, if it is open.
func (s *socket) close() error {
	if s.conn == nil {
		return nil
	}
	c := s.conn
	s.conn = nil
	return c.Close()
}

// links lists all links, without their addresses.
func (c *conn) links() ([]Link, error) {
	list, err := dump(c.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	all := make([]Link, len(list))
	for i, l := range list {
		all[i] = newLink(l)
	}
	return all, nil
}

// addresses lists the addresses of a link, or of all links if link is 0. The result is
// by link index, with IPv4 addresses first. A link that does not exist has none.
func (c *conn) addresses(link int) (map[int][]Address, error) {
	messages, err := dump(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: c.addr}
		body := nl.NewIfAddrmsg(unix.AF_UNSPEC)
		body.Index = uint32(link)
		request.AddData(body)
		return request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	all := make(map[int][]Address)
	for _, m := range messages {
		l, a, ok, err := parseAddress(m)
		if err != nil {
			return nil, err
		}
		if ok {
			all[l] = append(all[l], a)
		}
	}
	return all, nil
}

// dump returns the result of list, which it calls again if links or addresses changed
// during the call.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for range dumpAttempts {
		if all, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return nil, netlink.ErrDumpInterrupted
}

// link returns a link without its addresses, or the zero Link if it does not exist.
func (c *conn) link(index int) (Link, error) {
	l, err := c.handle.LinkByIndex(index)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return Link{}, nil
	}
	if err != nil {
		return Link{}, fmt.Errorf("get link %d: %w", index, err)
	}
	return newLink(l), nil
}

// batch sends requests to the kernel, which executes them in order. It returns an error
// or nil for each of them.
func (c *conn) batch(requests []*nl.NetlinkRequest) ([]error, error) {
	results := make([]error, 0, len(requests))
	for part := range slices.Chunk(requests, batchSize) {
		r, err := c.transact(part)
		if err != nil {
			return nil, err
		}
		results = append(results, r...)
	}
	return results, nil
}

// transact sends requests as one datagram. Only the last one requests an
// acknowledgement: of the others the kernel reports only failures.
func (c *conn) transact(requests []*nl.NetlinkRequest) ([]error, error) {
	last := len(requests) - 1
	requests[last].Flags |= unix.NLM_F_ACK
	first := c.addr.Seq + 1
	var datagram []byte
	for _, r := range requests {
		c.addr.Seq++
		r.Seq = c.addr.Seq
		datagram = append(datagram, r.Serialize()...)
	}
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(c.addr.Socket.GetFd(), datagram, 0, kernel); err != nil {
		return nil, fmt.Errorf("send netlink requests: %w", err)
	}
	results := make([]error, len(requests))
	for {
		messages, from, err := c.addr.Socket.Receive()
		if err != nil {
			return nil, fmt.Errorf("receive netlink answers: %w", err)
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		for _, m := range messages {
			// An acknowledgement is an error with the number 0.
			i := m.Header.Seq - first
			if m.Header.Type != unix.NLMSG_ERROR || i > uint32(last) || len(m.Data) < 4 {
				continue
			}
			if number := int32(nl.NativeEndian().Uint32(m.Data)); number != 0 {
				results[i] = unix.Errno(-number)
			}
			if i == uint32(last) {
				return results, nil
			}
		}
	}
}
