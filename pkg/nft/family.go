package nft

import (
	"slices"

	"golang.org/x/sys/unix"
)

// ipFamily is an IP version: where its packets have what is read and written,
// which checksums cover that, and how its sets and chains are called.
type ipFamily struct {
	number byte   // NFPROTO_...
	suffix string // Of the names.

	address              datatype
	header               uint32 // Of typeofPayload, as are the two addresses.
	saddrType, daddrType uint32

	saddr, daddr field
	// addressSum covers an address of a packet, errorSum one of an ICMP error.
	addressSum, errorSum sum

	icmp            byte // IPPROTO_...
	icmpType        datatype
	icmpErrors      []byte // Those that quote the packet they are about.
	portUnreachable byte   // The code.

	// The packet that an ICMP error quotes. Its ports are where they are only
	// if plainHeader goes on.
	plainHeader              []expr
	quotedProtocol           field
	quotedSaddr, quotedDaddr field
	quotedSport, quotedDport field
	// quotedSum covers an address in it.
	quotedSum sum
}

// ipv4 is RFC 791 and RFC 792. Of the ICMP types, 3 is destination unreachable,
// 11 time exceeded, 12 parameter problem. A quoted header of length 5 has no
// options. The ICMP checksum covers the quoted address and the quoted checksum,
// whose changes cancel out.
var ipv4 = ipFamily{
	number: unix.NFPROTO_IPV4, suffix: "4",
	address: ipv4Addr, header: typeofIPv4, saddrType: 11, daddrType: 12,
	saddr:      networkHeader(12, 4),
	daddr:      networkHeader(16, 4),
	addressSum: sum{kind: unix.NFT_PAYLOAD_CSUM_INET, offset: 10, pseudo: true},
	errorSum:   sum{kind: unix.NFT_PAYLOAD_CSUM_INET, offset: 10},

	icmp: unix.IPPROTO_ICMP, icmpType: icmpTypes, icmpErrors: []byte{3, 11, 12}, portUnreachable: 3,
	plainHeader:    []expr{load(transportHeader(quoted, 1), reg0), equal(4<<4 | 5)},
	quotedProtocol: transportHeader(quoted+9, 1),
	quotedSaddr:    transportHeader(quoted+12, 4),
	quotedDaddr:    transportHeader(quoted+16, 4),
	quotedSport:    transportHeader(quoted+20, 2),
	quotedDport:    transportHeader(quoted+22, 2),
	quotedSum:      sum{kind: unix.NFT_PAYLOAD_CSUM_INET, offset: quoted + 10},
}

// ipv6 is RFC 8200 and RFC 4443, in which the ICMPv6 types 1 to 4 are destination
// unreachable, packet too big, time exceeded and parameter problem. No checksum
// is in its header. That of ICMPv6 covers the addresses of both headers.
var ipv6 = ipFamily{
	number: unix.NFPROTO_IPV6, suffix: "6",
	address: ipv6Addr, header: typeofIPv6, saddrType: 8, daddrType: 9,
	saddr:      networkHeader(8, 16),
	daddr:      networkHeader(24, 16),
	addressSum: sum{pseudo: true},
	errorSum:   sum{pseudo: true},

	icmp: unix.IPPROTO_ICMPV6, icmpType: icmpv6Types, icmpErrors: []byte{1, 2, 3, 4}, portUnreachable: 4,
	quotedProtocol: transportHeader(quoted+6, 1),
	quotedSaddr:    transportHeader(quoted+8, 16),
	quotedDaddr:    transportHeader(quoted+24, 16),
	quotedSport:    transportHeader(quoted+40, 2),
	quotedDport:    transportHeader(quoted+42, 2),
	quotedSum:      icmpSum,
}

// quoted is where the packet begins that an ICMP error quotes.
const quoted = 8

// Fields of the headers after IP's.
var (
	sport       = transportHeader(0, 2)
	dport       = transportHeader(2, 2)
	udpChecksum = transportHeader(6, 2)
	icmpType    = transportHeader(0, 1)
)

// icmpSum is the checksum of ICMP and ICMPv6. It covers what is quoted.
var icmpSum = sum{kind: unix.NFT_PAYLOAD_CSUM_INET, offset: 2}

// transport is how a port is written in a packet of a protocol.
type transport struct {
	name    string
	matches []expr
	sum     sum // Covers the ports.
	// portStays tells that the kernel cannot write them.
	portStays bool
}

// transports are RFC 9293, RFC 768 and RFC 9260. A UDP checksum of zero is none,
// and must stay so: the kernel would mend it as any other. The SCTP checksum is
// no sum, and the kernel computes all of it again.
var transports = []transport{
	{name: "TCP", matches: []expr{meta(unix.NFT_META_L4PROTO, reg0), equal(unix.IPPROTO_TCP)}, sum: sum{kind: unix.NFT_PAYLOAD_CSUM_INET, offset: 16}},
	{name: "UDP", matches: []expr{
		meta(unix.NFT_META_L4PROTO, reg0), equal(unix.IPPROTO_UDP),
		load(udpChecksum, reg0), compare(unix.NFT_CMP_NEQ, []byte{0, 0}),
	}, sum: sum{kind: unix.NFT_PAYLOAD_CSUM_INET, offset: 6}},
	{name: "UDP without checksum", matches: []expr{
		meta(unix.NFT_META_L4PROTO, reg0), equal(unix.IPPROTO_UDP),
		load(udpChecksum, reg0), equal(0, 0),
	}},
	{name: "SCTP", matches: matchSCTP, sum: sctpSum},
}

// olderTransports are those of kernels that do not compute the checksum of SCTP.
var olderTransports = append(slices.Clone(transports[:3]), transport{name: "SCTP", matches: matchSCTP, portStays: true})

var matchSCTP = []expr{meta(unix.NFT_META_L4PROTO, reg0), equal(unix.IPPROTO_SCTP)}

// sctpSum is of kind NFT_PAYLOAD_CSUM_SCTP of linux/netfilter/nf_tables.h.
var sctpSum = sum{kind: 2, offset: 8}

// only begins each rule that reads fields of an IP header; nft needs it to name
// them.
func (f ipFamily) only() []expr {
	return []expr{meta(unix.NFT_META_NFPROTO, reg0), equal(f.number)}
}

// registers is how many an address takes.
func (f ipFamily) registers() reg { return reg(f.daddr.length / registerLength) }

// packetKey loads what the ports of VIPs are looked up by, of a packet: the
// address, the protocol, the port.
func (f ipFamily) packetKey() []expr {
	next := reg0 + f.registers()
	return []expr{load(f.daddr, reg0), meta(unix.NFT_META_L4PROTO, next), load(dport, next+1)}
}

// quotedKey loads the same of the packet that an ICMP error quotes, which was
// sent from the VIP.
func (f ipFamily) quotedKey() []expr {
	next := reg0 + f.registers()
	return []expr{load(f.quotedSaddr, reg0), load(f.quotedProtocol, next), load(f.quotedSport, next+1)}
}

// isError goes on if the packet is an ICMP error.
func (f ipFamily) isError() []expr {
	return []expr{
		meta(unix.NFT_META_L4PROTO, reg0), equal(f.icmp),
		load(icmpType, reg0), in(f.named(setErrors)),
	}
}

// named is the family's set or chain of a name.
func (f ipFamily) named(name string) string { return name + f.suffix }
