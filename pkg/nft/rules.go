package nft

import (
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// The sets and maps of the datapath.
const (
	setVIP       = "vip4"        // Every IPv4 VIP that belongs to Services.
	setVIP6      = "vip6"        // Every IPv6 one.
	mapTarget    = "svc4"        // VIP, protocol, port: ClusterIP.
	setNodePort  = "nodeport4"   // VIP, protocol, NodePort of its own Services.
	setNodePort6 = "nodeport6"   // The same with IPv6.
	mapZone      = "zone4"       // VIP: zone.
	mapBack      = "back4"       // Zone: VIP.
	setErrors    = "icmp_error4" // ICMP types that quote a packet.
)

// The chains that are jumped to.
const (
	chainRewrite  = "rewrite"
	chainRestore  = "restore"
	chainGuardNAT = "guard_nat"
)

// priorityRewrite is after defragmentation (-400), and before raw (-300), where
// some sites exempt packets from conntrack, and conntrack (-200) itself.
const priorityRewrite = -301

// priorityRestore is after conntrack's NAT (100) has put the ClusterIP back.
const priorityRestore = 200

// priorityGuardNAT is before dstnat (-100), where kube-proxy's NodePorts, the
// hostPorts of Pods and Docker's published ports are translated.
const priorityGuardNAT = -150

// priorityGuard is before filter (0), where a firewall might drop what is to
// be refused.
const priorityGuard = -10

var (
	ipv4Address  = datatype{SetDatatype: nftables.TypeIPAddr}
	ipv6Address  = datatype{SetDatatype: nftables.TypeIP6Addr}
	addressPort  = joined(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)
	address6Port = joined(nftables.TypeIP6Addr, nftables.TypeInetProto, nftables.TypeInetService)
	zoneID       = datatype{SetDatatype: uint16Type(), host: true, typeof: typeof(typeofCT, unix.NFT_CT_ZONE, directionOriginal)}
)

func uint16Type() nftables.SetDatatype {
	t := nftables.TypeInteger
	t.Bytes = 2
	return t
}

// joined is a type of several fields.
func joined(types ...nftables.SetDatatype) datatype {
	return datatype{SetDatatype: nftables.MustConcatSetType(types...)}
}

// nft's numbers for expressions (enum expr_types), which it stores with a set.
const (
	typeofPayload = 7
	typeofCT      = 12

	typeofIP      = 12 // Of typeofPayload: the IPv4 header, and its fields.
	typeofIPSaddr = 11
	typeofIPDaddr = 12
)

var datapathSpec = &spec{
	family: nftables.TableFamilyINet,
	name:   tableName,
	sets: []set{
		{name: setVIP, key: ipv4Address},
		{name: setVIP6, key: ipv6Address},
		{name: mapTarget, key: addressPort, value: ipv4Address},
		{name: setNodePort, key: addressPort},
		{name: setNodePort6, key: address6Port},
		{
			name:  mapZone,
			key:   datatype{SetDatatype: nftables.TypeIPAddr, typeof: typeof(typeofPayload, typeofIP, typeofIPDaddr)},
			value: zoneID,
		},
		{
			name:  mapBack,
			key:   zoneID,
			value: datatype{SetDatatype: nftables.TypeIPAddr, typeof: typeof(typeofPayload, typeofIP, typeofIPSaddr)},
		},
		{name: setErrors, key: datatype{SetDatatype: nftables.TypeICMPType}},
	},
	chains: []chain{
		{name: chainRewrite, rules: []rule{rewritePacket, rewriteError}},
		{name: chainRestore, rules: []rule{restoreError, restorePacket}},
		{
			name: chainGuardNAT,
			rules: []rule{
				ownNodePort(ipv4),
				keep(ipv4, "no other NodePort, no hostPort: TCP", unix.IPPROTO_TCP),
				keep(ipv4, "no other NodePort, no hostPort: UDP", unix.IPPROTO_UDP),
				ownNodePort(ipv6),
				keep(ipv6, "no other NodePort, no hostPort: TCP", unix.IPPROTO_TCP),
				keep(ipv6, "no other NodePort, no hostPort: UDP", unix.IPPROTO_UDP),
			},
		},
		{
			name:  "prerouting",
			hook:  &hook{"filter", unix.NF_INET_PRE_ROUTING, priorityRewrite},
			rules: []rule{toVIP},
		},
		{
			// Of type route: the packet is routed again after the rewrite.
			name:  "output",
			hook:  &hook{"route", unix.NF_INET_LOCAL_OUT, priorityRewrite},
			rules: []rule{toVIP},
		},
		{
			name:  "postrouting",
			hook:  &hook{"filter", unix.NF_INET_POST_ROUTING, priorityRestore},
			rules: []rule{reply},
		},
		{
			name:  "input",
			hook:  &hook{"filter", unix.NF_INET_LOCAL_IN, priorityRestore},
			rules: []rule{reply},
		},
		{
			name:  "guard_prerouting",
			hook:  &hook{"nat", unix.NF_INET_PRE_ROUTING, priorityGuardNAT},
			rules: []rule{newToVIP(ipv4), newToVIP(ipv6)},
		},
		{
			name:  "guard_output",
			hook:  &hook{"nat", unix.NF_INET_LOCAL_OUT, priorityGuardNAT},
			rules: []rule{newToVIP(ipv4), newToVIP(ipv6)},
		},
		{
			name: "guard",
			hook: &hook{"filter", unix.NF_INET_LOCAL_IN, priorityGuard},
			rules: []rule{
				refuse(ipv4, "a TCP port without Service", unix.IPPROTO_TCP, reject(unix.NFT_REJECT_TCP_RST, 0)),
				refuse(ipv4, "a UDP port without Service", unix.IPPROTO_UDP, reject(unix.NFT_REJECT_ICMP_UNREACH, icmpPortUnreachable)),
				refuse(ipv6, "a TCP port without Service", unix.IPPROTO_TCP, reject(unix.NFT_REJECT_TCP_RST, 0)),
				refuse(ipv6, "a UDP port without Service", unix.IPPROTO_UDP, reject(unix.NFT_REJECT_ICMP_UNREACH, icmp6PortUnreachable)),
			},
		},
	},
}

// icmpErrors are the ICMP types that quote the packet they are about: 3
// destination unreachable, 11 time exceeded, 12 parameter problem (RFC 792).
var icmpErrors = []byte{3, 11, 12}

const (
	icmpPortUnreachable  = 3 // RFC 792
	icmp6PortUnreachable = 4 // RFC 4443 section 3.1
)

// ipFamily is an IP version, and what the guard has for it.
type ipFamily struct {
	number          byte  // NFPROTO_...
	daddr           field // In the IP header.
	vips, nodePorts string
}

var (
	ipv4 = ipFamily{unix.NFPROTO_IPV4, daddr, setVIP, setNodePort}
	ipv6 = ipFamily{unix.NFPROTO_IPV6, daddr6, setVIP6, setNodePort6}
)

// only begins each rule that reads fields of an IP header; nft needs it to name
// them.
func (f ipFamily) only() []expr {
	return []expr{meta(unix.NFT_META_NFPROTO, reg0), equal(f.number)}
}

// daddr6 is in the IPv6 header (RFC 8200 section 3).
var daddr6 = field{unix.NFT_PAYLOAD_NETWORK_HEADER, 24, 16}

// Fields of the IPv4 header (RFC 791) and of the headers after it. In an ICMP
// error the quoted packet begins at byte 8; its source port is where it is
// only if its own header has no options, so length 5 is asked for.
var (
	saddr = field{unix.NFT_PAYLOAD_NETWORK_HEADER, 12, 4}
	daddr = field{unix.NFT_PAYLOAD_NETWORK_HEADER, 16, 4}
	dport = field{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2}

	icmpType       = field{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1}
	quotedVersion  = field{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 8 + 0, 1}
	quotedProtocol = field{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 8 + 9, 1}
	quotedSaddr    = field{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 8 + 12, 4}
	quotedDaddr    = field{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 8 + 16, 4}
	quotedSport    = field{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 8 + 20, 2}
)

const versionAndLength = 4<<4 | 5

// The checksums over these addresses: the IPv4 header's, in a packet of TCP or
// UDP also that of the payload, and the quoted header's. The ICMP checksum
// covers the quoted address and the quoted checksum, whose changes cancel out.
var (
	ipSum     = sum{offset: 10}
	packetSum = sum{offset: 10, pseudo: true}
	quotedSum = sum{offset: 8 + 10}
)

// icmpError goes on if the packet is an ICMP error.
var icmpError = slices.Concat(ipv4.only(), []expr{
	meta(unix.NFT_META_L4PROTO, reg0), equal(unix.IPPROTO_ICMP),
	load(icmpType, reg0), in(setErrors),
})

// toVIP is
//
//	ip daddr @vip4 jump rewrite
var toVIP = jumpForVIP(ipv4, "to a VIP", chainRewrite)

// newToVIP returns, in a NAT chain, which sees only what opens a connection,
//
//	ip daddr @vip4 jump guard_nat
func newToVIP(f ipFamily) rule {
	return jumpForVIP(f, "a new connection to a VIP", chainGuardNAT)
}

func jumpForVIP(f ipFamily, comment, chain string) rule {
	return rule{comment, slices.Concat(f.only(), []expr{load(f.daddr, reg0), in(f.vips), jump(chain)})}
}

// rewritePacket is
//
//	ct original zone set ip daddr map @zone4
//	ip daddr set ip daddr . meta l4proto . th dport map @svc4 counter return
//
// but does both look-ups first, so that a packet to another port keeps the
// default zone.
var rewritePacket = rule{
	comment: "VIP:port to the ClusterIP",
	exprs: slices.Concat(ipv4.only(), []expr{
		load(daddr, reg0), meta(unix.NFT_META_L4PROTO, reg1), load(dport, reg2), mapped(mapTarget, reg0, reg0),
		load(daddr, reg4), mapped(mapZone, reg4, reg4),
		setOriginalZone(reg4),
		write(daddr, reg0, packetSum),
		counter(),
		ret(),
	}),
}

// rewriteError begins with
//
//	icmp type @icmp_error4
//
// and goes on as rewritePacket, but with the quoted packet, which is a reply
// that was sent from VIP:port. This is how path MTU discovery reaches the pod.
var rewriteError = rule{
	comment: "ICMP error about a reply of VIP:port",
	exprs: slices.Concat(icmpError, []expr{
		load(quotedVersion, reg0), equal(versionAndLength),
		load(quotedSaddr, reg0), load(quotedProtocol, reg1), load(quotedSport, reg2), mapped(mapTarget, reg0, reg0),
		load(quotedSaddr, reg4), mapped(mapZone, reg4, reg4),
		setOriginalZone(reg4),
		write(quotedSaddr, reg0, quotedSum),
		write(daddr, reg0, ipSum),
		counter(),
	}),
}

// reply is
//
//	ct direction reply jump restore
var reply = rule{
	comment: "a reply, maybe of a VIP",
	exprs:   []expr{ct(unix.NFT_CT_DIRECTION, reg0), equal(directionReply), jump(chainRestore)},
}

// restorePacket is
//
//	ip saddr set ct original zone map @back4 counter
var restorePacket = rule{
	comment: "the ClusterIP back to the VIP",
	exprs: slices.Concat(ipv4.only(), []expr{
		originalZone(), mapped(mapBack, reg0, reg0),
		write(saddr, reg0, packetSum),
		counter(),
	}),
}

// restoreError begins with
//
//	icmp type @icmp_error4
//
// and goes on as restorePacket, but also with the quoted packet, which is one
// that the client sent to the VIP. This is how a client learns of a Service
// without endpoints or a closed port.
var restoreError = rule{
	comment: "ICMP error about a packet to the VIP",
	exprs: slices.Concat(icmpError, []expr{
		originalZone(), mapped(mapBack, reg0, reg0),
		write(quotedDaddr, reg0, quotedSum),
		write(saddr, reg0, ipSum),
		counter(),
		ret(),
	}),
}

// ownNodePort returns
//
//	ip daddr . meta l4proto . th dport @nodeport4 return
func ownNodePort(f ipFamily) rule {
	next := reg0 + reg(f.daddr.length/registerLength)
	return rule{
		comment: "a NodePort of the VIP's own Services",
		exprs: slices.Concat(f.only(), []expr{
			load(f.daddr, reg0), meta(unix.NFT_META_L4PROTO, next), load(dport, next+1), in(f.nodePorts),
			ret(),
		}),
	}
}

// keep returns
//
//	meta l4proto tcp dnat ip to ip daddr
//
// for a protocol. This changes nothing in the packet, but it is the one
// destination NAT of the connection, so that no other program's chain, which
// comes later in the walk, leads it from the VIP to a port of its own.
func keep(f ipFamily, comment string, protocol byte) rule {
	return rule{
		comment: comment,
		exprs: slices.Concat(f.only(), []expr{
			meta(unix.NFT_META_L4PROTO, reg0), equal(protocol),
			load(f.daddr, reg0), dnat(f.number, reg0),
		}),
	}
}

// refuse returns
//
//	ip daddr @vip4 ct state invalid,new,untracked meta l4proto tcp counter reject
//
// for a protocol. A packet that was rewritten is not for the VIP any more. What still is, and
// opens or belongs to no connection that conntrack knows, would reach whatever
// listens on all addresses of the node.
func refuse(f ipFamily, comment string, protocol byte, how expr) rule {
	// NF_CT_STATE_INVALID_BIT, NF_CT_STATE_BIT(IP_CT_NEW), NF_CT_STATE_UNTRACKED_BIT.
	const invalid, fresh, untracked = 1 << 0, 1 << 3, 1 << 6
	return rule{
		comment: comment,
		exprs: slices.Concat(
			f.only(), []expr{load(f.daddr, reg0), in(f.vips)},
			[]expr{ct(unix.NFT_CT_STATE, reg0)}, anyOf(invalid|fresh|untracked),
			[]expr{meta(unix.NFT_META_L4PROTO, reg0), equal(protocol)},
			[]expr{counter(), how},
		),
	}
}
