package nft

import (
	"encoding/binary"

	"kube-vrrp-vip/pkg/internal/nfnetlink"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// expr is one expression of a rule. A rule's expressions run in order on
// sixteen registers of four bytes; one that does not match ends the rule.
// Numbers in attributes are big-endian, values in registers as on the wire.
type expr struct {
	kind  string
	attrs func(*netlink.AttributeEncoder)
}

func (e expr) encode(ae *netlink.AttributeEncoder) {
	ae.String(unix.NFTA_EXPR_NAME, e.kind)
	nfnetlink.Nest(ae, unix.NFTA_EXPR_DATA, e.attrs)
}

// reg is a register. A value longer than four bytes takes the following
// registers too.
type reg uint32

// registerLength is in bytes.
const registerLength = 4

// reg0 is the register that most expressions read and write.
const reg0 = reg(unix.NFT_REG32_00)

// field is a run of bytes of a packet, from the start of a header.
type field struct {
	header, offset, length uint32
}

// networkHeader is a field of the network header, transportHeader one of the
// header behind it.
func networkHeader(offset, length uint32) field {
	return field{unix.NFT_PAYLOAD_NETWORK_HEADER, offset, length}
}

func transportHeader(offset, length uint32) field {
	return field{unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, length}
}

// sum is the checksum that covers a field which is written.
type sum struct {
	// kind is NFT_PAYLOAD_CSUM_..., offset where the checksum is, from the start
	// of the field's own header.
	kind, offset uint32
	// pseudo reports that the field is part of the pseudo-header of the checksum
	// of TCP, UDP and ICMPv6.
	pseudo bool
}

// load copies a field of the packet into a register.
func load(f field, to reg) expr {
	return expr{"payload", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_PAYLOAD_DREG, uint32(to))
		ae.Uint32(unix.NFTA_PAYLOAD_BASE, f.header)
		ae.Uint32(unix.NFTA_PAYLOAD_OFFSET, f.offset)
		ae.Uint32(unix.NFTA_PAYLOAD_LEN, f.length)
	}}
}

// write overwrites a field of the packet from a register and puts the
// checksum right.
func write(f field, from reg, s sum) expr {
	return expr{"payload", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_PAYLOAD_SREG, uint32(from))
		ae.Uint32(unix.NFTA_PAYLOAD_BASE, f.header)
		ae.Uint32(unix.NFTA_PAYLOAD_OFFSET, f.offset)
		ae.Uint32(unix.NFTA_PAYLOAD_LEN, f.length)
		ae.Uint32(unix.NFTA_PAYLOAD_CSUM_TYPE, s.kind)
		ae.Uint32(unix.NFTA_PAYLOAD_CSUM_OFFSET, s.offset)
		if s.pseudo {
			ae.Uint32(unix.NFTA_PAYLOAD_CSUM_FLAGS, unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR)
		}
	}}
}

// meta loads what the kernel knows of a packet, such as NFT_META_L4PROTO.
func meta(key uint32, to reg) expr {
	return expr{"meta", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_META_KEY, key)
		ae.Uint32(unix.NFTA_META_DREG, uint32(to))
	}}
}

// setMeta sets it, such as NFT_META_MARK.
func setMeta(key uint32, from reg) expr {
	return expr{"meta", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_META_KEY, key)
		ae.Uint32(unix.NFTA_META_SREG, uint32(from))
	}}
}

// ct loads what conntrack knows of a packet, such as NFT_CT_STATE.
func ct(key uint32, to reg) expr {
	return expr{"ct", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CT_KEY, key)
		ae.Uint32(unix.NFTA_CT_DREG, uint32(to))
	}}
}

// directionOriginal and directionReply are conntrack's two directions of a
// connection.
const (
	directionOriginal = 0
	directionReply    = 1
)

// ctOriginal loads what conntrack knows of the original direction of the packet's
// connection, such as NFT_CT_ZONE.
func ctOriginal(key uint32, to reg) expr {
	return expr{"ct", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CT_KEY, key)
		ae.Uint8(unix.NFTA_CT_DIRECTION, directionOriginal)
		ae.Uint32(unix.NFTA_CT_DREG, uint32(to))
	}}
}

// setCTOriginal sets it for the connection that the packet opens, and for the
// look-up of the one that it belongs to.
func setCTOriginal(key uint32, from reg) expr {
	return expr{"ct", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CT_KEY, key)
		ae.Uint8(unix.NFTA_CT_DIRECTION, directionOriginal)
		ae.Uint32(unix.NFTA_CT_SREG, uint32(from))
	}}
}

// equal goes on if reg0 begins with the bytes.
func equal(value ...byte) expr { return compare(unix.NFT_CMP_EQ, value) }

// compare goes on if the comparison NFT_CMP_... holds for reg0.
func compare(op uint32, value []byte) expr {
	return expr{"cmp", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CMP_SREG, uint32(reg0))
		ae.Uint32(unix.NFTA_CMP_OP, op)
		data(ae, unix.NFTA_CMP_DATA, value)
	}}
}

// anyOf goes on if reg0, four bytes in the host's order, has one of the bits.
func anyOf(bits uint32) []expr {
	zero := make([]byte, 4)
	mask := expr{"bitwise", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_BITWISE_SREG, uint32(reg0))
		ae.Uint32(unix.NFTA_BITWISE_DREG, uint32(reg0))
		ae.Uint32(unix.NFTA_BITWISE_LEN, 4)
		data(ae, unix.NFTA_BITWISE_MASK, binary.NativeEndian.AppendUint32(nil, bits))
		data(ae, unix.NFTA_BITWISE_XOR, zero)
	}}
	return []expr{mask, compare(unix.NFT_CMP_NEQ, zero)}
}

// in goes on if the set has the key in reg0.
func in(set string) expr { return lookup(set, nil) }

// notIn goes on if the set does not have the key in reg0.
func notIn(set string) expr {
	return lookup(set, func(ae *netlink.AttributeEncoder) {
		const invert = 1 // NFT_LOOKUP_F_INV
		ae.Uint32(unix.NFTA_LOOKUP_FLAGS, invert)
	})
}

// mapped goes on if the map has the key in reg0, and loads the value.
func mapped(set string, to reg) expr {
	return lookup(set, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_LOOKUP_DREG, uint32(to))
	})
}

func lookup(set string, more func(*netlink.AttributeEncoder)) expr {
	return expr{"lookup", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_LOOKUP_SET, set)
		ae.Uint32(unix.NFTA_LOOKUP_SREG, uint32(reg0))
		if more != nil {
			more(ae)
		}
	}}
}

// update puts the key in reg0 into a set whose elements time out, or has its
// time begin anew. It takes no transaction. If the set is full, the rule ends.
func update(set string) expr {
	const op = 1 // NFT_DYNSET_OP_UPDATE
	return expr{"dynset", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_DYNSET_SET_NAME, set)
		ae.Uint32(unix.NFTA_DYNSET_OP, op)
		ae.Uint32(unix.NFTA_DYNSET_SREG_KEY, uint32(reg0))
	}}
}

// counter counts packets and bytes.
func counter() expr { return expr{"counter", func(*netlink.AttributeEncoder) {}} }

// reject answers with a TCP reset or an ICMP error and drops the packet.
func reject(kind uint32, code uint8) expr {
	return expr{"reject", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_REJECT_TYPE, kind)
		if kind != unix.NFT_REJECT_TCP_RST {
			ae.Uint8(unix.NFTA_REJECT_ICMP_CODE, code)
		}
	}}
}

// dnat leads the connection that the packet opens to the address of a family,
// NFPROTO_..., in a register, and ends the walk through the NAT chains of the
// hook.
func dnat(family byte, to reg) expr {
	return expr{"nat", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT)
		ae.Uint32(unix.NFTA_NAT_FAMILY, uint32(family))
		ae.Uint32(unix.NFTA_NAT_REG_ADDR_MIN, uint32(to))
	}}
}

// masquerade gives the connection that the packet opens the address of the
// interface as its source, and a random port.
func masquerade() expr {
	const fullyRandom = 1 << 4 // NF_NAT_RANGE_PROTO_RANDOM_FULLY
	return expr{"masq", func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.NFTA_MASQ_FLAGS, fullyRandom) }}
}

// immediate loads a value.
func immediate(value []byte, to reg) expr {
	return expr{"immediate", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_IMMEDIATE_DREG, uint32(to))
		data(ae, unix.NFTA_IMMEDIATE_DATA, value)
	}}
}

// drop is the end of the packet, accept that of the chain of the hook; jump goes
// on in another chain.
func drop() expr             { return verdict(0, "") } // NF_DROP
func accept() expr           { return verdict(1, "") } // NF_ACCEPT
func jump(chain string) expr { return verdict(unix.NFT_JUMP, chain) }

func verdict(code int32, chain string) expr {
	return expr{"immediate", func(ae *netlink.AttributeEncoder) {
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
