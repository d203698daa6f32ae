package nft

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
)

// Datatype is what the kernel needs to hold a value, and nft to show it. In a
// value of several fields each is padded to four bytes.
type Datatype struct {
	kind nftables.SetDatatype
	// fields are the lengths of the fields, if there are several.
	fields []uint32
	// host reports that the value is in the host's byte order.
	host bool
	// typeof is, for a type that has no name, an nft expression of it.
	typeof Typeof
}

// The types of nft by their names.
var (
	IPv4Addr    = Datatype{kind: nftables.TypeIPAddr}
	IPv6Addr    = Datatype{kind: nftables.TypeIP6Addr}
	InetProto   = Datatype{kind: nftables.TypeInetProto}
	InetService = Datatype{kind: nftables.TypeInetService}
	ICMPType    = Datatype{kind: nftables.TypeICMPType}
	ICMPv6Type  = Datatype{kind: nftables.TypeICMP6Type}
	IfName      = Datatype{kind: nftables.TypeIFName}
	Mark        = Datatype{kind: nftables.TypeMark, host: true}
)

// HostUint16 is an integer of two bytes in the host's byte order. nft has no name
// for it: it needs an expression.
var HostUint16 = Datatype{kind: twoBytes(), host: true}

func twoBytes() nftables.SetDatatype {
	t := nftables.TypeInteger
	t.Bytes = 2
	return t
}

// Join returns the type of several fields. It has an expression if all of them
// have one.
func Join(types ...Datatype) Datatype {
	var kinds []nftables.SetDatatype
	var d Datatype
	var expressions [][]byte
	for _, t := range types {
		kinds = append(kinds, t.kind)
		d.fields = append(d.fields, t.kind.Bytes)
		if t.typeof != nil {
			expressions = append(expressions, t.typeof)
		}
	}
	d.kind = nftables.MustConcatSetType(kinds...)
	if len(expressions) == len(types) {
		d.typeof = typeofConcat(expressions)
	}
	return d
}

// As returns the type with an expression of it. nft needs one for each type of a
// set if one of its types has no name.
func (d Datatype) As(t Typeof) Datatype {
	d.typeof = t
	return d
}

// bytes is the length of a value.
func (d Datatype) bytes() uint32 { return d.kind.Bytes }

// order is nft's enum byteorder.
func (d Datatype) order() []byte {
	const host, big = 1, 2
	if d.host {
		return hostBytes(host)
	}
	return hostBytes(big)
}

// Typeof is an nft expression and its parameters, as nft stores it with a set.
type Typeof []byte

// The headers that TypeofPayload knows, by nft's numbers.
const (
	TypeofTransport = 11
	TypeofIPv4      = 12
	TypeofIPv6      = 13
)

// nft's numbers for expressions (enum expr_types).
const (
	exprPayload = 7
	exprMeta    = 9
	exprCT      = 12
	exprConcat  = 13
)

// TypeofPayload is a field of a header, both by nft's numbers.
func TypeofPayload(header, field uint32) Typeof { return newTypeof(exprPayload, header, field) }

// TypeofMeta is meta with a key, NFT_META_...
func TypeofMeta(key uint32) Typeof { return newTypeof(exprMeta, key) }

// TypeofCTOriginal is ct original with a key, NFT_CT_...
func TypeofCTOriginal(key uint32) Typeof { return newTypeof(exprCT, key, directionOriginal) }

func newTypeof(expression uint32, parameters ...uint32) Typeof {
	var all []byte
	for i, p := range parameters {
		all = append(all, tlv(byte(i), hostBytes(p))...)
	}
	return slices.Concat(tlv(0, hostBytes(expression)), tlv(1, all))
}

func typeofConcat(parts [][]byte) Typeof {
	var all []byte
	for i, p := range parts {
		all = append(all, tlv(byte(i), p)...)
	}
	return slices.Concat(tlv(0, hostBytes(exprConcat)), tlv(1, all))
}

func hostBytes(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
