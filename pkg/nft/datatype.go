package nft

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
)

// datatype is what the kernel needs to hold a value, and nft to show it. In a
// value of several fields each is padded to four bytes.
type datatype struct {
	kind nftables.SetDatatype
	// fields are the lengths of the fields, if there are several.
	fields []uint32
	// host reports that the value is in the host's byte order.
	host bool
	// typeof is, for a type that has no name, an nft expression of it.
	typeof typeof
}

// The types of nft by their names.
var (
	ipv4Addr    = datatype{kind: nftables.TypeIPAddr}
	ipv6Addr    = datatype{kind: nftables.TypeIP6Addr}
	inetProto   = datatype{kind: nftables.TypeInetProto}
	inetService = datatype{kind: nftables.TypeInetService}
	icmpTypes   = datatype{kind: nftables.TypeICMPType}
	icmpv6Types = datatype{kind: nftables.TypeICMP6Type}
	ifName      = datatype{kind: nftables.TypeIFName}
	mark        = datatype{kind: nftables.TypeMark, host: true}
)

// hostUint16 is an integer of two bytes in the host's byte order. nft has no name
// for it: it needs an expression.
var hostUint16 = datatype{kind: twoBytes(), host: true}

func twoBytes() nftables.SetDatatype {
	t := nftables.TypeInteger
	t.Bytes = 2
	return t
}

// join returns the type of several fields. It has an expression if all of them
// have one.
func join(types ...datatype) datatype {
	var kinds []nftables.SetDatatype
	var d datatype
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

// as returns the type with an expression of it. nft needs one for each type of a
// set if one of its types has no name.
func (d datatype) as(t typeof) datatype {
	d.typeof = t
	return d
}

// bytes is the length of a value.
func (d datatype) bytes() uint32 { return d.kind.Bytes }

// order is nft's enum byteorder.
func (d datatype) order() []byte {
	const host, big = 1, 2
	if d.host {
		return hostBytes(host)
	}
	return hostBytes(big)
}

// typeof is an nft expression and its parameters, as nft stores it with a set.
type typeof []byte

// The headers that typeofPayload knows, by nft's numbers.
const (
	typeofTransport = 11
	typeofIPv4      = 12
	typeofIPv6      = 13
)

// nft's numbers for expressions (enum expr_types).
const (
	exprPayload = 7
	exprMeta    = 9
	exprCT      = 12
	exprConcat  = 13
)

// typeofPayload is a field of a header, both by nft's numbers.
func typeofPayload(header, field uint32) typeof { return newTypeof(exprPayload, header, field) }

// typeofMeta is meta with a key, NFT_META_...
func typeofMeta(key uint32) typeof { return newTypeof(exprMeta, key) }

// typeofCTOriginal is ct original with a key, NFT_CT_...
func typeofCTOriginal(key uint32) typeof { return newTypeof(exprCT, key, directionOriginal) }

func newTypeof(expression uint32, parameters ...uint32) typeof {
	var all []byte
	for i, p := range parameters {
		all = append(all, tlv(byte(i), hostBytes(p))...)
	}
	return slices.Concat(tlv(0, hostBytes(expression)), tlv(1, all))
}

func typeofConcat(parts [][]byte) typeof {
	var all []byte
	for i, p := range parts {
		all = append(all, tlv(byte(i), p)...)
	}
	return slices.Concat(tlv(0, hostBytes(exprConcat)), tlv(1, all))
}

func hostBytes(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
