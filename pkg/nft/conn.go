package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// socketBuffer holds a transaction of some hundred thousand elements: it
	// is sent at once, and its acknowledgements wait to be read.
	socketBuffer = 64 << 20
	// answerTimeout ends the wait for a kernel that does not answer.
	answerTimeout = 30 * time.Second
)

// errGeneration says that somebody else has changed the ruleset meanwhile. It
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
	// So the kernel says what was wrong, where it can.
	_ = socket.SetOption(netlink.ExtendedAcknowledge, true)
	return errors.Join(
		socket.SetWriteBuffer(socketBuffer),
		socket.SetReadBuffer(socketBuffer),
		socket.SetDeadline(time.Now().Add(answerTimeout)),
	)
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
	begin := nfgenmsg(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	begin = append(begin, encode(func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFNL_BATCH_GENID, generation)
	})...)
	end := control(unix.NFNL_MSG_BATCH_END, nfgenmsg(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
	return c.send(control(unix.NFNL_MSG_BATCH_BEGIN, begin), messages, end)
}

// check lets the kernel check a transaction as commit does and forgets it: it
// lacks the end.
func (c *conn) check(messages []message) error {
	return c.send(control(unix.NFNL_MSG_BATCH_BEGIN, nfgenmsg(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)), messages)
}

func (c *conn) send(begin netlink.Message, messages []message, end ...netlink.Message) error {
	all := []netlink.Message{begin}
	for _, m := range messages {
		all = append(all, netlink.Message{
			Header: netlink.Header{
				Type:  messageType(m.typ),
				Flags: netlink.Request | netlink.Acknowledge | m.flags,
			},
			Data: append(nfgenmsg(uint8(m.family), 0), m.data...),
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
		if err := decode(r, func(ad *netlink.AttributeDecoder) {
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
	m := netlink.Message{
		Header: netlink.Header{Type: messageType(typ), Flags: netlink.Request | flag},
		Data:   nfgenmsg(uint8(family), 0),
	}
	if attrs != nil {
		m.Data = append(m.Data, encode(attrs)...)
	}
	return c.socket.Execute(m)
}

// nfgenmsgLen is the length of struct nfgenmsg, before the attributes.
const nfgenmsgLen = 4

// nfgenmsg is the header of every netfilter message: the family, a version of
// zero and a resource id.
func nfgenmsg(family uint8, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}

func messageType(typ uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | typ)
}

func control(typ netlink.HeaderType, data []byte) netlink.Message {
	return netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request}, Data: data}
}

// decode calls fn for each attribute of a message.
func decode(m netlink.Message, fn func(*netlink.AttributeDecoder)) error {
	if len(m.Data) < nfgenmsgLen {
		return fmt.Errorf("message of %d bytes", len(m.Data))
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[nfgenmsgLen:])
	if err != nil {
		return err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		fn(ad)
	}
	return ad.Err()
}

// each calls fn for each attribute inside the present one.
func each(ad *netlink.AttributeDecoder, fn func(*netlink.AttributeDecoder)) {
	ad.Nested(func(nad *netlink.AttributeDecoder) error {
		for nad.Next() {
			fn(nad)
		}
		return nil
	})
}
