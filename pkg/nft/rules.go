package nft

import (
	"slices"

	"golang.org/x/sys/unix"
)

// The chains that are jumped to, one for each family. restore is there without one
// too.
const (
	chainRewrite  = "rewrite"
	chainRestore  = "restore"
	chainGuardNAT = "guard_nat"
)

// priorityRewrite is after defragmentation (-400), and before raw (-300), where
// some sites exempt packets from conntrack, and conntrack (-200) itself.
const priorityRewrite = -301

// priorityRestore is after conntrack's NAT (100) has put the target back.
const priorityRestore = 200

// priorityGuardNAT is before dstnat (-100), where kube-proxy's NodePorts, the
// hostPorts of Pods and Docker's published ports are translated.
const priorityGuardNAT = -150

// priorityGuard is before filter (0), where a firewall might drop what is to
// be refused.
const priorityGuard = -10

// priorityMasquerade is after srcnat (100): where kube-proxy masquerades, it has
// done so, and no other chain is asked.
const priorityMasquerade = 101

// Keys begin at reg0, and none that leads to something is longer than eight
// registers. What it leads to is behind: an address, a port, a zone.
const (
	regTarget = reg0 + 8
	regPort   = reg0 + 12
	regZone   = reg0 + 13
)

// originalZone loads into reg0 the zone, two bytes in the host's order, in which
// the original direction of the packet's connection is looked up.
func originalZone() expr { return ctOriginal(unix.NFT_CT_ZONE, reg0) }

// setOriginalZone sets that zone. Without the direction the reply would be looked
// up in the zone as well, where nobody puts it.
func setOriginalZone(from reg) expr { return setCTOriginal(unix.NFT_CT_ZONE, from) }

func chains(transports []transport) []chain {
	var all []chain
	for _, f := range families {
		all = append(all,
			chain{name: f.named(chainRewrite), rules: rewriteRules(f, transports)},
			chain{name: f.named(chainRestore), rules: restoreRules(f, transports)},
			chain{name: f.named(chainGuardNAT), rules: []rule{
				keep(f, "no NodePort, no hostPort: TCP", unix.IPPROTO_TCP),
				keep(f, "no NodePort, no hostPort: UDP", unix.IPPROTO_UDP),
				keep(f, "no NodePort, no hostPort: SCTP", unix.IPPROTO_SCTP),
			}},
		)
	}
	return append(all,
		chain{name: chainRestore, rules: each4And6(restoreFamily)},
		chain{
			name:  "prerouting",
			hook:  &hook{kind: "filter", number: unix.NF_INET_PRE_ROUTING, priority: priorityRewrite},
			rules: each4And6(toVIP),
		},
		chain{
			// Of type route: the packet is routed again after the rewrite.
			name:  "output",
			hook:  &hook{kind: "route", number: unix.NF_INET_LOCAL_OUT, priority: priorityRewrite},
			rules: each4And6(toVIP),
		},
		chain{
			name:  "postrouting",
			hook:  &hook{kind: "filter", number: unix.NF_INET_POST_ROUTING, priority: priorityRestore},
			rules: []rule{reply},
		},
		chain{
			name:  "input",
			hook:  &hook{kind: "filter", number: unix.NF_INET_LOCAL_IN, priority: priorityRestore},
			rules: []rule{reply},
		},
		chain{
			name:  "masquerade_clients",
			hook:  &hook{kind: "nat", number: unix.NF_INET_POST_ROUTING, priority: priorityMasquerade},
			rules: each4And6(masqueradeClient),
		},
		chain{
			name:  "guard_prerouting",
			hook:  &hook{kind: "nat", number: unix.NF_INET_PRE_ROUTING, priority: priorityGuardNAT},
			rules: each4And6(newToVIP),
		},
		chain{
			name:  "guard_output",
			hook:  &hook{kind: "nat", number: unix.NF_INET_LOCAL_OUT, priority: priorityGuardNAT},
			rules: each4And6(newToVIP),
		},
		chain{
			name:  "guard",
			hook:  &hook{kind: "filter", number: unix.NF_INET_LOCAL_IN, priority: priorityGuard},
			rules: slices.Concat(guardRules(ipv4), guardRules(ipv6)),
		},
	)
}

// each4And6 is a rule for each family.
func each4And6(of func(ipFamily) rule) []rule {
	var rules []rule
	for _, f := range families {
		rules = append(rules, of(f))
	}
	return rules
}

// toVIP is
//
//	ip daddr @vip4 jump rewrite4
func toVIP(f ipFamily) rule {
	return jumpForVIP(f, "to a VIP", setVIP, chainRewrite)
}

// newToVIP is, in a NAT chain, which sees only what opens a connection,
//
//	ip daddr @guarded4 jump guard_nat4
func newToVIP(f ipFamily) rule {
	return jumpForVIP(f, "a new connection to a VIP", setGuarded, chainGuardNAT)
}

func jumpForVIP(f ipFamily, comment, set, chain string) rule {
	return rule{
		comment: comment,
		exprs:   slices.Concat(f.only(), []expr{load(f.daddr, reg0), in(f.named(set)), jump(f.named(chain))}),
	}
}

// rewriteRules take a packet to a VIP. The first that matches ends the chain
// that came here. The ports of the first rule are the most, so it costs the
// least.
func rewriteRules(f ipFamily, transports []transport) []rule {
	rules := []rule{rewritePacket(f), dropSource(f)}
	for _, t := range transports {
		rules = append(rules, rewriteMapped(f, t))
	}
	return append(rules, rewriteError(f), rewriteMappedError(f))
}

// restoreRules take a reply, maybe of a VIP, in the same way.
func restoreRules(f ipFamily, transports []transport) []rule {
	rules := []rule{restoreError(f), restorePacket(f), restoreMappedError(f)}
	for _, t := range transports {
		if !t.portStays {
			rules = append(rules, restoreMapped(f, t))
		}
	}
	return rules
}

// rewritePacket is
//
//	ct original zone set ip daddr map @zone4
//	ip daddr set ip daddr . meta l4proto . th dport map @svc4 counter accept
//
// but does both look-ups first, so that a packet to another port keeps the
// default zone.
func rewritePacket(f ipFamily) rule {
	return rule{
		comment: "VIP:port to its target",
		exprs: slices.Concat(f.only(), f.packetKey(), []expr{
			mapped(f.named(mapTarget), regTarget),
			load(f.daddr, reg0), mapped(f.named(mapZone), regZone),
			setOriginalZone(regZone),
			write(f.daddr, regTarget, f.addressSum),
			counter(), accept(),
		}),
	}
}

// dropSource is
//
//	iif != 0 ip daddr . meta l4proto . th dport @limited4
//	ip daddr . meta l4proto . th dport . ip saddr != @sources4 counter drop
//
// In output there is no input interface: the node's own processes may always.
func dropSource(f ipFamily) rule {
	key := f.packetKey()
	return rule{
		comment: "not from the source ranges of the port",
		exprs: slices.Concat(
			[]expr{meta(unix.NFT_META_IIF, reg0), compare(unix.NFT_CMP_NEQ, make([]byte, 4))},
			f.only(), key, []expr{in(f.named(setLimited))},
			key, []expr{load(f.saddr, reg0+f.registers()+2), notIn(f.named(setSources))},
			[]expr{counter(), drop()},
		),
	}
}

// rewriteMapped is, for a protocol,
//
//	ct original zone set ip daddr . meta l4proto . th dport map @mapped_zone4
//	th dport set ip daddr . meta l4proto . th dport map @mapped_port4
//	ip daddr set ip daddr . meta l4proto . th dport map @mapped_svc4 counter accept
//
// but does all look-ups first. Where the port stays, it is not written: no port
// in the maps is then another one.
func rewriteMapped(f ipFamily, t transport) rule {
	var writePort []expr
	if !t.portStays {
		writePort = []expr{write(dport, regPort, t.sum)}
	}
	return rule{
		comment: "mapped or limited VIP:port to its target: " + t.name,
		exprs: slices.Concat(f.only(), t.matches, f.packetKey(), []expr{
			mapped(f.named(mapMappedTarget), regTarget),
			mapped(f.named(mapMappedPort), regPort),
			mapped(f.named(mapMappedZone), regZone),
			setOriginalZone(regZone),
		}, writePort, []expr{
			write(f.daddr, regTarget, f.addressSum),
			counter(), accept(),
		}),
	}
}

// rewriteError begins with
//
//	icmp type @icmp_error4
//
// and goes on as rewritePacket, but with the quoted packet, which is a reply
// that was sent from VIP:port. This is how path MTU discovery reaches the pod.
func rewriteError(f ipFamily) rule {
	return rule{
		comment: "ICMP error about a reply of VIP:port",
		exprs: slices.Concat(f.only(), f.isError(), f.plainHeader, f.quotedKey(), []expr{
			mapped(f.named(mapTarget), regTarget),
			load(f.quotedSaddr, reg0), mapped(f.named(mapZone), regZone),
			setOriginalZone(regZone),
			write(f.quotedSaddr, regTarget, f.quotedSum),
			write(f.daddr, regTarget, f.errorSum),
			counter(), accept(),
		}),
	}
}

// rewriteMappedError is the same as rewriteMapped.
func rewriteMappedError(f ipFamily) rule {
	return rule{
		comment: "ICMP error about a reply of a mapped VIP:port",
		exprs: slices.Concat(f.only(), f.isError(), f.plainHeader, f.quotedKey(), []expr{
			mapped(f.named(mapMappedTarget), regTarget),
			mapped(f.named(mapMappedPort), regPort),
			mapped(f.named(mapMappedZone), regZone),
			setOriginalZone(regZone),
			write(f.quotedSport, regPort, icmpSum),
			write(f.quotedSaddr, regTarget, f.quotedSum),
			write(f.daddr, regTarget, f.errorSum),
			counter(), accept(),
		}),
	}
}

// reply is
//
//	ct direction reply ct original zone != 0 jump restore
//
// Whatever is not in a zone, as nearly everything that has nothing to do with a
// VIP, needs no look-up.
var reply = rule{
	comment: "a reply, maybe of a VIP",
	exprs: []expr{
		ct(unix.NFT_CT_DIRECTION, reg0), equal(directionReply),
		originalZone(), compare(unix.NFT_CMP_NEQ, []byte{0, 0}),
		jump(chainRestore),
	},
}

// restoreFamily is
//
//	meta nfproto ipv4 jump restore4
func restoreFamily(f ipFamily) rule {
	return rule{
		comment: "IPv" + f.suffix,
		exprs:   append(f.only(), jump(f.named(chainRestore))),
	}
}

// restorePacket is
//
//	ip saddr set ct original zone map @back4 counter accept
func restorePacket(f ipFamily) rule {
	return rule{
		comment: "the target back to the VIP",
		exprs: slices.Concat(f.only(), []expr{
			originalZone(), mapped(f.named(mapBack), regTarget),
			write(f.saddr, regTarget, f.addressSum),
			counter(), accept(),
		}),
	}
}

// restoreMapped is, for a protocol,
//
//	ip saddr set ct original zone map @mapped_back4
//	th sport set ct original zone map @mapped_back_port counter accept
func restoreMapped(f ipFamily, t transport) rule {
	return rule{
		comment: "the target back to a mapped VIP:port: " + t.name,
		exprs: slices.Concat(f.only(), t.matches, []expr{
			originalZone(),
			mapped(f.named(mapMappedBack), regTarget),
			mapped(mapMappedBackPort, regPort),
			write(sport, regPort, t.sum),
			write(f.saddr, regTarget, f.addressSum),
			counter(), accept(),
		}),
	}
}

// restoreError begins with
//
//	icmp type @icmp_error4
//
// and goes on as restorePacket, but also with the quoted packet, which is one
// that the client sent to the VIP. This is how a client learns of a Service
// without endpoints or a closed port.
func restoreError(f ipFamily) rule {
	return rule{
		comment: "ICMP error about a packet to the VIP",
		exprs: slices.Concat(f.only(), f.isError(), []expr{
			originalZone(), mapped(f.named(mapBack), regTarget),
			write(f.quotedDaddr, regTarget, f.quotedSum),
			write(f.saddr, regTarget, f.errorSum),
			counter(), accept(),
		}),
	}
}

// restoreMappedError is the same as restoreMapped.
func restoreMappedError(f ipFamily) rule {
	return rule{
		comment: "ICMP error about a packet to a mapped VIP:port",
		exprs: slices.Concat(f.only(), f.isError(), f.plainHeader, []expr{
			originalZone(),
			mapped(f.named(mapMappedBack), regTarget),
			mapped(mapMappedBackPort, regPort),
			write(f.quotedDport, regPort, icmpSum),
			write(f.quotedDaddr, regTarget, f.quotedSum),
			write(f.saddr, regTarget, f.errorSum),
			counter(), accept(),
		}),
	}
}

// masqueradeClient is
//
//	ct original zone @masquerade_zones ip saddr != @pods4 counter masquerade fully-random
func masqueradeClient(f ipFamily) rule {
	return rule{
		comment: "so that the reply comes back to this node",
		exprs: slices.Concat(f.only(), []expr{
			originalZone(), in(setMasquerade),
			load(f.saddr, reg0), notIn(f.named(setPods)),
			counter(), masquerade(),
		}),
	}
}

// keep is
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

func guardRules(f ipFamily) []rule {
	unreachable := reject(unix.NFT_REJECT_ICMP_UNREACH, f.portUnreachable)
	return []rule{
		refuse(f, "TCP", unix.IPPROTO_TCP, reject(unix.NFT_REJECT_TCP_RST, 0)),
		refuse(f, "UDP", unix.IPPROTO_UDP, unreachable),
		refuse(f, "SCTP", unix.IPPROTO_SCTP, unreachable),
		refusePrivate(f),
	}
}

// refuse is
//
//	ip daddr @guarded4 ct state invalid,new,untracked meta l4proto tcp counter reject
//
// for a protocol. A packet that was rewritten is not for the VIP any more. What
// still is, and opens or belongs to no connection that conntrack knows, would
// reach whatever listens on all addresses of the node.
func refuse(f ipFamily, name string, protocol byte, how expr) rule {
	// NF_CT_STATE_INVALID_BIT, NF_CT_STATE_BIT(IP_CT_NEW), NF_CT_STATE_UNTRACKED_BIT.
	const invalid, fresh, untracked = 1 << 0, 1 << 3, 1 << 6
	return rule{
		comment: name + " to a port without Service",
		exprs: slices.Concat(
			f.only(), []expr{load(f.daddr, reg0), in(f.named(setGuarded))},
			[]expr{ct(unix.NFT_CT_STATE, reg0)}, anyOf(invalid|fresh|untracked),
			[]expr{meta(unix.NFT_META_L4PROTO, reg0), equal(protocol)},
			[]expr{counter(), how},
		),
	}
}

// refusePrivate is
//
//	ip daddr . tcp dport @private4 ct original zone != @proxied_zones counter reject with tcp reset
//
// The listener of a port that the daemon serves itself is on an address of the
// node, but is there for the VIP alone.
func refusePrivate(f ipFamily) rule {
	return rule{
		comment: "the daemon's own listener, and not by its VIP",
		exprs: slices.Concat(f.only(), []expr{
			meta(unix.NFT_META_L4PROTO, reg0), equal(unix.IPPROTO_TCP),
			load(f.daddr, reg0), load(dport, reg0+f.registers()), in(f.named(setPrivate)),
			originalZone(), notIn(setProxied),
			counter(), reject(unix.NFT_REJECT_TCP_RST, 0),
		}),
	}
}
