package nft

import (
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
)

// message is one step of a transaction.
type message struct {
	// what says the step, for the error if the kernel refuses it.
	what   string
	typ    uint16 // NFT_MSG_...
	flags  netlink.HeaderFlags
	family nftables.TableFamily
	data   []byte
}

// batch collects the messages of a transaction for one table.
type batch struct {
	spec     *Spec
	messages []message
	setID    uint32
}

// static returns the transaction that sets up chains, sets and rules. All
// rules are written again, and what the specification does not know goes; sets
// that are as specified stay, with their elements.
func (s *Spec) static(have *snapshot) []message {
	b := &batch{spec: s}
	b.newTable()
	if have.exists {
		b.flushRules()
	}
	for _, name := range slices.Sorted(maps.Keys(have.sets)) {
		if !s.hasSet(have.sets[name]) {
			b.deleteSet(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.chains)) {
		if !s.hasChain(name, have.chains[name]) {
			b.deleteChain(name)
		}
	}
	for _, set := range s.Sets {
		if have.sets[set.Name] != set.definition() {
			b.newSet(set)
		}
	}
	for _, chain := range s.Chains {
		if have.chains[chain.Name] != chain.describe() {
			b.newChain(chain)
		}
	}
	for _, chain := range s.Chains {
		for _, rule := range chain.Rules {
			b.newRule(chain.Name, rule)
		}
	}
	return b.messages
}

func (b *batch) newTable() {
	b.add("add table", unix.NFT_MSG_NEWTABLE, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, b.spec.Name)
		ae.Uint32(unix.NFTA_TABLE_FLAGS, 0)
	})
}

func (b *batch) flushRules() {
	b.add("delete all rules", unix.NFT_MSG_DELRULE, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, b.spec.Name)
	})
}

func (b *batch) newChain(c Chain) {
	b.add("add chain "+c.Name, unix.NFT_MSG_NEWCHAIN, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, b.spec.Name)
		ae.String(unix.NFTA_CHAIN_NAME, c.Name)
		if c.Hook == nil {
			return
		}
		ae.String(unix.NFTA_CHAIN_TYPE, c.Hook.Kind)
		nfnetlink.Nest(ae, unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) {
			ae.Uint32(unix.NFTA_HOOK_HOOKNUM, c.Hook.Number)
			ae.Int32(unix.NFTA_HOOK_PRIORITY, c.Hook.Priority)
			if c.Device != "" {
				ae.String(unix.NFTA_HOOK_DEV, c.Device)
			}
		})
	})
}

func (b *batch) deleteChain(name string) {
	b.add("delete chain "+name, unix.NFT_MSG_DELCHAIN, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, b.spec.Name)
		ae.String(unix.NFTA_CHAIN_NAME, name)
	})
}

func (b *batch) newSet(s Set) {
	b.setID++
	b.add("add set "+s.Name, unix.NFT_MSG_NEWSET, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, b.spec.Name)
		ae.String(unix.NFTA_SET_NAME, s.Name)
		var flags uint32
		if s.Interval {
			flags |= unix.NFT_SET_INTERVAL
		}
		if s.joinedRanges() {
			flags |= nftables.NFT_SET_CONCAT
			fieldLengths(ae, s.Key.fields)
		}
		if s.byRules() {
			flags |= unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
			ae.Uint64(unix.NFTA_SET_TIMEOUT, uint64(s.Timeout.Milliseconds()))
			nfnetlink.Nest(ae, unix.NFTA_SET_DESC, func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.NFTA_SET_DESC_SIZE, s.Size) })
		}
		if s.isMap() {
			flags |= unix.NFT_SET_MAP
			ae.Uint32(unix.NFTA_SET_DATA_TYPE, s.Value.kind.GetNFTMagic())
			ae.Uint32(unix.NFTA_SET_DATA_LEN, s.Value.bytes())
		}
		ae.Uint32(unix.NFTA_SET_FLAGS, flags)
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, s.Key.kind.GetNFTMagic())
		ae.Uint32(unix.NFTA_SET_KEY_LEN, s.Key.bytes())
		ae.Uint32(unix.NFTA_SET_ID, b.setID)
		ae.Bytes(unix.NFTA_SET_USERDATA, s.userdata())
	})
}

// fieldLengths adds the lengths of the fields of which each has a range.
func fieldLengths(ae *netlink.AttributeEncoder, lengths []uint32) {
	const concat, length = 2, 1 // NFTA_SET_DESC_CONCAT, NFTA_SET_FIELD_LEN
	nfnetlink.Nest(ae, unix.NFTA_SET_DESC, func(ae *netlink.AttributeEncoder) {
		nfnetlink.Nest(ae, concat, func(ae *netlink.AttributeEncoder) {
			for _, l := range lengths {
				nfnetlink.Nest(ae, unix.NFTA_LIST_ELEM, func(ae *netlink.AttributeEncoder) { ae.Uint32(length, l) })
			}
		})
	})
}

func (b *batch) deleteSet(name string) {
	b.add("delete set "+name, unix.NFT_MSG_DELSET, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, b.spec.Name)
		ae.String(unix.NFTA_SET_NAME, name)
	})
}

func (b *batch) newRule(chain string, r Rule) {
	b.add("add rule to "+chain, unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, b.spec.Name)
		ae.String(unix.NFTA_RULE_CHAIN, chain)
		ae.Bytes(netlink.Nested|unix.NFTA_RULE_EXPRESSIONS, r.encode())
		ae.Bytes(unix.NFTA_RULE_USERDATA, r.userdata())
	})
}

func (b *batch) add(what string, typ uint16, flags netlink.HeaderFlags, attrs func(*netlink.AttributeEncoder)) {
	b.messages = append(b.messages, message{what: what, typ: typ, flags: flags, family: b.spec.Family, data: nfnetlink.Encode(attrs)})
}

func (s *Spec) hasSet(definition nftables.Set) bool {
	return slices.ContainsFunc(s.Sets, func(set Set) bool { return set.definition() == definition })
}

func (s *Spec) hasChain(name, description string) bool {
	return slices.ContainsFunc(s.Chains, func(c Chain) bool { return c.Name == name && c.describe() == description })
}
