package datapath

import (
	"slices"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/nft"
)

// ipFamily is an IP version: where its packets have what is read and written,
// which checksums cover that, and how its sets and chains are called.
type ipFamily struct {
	number byte   // NFPROTO_...
	suffix string // Of the names.

	address              nft.Datatype
	header               uint32 // Of typeofPayload, as are the two addresses.
	saddrType, daddrType uint32

	saddr, daddr nft.Field
	// addressSum covers an address of a packet, errorSum one of an ICMP error.
	addressSum, errorSum nft.Checksum

	icmp            byte // IPPROTO_...
	icmpType        nft.Datatype
	icmpErrors      []byte // Those that quote the packet they are about.
	portUnreachable byte   // The code.

	// The packet that an ICMP error quotes. Its ports are where they are only
	// if plainHeader goes on.
	plainHeader              []nft.Expr
	quotedProtocol           nft.Field
	quotedSaddr, quotedDaddr nft.Field
	quotedSport, quotedDport nft.Field
	// quotedSum covers an address in it.
	quotedSum nft.Checksum
}

// ipv4 is RFC 791 and RFC 792. Of the ICMP types, 3 is destination unreachable,
// 11 time exceeded, 12 parameter problem. A quoted header of length 5 has no
// options. The ICMP checksum covers the quoted address and the quoted checksum,
// whose changes cancel out.
var ipv4 = ipFamily{
	number: unix.NFPROTO_IPV4, suffix: "4",
	address: nft.IPv4Addr, header: nft.TypeofIPv4, saddrType: 11, daddrType: 12,
	saddr:      nft.NetworkHeader(12, 4),
	daddr:      nft.NetworkHeader(16, 4),
	addressSum: nft.Checksum{Kind: unix.NFT_PAYLOAD_CSUM_INET, Offset: 10, Pseudo: true},
	errorSum:   nft.Checksum{Kind: unix.NFT_PAYLOAD_CSUM_INET, Offset: 10},

	icmp: unix.IPPROTO_ICMP, icmpType: nft.ICMPType, icmpErrors: []byte{3, 11, 12}, portUnreachable: 3,
	plainHeader:    []nft.Expr{nft.Load(nft.TransportHeader(quoted, 1), nft.Reg0), nft.Equal(4<<4 | 5)},
	quotedProtocol: nft.TransportHeader(quoted+9, 1),
	quotedSaddr:    nft.TransportHeader(quoted+12, 4),
	quotedDaddr:    nft.TransportHeader(quoted+16, 4),
	quotedSport:    nft.TransportHeader(quoted+20, 2),
	quotedDport:    nft.TransportHeader(quoted+22, 2),
	quotedSum:      nft.Checksum{Kind: unix.NFT_PAYLOAD_CSUM_INET, Offset: quoted + 10},
}

// ipv6 is RFC 8200 and RFC 4443, in which the ICMPv6 types 1 to 4 are destination
// unreachable, packet too big, time exceeded and parameter problem. No checksum
// is in its header. That of ICMPv6 covers the addresses of both headers.
var ipv6 = ipFamily{
	number: unix.NFPROTO_IPV6, suffix: "6",
	address: nft.IPv6Addr, header: nft.TypeofIPv6, saddrType: 8, daddrType: 9,
	saddr:      nft.NetworkHeader(8, 16),
	daddr:      nft.NetworkHeader(24, 16),
	addressSum: nft.Checksum{Pseudo: true},
	errorSum:   nft.Checksum{Pseudo: true},

	icmp: unix.IPPROTO_ICMPV6, icmpType: nft.ICMPv6Type, icmpErrors: []byte{1, 2, 3, 4}, portUnreachable: 4,
	quotedProtocol: nft.TransportHeader(quoted+6, 1),
	quotedSaddr:    nft.TransportHeader(quoted+8, 16),
	quotedDaddr:    nft.TransportHeader(quoted+24, 16),
	quotedSport:    nft.TransportHeader(quoted+40, 2),
	quotedDport:    nft.TransportHeader(quoted+42, 2),
	quotedSum:      icmpSum,
}

// quoted is where the packet begins that an ICMP error quotes.
const quoted = 8

// Fields of the headers after IP's.
var (
	sport       = nft.TransportHeader(0, 2)
	dport       = nft.TransportHeader(2, 2)
	udpChecksum = nft.TransportHeader(6, 2)
	icmpType    = nft.TransportHeader(0, 1)
)

// icmpSum is the checksum of ICMP and ICMPv6. It covers what is quoted.
var icmpSum = nft.Checksum{Kind: unix.NFT_PAYLOAD_CSUM_INET, Offset: 2}

// transport is how a port is written in a packet of a protocol.
type transport struct {
	name    string
	matches []nft.Expr
	sum     nft.Checksum // Covers the ports.
	// portStays reports that the kernel cannot write them.
	portStays bool
}

// transports are RFC 9293, RFC 768 and RFC 9260. A UDP checksum of zero is none,
// and must stay so: the kernel would mend it as any other. The SCTP checksum is
// no sum, and the kernel computes all of it again.
var transports = []transport{
	{name: "TCP", matches: []nft.Expr{nft.Meta(unix.NFT_META_L4PROTO, nft.Reg0), nft.Equal(unix.IPPROTO_TCP)}, sum: nft.Checksum{Kind: unix.NFT_PAYLOAD_CSUM_INET, Offset: 16}},
	{name: "UDP", matches: []nft.Expr{
		nft.Meta(unix.NFT_META_L4PROTO, nft.Reg0), nft.Equal(unix.IPPROTO_UDP),
		nft.Load(udpChecksum, nft.Reg0), nft.Compare(unix.NFT_CMP_NEQ, []byte{0, 0}),
	}, sum: nft.Checksum{Kind: unix.NFT_PAYLOAD_CSUM_INET, Offset: 6}},
	{name: "UDP without checksum", matches: []nft.Expr{
		nft.Meta(unix.NFT_META_L4PROTO, nft.Reg0), nft.Equal(unix.IPPROTO_UDP),
		nft.Load(udpChecksum, nft.Reg0), nft.Equal(0, 0),
	}},
	{name: "SCTP", matches: matchSCTP, sum: sctpSum},
}

// olderTransports are those of kernels that do not compute the checksum of SCTP.
var olderTransports = append(slices.Clone(transports[:3]), transport{name: "SCTP", matches: matchSCTP, portStays: true})

var matchSCTP = []nft.Expr{nft.Meta(unix.NFT_META_L4PROTO, nft.Reg0), nft.Equal(unix.IPPROTO_SCTP)}

// sctpSum is of kind NFT_PAYLOAD_CSUM_SCTP of linux/netfilter/nf_tables.h.
var sctpSum = nft.Checksum{Kind: 2, Offset: 8}

// only begins each rule that reads fields of an IP header; nft needs it to name
// them.
func (f ipFamily) only() []nft.Expr {
	return []nft.Expr{nft.Meta(unix.NFT_META_NFPROTO, nft.Reg0), nft.Equal(f.number)}
}

// registers is how many an address takes.
func (f ipFamily) registers() nft.Reg { return nft.Reg(f.daddr.Length / nft.RegisterLength) }

// packetKey loads what the ports of VIPs are looked up by, of a packet: the
// address, the protocol, the port.
func (f ipFamily) packetKey() []nft.Expr {
	next := nft.Reg0 + f.registers()
	return []nft.Expr{nft.Load(f.daddr, nft.Reg0), nft.Meta(unix.NFT_META_L4PROTO, next), nft.Load(dport, next+1)}
}

// quotedKey loads the same of the packet that an ICMP error quotes, which was
// sent from the VIP.
func (f ipFamily) quotedKey() []nft.Expr {
	next := nft.Reg0 + f.registers()
	return []nft.Expr{nft.Load(f.quotedSaddr, nft.Reg0), nft.Load(f.quotedProtocol, next), nft.Load(f.quotedSport, next+1)}
}

// isError goes on if the packet is an ICMP error.
func (f ipFamily) isError() []nft.Expr {
	return []nft.Expr{
		nft.Meta(unix.NFT_META_L4PROTO, nft.Reg0), nft.Equal(f.icmp),
		nft.Load(icmpType, nft.Reg0), nft.In(f.named(setErrors)),
	}
}

// named is the family's set or chain of a name.
func (f ipFamily) named(name string) string { return name + f.suffix }
