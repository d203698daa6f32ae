package nft

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
)

// errGeneration says that another program has changed the ruleset meanwhile. It
// is what the kernel answers to a transaction for another generation.
var errGeneration = fmt.Errorf("the ruleset has changed: %w", unix.ERESTART)

// conn is a connection to nf_tables: google/nftables, and its socket for what
// the library does not say. One is opened for each piece of work, so that no
// late answer is ever taken for that of another request.
type conn struct {
	*nftables.Conn
	socket *netlink.Conn
}

func dial() (*conn, error) {
	c := &conn{}
	var err error
	c.Conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(c.prepare))
	if err != nil {
		if c.socket != nil {
			c.close()
		}
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	return c, nil
}

// prepare gets the socket from the library before it is used.
func (c *conn) prepare(socket *netlink.Conn) error {
	c.socket = socket
	return nfnetlink.SetUp(socket)
}

func (c *conn) close() { _ = c.socket.Close() }

// flush runs the transaction that the library has collected. The library has
// an error for each message; the first of them says it.
func (c *conn) flush() error {
	err := c.Flush()
	if first, ok := errors.AsType[*netlink.OpError](err); ok {
		return first
	}
	return err
}

// commit runs a transaction on a generation of the ruleset: all of it or, with
// an error, nothing. After it the generation is one higher.
func (c *conn) commit(generation uint32, messages []message) error {
	begin := nfnetlink.Header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	begin = append(begin, nfnetlink.Encode(func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFNL_BATCH_GENID, generation)
	})...)
	end := control(unix.NFNL_MSG_BATCH_END, nfnetlink.Header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
	return c.send(control(unix.NFNL_MSG_BATCH_BEGIN, begin), messages, end)
}

// check lets the kernel check a transaction as commit does and forgets it: it
// lacks the end.
func (c *conn) check(messages []message) error {
	return c.send(control(unix.NFNL_MSG_BATCH_BEGIN, nfnetlink.Header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)), messages)
}

func (c *conn) send(begin netlink.Message, messages []message, end ...netlink.Message) error {
	all := []netlink.Message{begin}
	for _, m := range messages {
		all = append(all, netlink.Message{
			Header: netlink.Header{
				Type:  messageType(m.typ),
				Flags: netlink.Request | netlink.Acknowledge | m.flags,
			},
			Data: append(nfnetlink.Header(uint8(m.family), 0), m.data...),
		})
	}
	if _, err := c.socket.SendMessages(append(all, end...)); err != nil {
		return fmt.Errorf("send transaction of %d messages: %w", len(messages), err)
	}
	// The kernel answers in the order of the messages, each with a datagram.
	for _, m := range messages {
		if _, err := c.socket.Receive(); errors.Is(err, unix.ERESTART) {
			return errGeneration
		} else if err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
	}
	return nil
}

// generation returns the number of the ruleset that is in force. Every
// transaction of any program that changes something adds one.
func (c *conn) generation() (uint32, error) {
	replies, err := c.get(unix.NFT_MSG_GETGEN, 0, nftables.TableFamilyUnspecified, nil)
	if err != nil {
		return 0, fmt.Errorf("get ruleset generation: %w", err)
	}
	var generation uint32
	for _, r := range replies {
		if err := nfnetlink.Decode(r, func(ad *netlink.AttributeDecoder) {
			if ad.Type() == unix.NFTA_GEN_ID {
				generation = ad.Uint32()
			}
		}); err != nil {
			return 0, fmt.Errorf("parse ruleset generation: %w", err)
		}
	}
	return generation, nil
}

// get sends a request and returns the answer; with flag netlink.Dump it is a
// list.
func (c *conn) get(typ uint16, flag netlink.HeaderFlags, family nftables.TableFamily, attrs func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	return c.socket.Execute(nfnetlink.Message(messageType(typ), flag, uint8(family), attrs))
}

func messageType(typ uint16) netlink.HeaderType {
	return nfnetlink.Type(unix.NFNL_SUBSYS_NFTABLES, typ)
}

func control(typ netlink.HeaderType, data []byte) netlink.Message {
	return netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request}, Data: data}
}
