package nft

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
)

// Expr is one expression of a rule. A rule's expressions run in order on
// sixteen registers of four bytes; one that does not match ends the rule.
// Numbers in attributes are big-endian, values in registers as on the wire.
type Expr struct {
	kind  string
	attrs func(*netlink.AttributeEncoder)
}

func (e Expr) encode(ae *netlink.AttributeEncoder) {
	ae.String(unix.NFTA_EXPR_NAME, e.kind)
	nfnetlink.Nest(ae, unix.NFTA_EXPR_DATA, e.attrs)
}

// Reg is a register. A value longer than four bytes takes the following
// registers too.
type Reg uint32

// RegisterLength is the length of a register in bytes.
const RegisterLength = 4

// Reg0 is the register that most expressions read and write.
const Reg0 = Reg(unix.NFT_REG32_00)

// Field is a run of bytes of a packet, from the start of a header.
type Field struct {
	Header, Offset, Length uint32
}

// NetworkHeader returns a field of the network header, by its offset and length in
// bytes.
func NetworkHeader(offset, length uint32) Field {
	return Field{unix.NFT_PAYLOAD_NETWORK_HEADER, offset, length}
}

// TransportHeader returns a field of the header behind the network header.
func TransportHeader(offset, length uint32) Field {
	return Field{unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, length}
}

// Checksum is the checksum that covers a field which is written. The zero value is
// none.
type Checksum struct {
	// Kind is NFT_PAYLOAD_CSUM_..., offset where the checksum is, from the start
	// of the field's own header.
	Kind, Offset uint32
	// Pseudo reports that the field is part of the pseudo-header of the checksum
	// of TCP, UDP and ICMPv6.
	Pseudo bool
}

// Load copies a field of the packet into a register.
func Load(f Field, to Reg) Expr {
	return Expr{"payload", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_PAYLOAD_DREG, uint32(to))
		ae.Uint32(unix.NFTA_PAYLOAD_BASE, f.Header)
		ae.Uint32(unix.NFTA_PAYLOAD_OFFSET, f.Offset)
		ae.Uint32(unix.NFTA_PAYLOAD_LEN, f.Length)
	}}
}

// Write overwrites a field of the packet from a register and updates the checksum.
func Write(f Field, from Reg, s Checksum) Expr {
	return Expr{"payload", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_PAYLOAD_SREG, uint32(from))
		ae.Uint32(unix.NFTA_PAYLOAD_BASE, f.Header)
		ae.Uint32(unix.NFTA_PAYLOAD_OFFSET, f.Offset)
		ae.Uint32(unix.NFTA_PAYLOAD_LEN, f.Length)
		ae.Uint32(unix.NFTA_PAYLOAD_CSUM_TYPE, s.Kind)
		ae.Uint32(unix.NFTA_PAYLOAD_CSUM_OFFSET, s.Offset)
		if s.Pseudo {
			ae.Uint32(unix.NFTA_PAYLOAD_CSUM_FLAGS, unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR)
		}
	}}
}

// Meta loads what the kernel knows of a packet, such as NFT_META_L4PROTO.
func Meta(key uint32, to Reg) Expr {
	return Expr{"meta", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_META_KEY, key)
		ae.Uint32(unix.NFTA_META_DREG, uint32(to))
	}}
}

// SetMeta sets one of these keys, such as NFT_META_MARK.
func SetMeta(key uint32, from Reg) Expr {
	return Expr{"meta", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_META_KEY, key)
		ae.Uint32(unix.NFTA_META_SREG, uint32(from))
	}}
}

// CT loads what conntrack knows of a packet, such as NFT_CT_STATE.
func CT(key uint32, to Reg) Expr {
	return Expr{"ct", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CT_KEY, key)
		ae.Uint32(unix.NFTA_CT_DREG, uint32(to))
	}}
}

// The directions of a connection, as CT with NFT_CT_DIRECTION loads them.
const (
	directionOriginal = 0
	DirectionReply    = 1
)

// CTOriginal loads what conntrack knows of the original direction of the packet's
// connection, such as NFT_CT_ZONE.
func CTOriginal(key uint32, to Reg) Expr {
	return Expr{"ct", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CT_KEY, key)
		ae.Uint8(unix.NFTA_CT_DIRECTION, directionOriginal)
		ae.Uint32(unix.NFTA_CT_DREG, uint32(to))
	}}
}

// SetCTOriginal sets such a key for the connection that the packet opens, and for the
// look-up of the one that it belongs to.
func SetCTOriginal(key uint32, from Reg) Expr {
	return Expr{"ct", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CT_KEY, key)
		ae.Uint8(unix.NFTA_CT_DIRECTION, directionOriginal)
		ae.Uint32(unix.NFTA_CT_SREG, uint32(from))
	}}
}

// Equal goes on if Reg0 begins with the bytes.
func Equal(value ...byte) Expr { return Compare(unix.NFT_CMP_EQ, value) }

// Compare goes on if the comparison NFT_CMP_... holds for Reg0.
func Compare(op uint32, value []byte) Expr {
	return Expr{"cmp", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CMP_SREG, uint32(Reg0))
		ae.Uint32(unix.NFTA_CMP_OP, op)
		data(ae, unix.NFTA_CMP_DATA, value)
	}}
}

// AnyOf goes on if Reg0, four bytes in the host's order, has one of the bits.
func AnyOf(bits uint32) []Expr {
	zero := make([]byte, 4)
	mask := Expr{"bitwise", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_BITWISE_SREG, uint32(Reg0))
		ae.Uint32(unix.NFTA_BITWISE_DREG, uint32(Reg0))
		ae.Uint32(unix.NFTA_BITWISE_LEN, 4)
		data(ae, unix.NFTA_BITWISE_MASK, binary.NativeEndian.AppendUint32(nil, bits))
		data(ae, unix.NFTA_BITWISE_XOR, zero)
	}}
	return []Expr{mask, Compare(unix.NFT_CMP_NEQ, zero)}
}

// In goes on if the set has the key in Reg0.
func In(set string) Expr { return lookup(set, nil) }

// NotIn goes on if the set does not have the key in Reg0.
func NotIn(set string) Expr {
	return lookup(set, func(ae *netlink.AttributeEncoder) {
		const invert = 1 // NFT_LOOKUP_F_INV
		ae.Uint32(unix.NFTA_LOOKUP_FLAGS, invert)
	})
}

// Map goes on if the map has the key in Reg0, and loads the value.
func Map(set string, to Reg) Expr {
	return lookup(set, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_LOOKUP_DREG, uint32(to))
	})
}

func lookup(set string, more func(*netlink.AttributeEncoder)) Expr {
	return Expr{"lookup", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_LOOKUP_SET, set)
		ae.Uint32(unix.NFTA_LOOKUP_SREG, uint32(Reg0))
		if more != nil {
			more(ae)
		}
	}}
}

// Update puts the key in Reg0 into a set whose elements time out, or restarts its
// timeout. It takes no transaction. If the set is full, the rule ends.
func Update(set string) Expr {
	const op = 1 // NFT_DYNSET_OP_UPDATE
	return Expr{"dynset", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_DYNSET_SET_NAME, set)
		ae.Uint32(unix.NFTA_DYNSET_OP, op)
		ae.Uint32(unix.NFTA_DYNSET_SREG_KEY, uint32(Reg0))
	}}
}

// Counter counts packets and bytes.
func Counter() Expr { return Expr{"counter", func(*netlink.AttributeEncoder) {}} }

// Reject answers with a TCP reset or an ICMP error and drops the packet.
func Reject(kind uint32, code uint8) Expr {
	return Expr{"reject", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_REJECT_TYPE, kind)
		if kind != unix.NFT_REJECT_TCP_RST {
			ae.Uint8(unix.NFTA_REJECT_ICMP_CODE, code)
		}
	}}
}

// DNAT leads the connection that the packet opens to the address of a family,
// NFPROTO_..., in a register, and ends the walk through the NAT chains of the
// hook.
func DNAT(family byte, to Reg) Expr {
	return Expr{"nat", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT)
		ae.Uint32(unix.NFTA_NAT_FAMILY, uint32(family))
		ae.Uint32(unix.NFTA_NAT_REG_ADDR_MIN, uint32(to))
	}}
}

// Masquerade gives the connection that the packet opens the address of the
// interface as its source, and a random port.
func Masquerade() Expr {
	const fullyRandom = 1 << 4 // NF_NAT_RANGE_PROTO_RANDOM_FULLY
	return Expr{"masq", func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.NFTA_MASQ_FLAGS, fullyRandom) }}
}

// Immediate loads a value.
func Immediate(value []byte, to Reg) Expr {
	return Expr{"immediate", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_IMMEDIATE_DREG, uint32(to))
		data(ae, unix.NFTA_IMMEDIATE_DATA, value)
	}}
}

// Drop ends the way of the packet.
func Drop() Expr { return verdict(0, "") } // NF_DROP

// Accept ends the chain of the hook: the packet goes on to the next one.
func Accept() Expr { return verdict(1, "") } // NF_ACCEPT

// Jump goes on in another chain.
func Jump(chain string) Expr { return verdict(unix.NFT_JUMP, chain) }

func verdict(code int32, chain string) Expr {
	return Expr{"immediate", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		nfnetlink.Nest(ae, unix.NFTA_IMMEDIATE_DATA, func(ae *netlink.AttributeEncoder) {
			nfnetlink.Nest(ae, unix.NFTA_DATA_VERDICT, func(ae *netlink.AttributeEncoder) {
				ae.Int32(unix.NFTA_VERDICT_CODE, code)
				if chain != "" {
					ae.String(unix.NFTA_VERDICT_CHAIN, chain)
				}
			})
		})
	}}
}

// data adds a value as registers and sets hold it.
func data(ae *netlink.AttributeEncoder, typ uint16, value []byte) {
	nfnetlink.Nest(ae, typ, func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.NFTA_DATA_VALUE, value) })
}
