// Package nfnetlink frames the messages of netfilter's subsystems on netlink
// (linux/netfilter/nfnetlink.h), as nf_tables and conntrack use them: a header of
// four bytes, and attributes whose numbers are big-endian.
package nfnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// socketBuffer holds a transaction of some hundred thousand elements: it
	// is sent at once, and its acknowledgements wait to be read.
	socketBuffer = 64 << 20
	// answerTimeout ends the wait for a kernel that does not answer.
	answerTimeout = 30 * time.Second
	// headerLength is the length of struct nfgenmsg.
	headerLength = 4
)

// Dial opens a socket for one piece of work. One that lives longer could take a
// late answer for that of another request.
func Dial() (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	if err := SetUp(c); err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", errors.Join(err, c.Close()))
	}
	return c, nil
}

// SetUp sets the options of a socket that another library opened.
func SetUp(c *netlink.Conn) error {
	// The kernel then says what was wrong, where it can.
	_ = c.SetOption(netlink.ExtendedAcknowledge, true)
	return errors.Join(
		c.SetWriteBuffer(socketBuffer),
		c.SetReadBuffer(socketBuffer),
		c.SetDeadline(time.Now().Add(answerTimeout)),
	)
}

// Type returns the type of a subsystem's message.
func Type(subsystem, message uint16) netlink.HeaderType {
	return netlink.HeaderType(subsystem<<8 | message)
}

// Message returns a request about a family, AF_... or NFPROTO_..., with the
// attributes that attrs adds; nil adds none.
func Message(typ netlink.HeaderType, flags netlink.HeaderFlags, family uint8, attrs func(*netlink.AttributeEncoder)) netlink.Message {
	m := netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | flags},
		Data:   Header(family, 0),
	}
	if attrs != nil {
		m.Data = append(m.Data, Encode(attrs)...)
	}
	return m
}

// Header returns struct nfgenmsg: the family, a version of zero and a resource
// id.
func Header(family uint8, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}

// Encode returns the attributes that fn adds.
func Encode(fn func(*netlink.AttributeEncoder)) []byte {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	fn(ae)
	b, err := ae.Encode()
	if err != nil {
		panic("nfnetlink: " + err.Error()) // An attribute longer than 64 KiB: none of ours is.
	}
	return b
}

// Nest adds an attribute that consists of the attributes that fn adds.
func Nest(ae *netlink.AttributeEncoder, typ uint16, fn func(*netlink.AttributeEncoder)) {
	ae.Nested(typ, func(ae *netlink.AttributeEncoder) error {
		fn(ae)
		return nil
	})
}

// Decode calls fn for each attribute of a message.
func Decode(m netlink.Message, fn func(*netlink.AttributeDecoder)) error {
	if len(m.Data) < headerLength {
		return fmt.Errorf("message of %d bytes", len(m.Data))
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[headerLength:])
	if err != nil {
		return err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		fn(ad)
	}
	return ad.Err()
}

// DecodeNested calls fn for each attribute inside the present one.
func DecodeNested(ad *netlink.AttributeDecoder, fn func(*netlink.AttributeDecoder)) {
	ad.Nested(func(nad *netlink.AttributeDecoder) error {
		for nad.Next() {
			fn(nad)
		}
		return nil
	})
}
