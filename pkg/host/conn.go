package host

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// netlinkBuffer holds the kernel's answers to a whole batch, and its
	// events while Watch is busy.
	netlinkBuffer = 1 << 20
	// batchSize bounds the messages of one sendmsg, so that even an error for
	// each of them fits into netlinkBuffer.
	batchSize = 256
	// replyTimeout bounds the wait for an answer that was lost.
	replyTimeout = 2 * time.Second
	dumpAttempts = 5
)

// errInterrupted tells that a list was changed while the kernel gave it out.
var errInterrupted = errors.New("list changed while it was read")

// conn is a socket for requests to rtnetlink. After an error other than
// errInterrupted it is of no use any more, because the answers that are still
// to come would be taken for those of the next request.
type conn struct {
	*netlink.Conn
}

// dial opens a socket in the network namespace of the calling thread that
// hears of the given multicast groups.
func dial(groups ...uint32) (conn, error) {
	// Strict: the kernel lists the addresses of one link if asked to (4.20).
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Strict: true})
	if err != nil {
		return conn{}, fmt.Errorf("open netlink socket: %w", err)
	}
	err = c.SetReadBuffer(netlinkBuffer)
	for _, g := range groups {
		err = errors.Join(err, c.JoinGroup(g))
	}
	if err != nil {
		return conn{}, fmt.Errorf("set up netlink socket: %w", errors.Join(err, c.Close()))
	}
	return conn{c}, nil
}

// links lists all links, without their addresses.
func (c conn) links() ([]Link, error) {
	messages, err := c.dump(unix.RTM_GETLINK, listLinks(0))
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var all []Link
	for _, m := range messages {
		l, ok, err := parseLink(m.Data)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, l)
		}
	}
	return all, nil
}

// addresses lists the addresses of a link, or of every link if link is 0, by
// link. A link that does not exist has none.
func (c conn) addresses(link int) (map[int][]Address, error) {
	messages, err := c.dump(unix.RTM_GETADDR, listAddresses(link))
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	all := make(map[int][]Address)
	for _, m := range messages {
		l, a, ok, err := parseAddress(m.Data)
		if err != nil {
			return nil, err
		}
		if ok {
			all[l] = append(all[l], a)
		}
	}
	return all, nil
}

func (c conn) dump(typ netlink.HeaderType, body []byte) ([]netlink.Message, error) {
	request := netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Dump}, Data: body}
	for range dumpAttempts {
		messages, err := c.execute(request)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(messages, func(m netlink.Message) bool {
			return m.Header.Flags&netlink.DumpInterrupted != 0
		}) {
			return messages, nil
		}
	}
	return nil, errInterrupted
}

// name returns the name of a link, empty if it does not exist.
func (c conn) name(link int) (string, error) {
	messages, err := c.execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   listLinks(link),
	})
	if errors.Is(err, unix.ENODEV) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("get link %d: %w", link, err)
	}
	for _, m := range messages {
		if l, ok, err := parseLink(m.Data); err != nil || ok {
			return l.Name, err
		}
	}
	return "", fmt.Errorf("get link %d: no answer", link)
}

func (c conn) execute(m netlink.Message) ([]netlink.Message, error) {
	if err := c.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return nil, err
	}
	return c.Execute(m)
}

// batch has the kernel carry out requests in one go, in order, and returns for
// each of them what went wrong, or nil.
func (c conn) batch(requests []netlink.Message) ([]error, error) {
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

// transact asks only for an acknowledgement of the last request: of the others
// the kernel reports those that failed.
func (c conn) transact(requests []netlink.Message) ([]error, error) {
	if err := c.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return nil, err
	}
	requests[len(requests)-1].Header.Flags |= netlink.Acknowledge
	sent, err := c.SendMessages(requests)
	if err != nil {
		return nil, err
	}
	number := make(map[uint32]int, len(sent))
	for i, m := range sent {
		number[m.Header.Sequence] = i
	}
	results := make([]error, len(sent))
	for {
		sequence, result, err := c.acknowledgement()
		if err != nil {
			return nil, err
		}
		i, ok := number[sequence]
		if !ok {
			continue
		}
		results[i] = result
		if i == len(sent)-1 {
			return results, nil
		}
	}
}

// acknowledgement receives the result of the request of a sequence number.
func (c conn) acknowledgement() (sequence uint32, result, err error) {
	messages, err := c.Receive()
	if op := new(netlink.OpError); errors.As(err, &op) && op.Sequence != 0 {
		return op.Sequence, op.Err, nil
	}
	if err != nil {
		return 0, nil, err
	}
	if len(messages) == 0 {
		return 0, nil, nil
	}
	return messages[0].Header.Sequence, nil, nil
}
