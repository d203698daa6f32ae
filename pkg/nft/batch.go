package nft

import (
	"maps"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// elementsPerMessage keeps the list of elements, some 60 bytes each, well
// below the 64 KiB that an attribute can hold.
const elementsPerMessage = 500

// message is one step of a transaction.
type message struct {
	// what says the step, for the error if the kernel refuses it.
	what   string
	typ    uint16 // NFT_MSG_...
	flags  netlink.HeaderFlags
	family uint8
	data   []byte
}

// batch collects the messages of a transaction for one table.
type batch struct {
	spec     *spec
	messages []message
	setID    uint32
}

// changes returns the transaction that turns what the kernel has into the
// table that is specified, with the wanted elements; none if it is that
// already.
func (s *spec) changes(have *view, want contents) []message {
	b := &batch{spec: s}
	elements := maps.Clone(have.elements)
	if !have.matches(s) {
		b.static(have)
		for name, description := range have.sets {
			if !s.hasSet(name, description) {
				delete(elements, name)
			}
		}
	}
	for _, set := range s.sets {
		b.elements(set, elements[set.name], want[set.name])
	}
	return b.messages
}

// static sets up chains, sets and rules. All rules are written anew, and what
// the specification does not know goes; sets that are as specified stay, with
// their elements.
func (b *batch) static(have *view) {
	s := b.spec
	b.newTable()
	if have.exists {
		b.flushRules()
	}
	for _, name := range slices.Sorted(maps.Keys(have.sets)) {
		if !s.hasSet(name, have.sets[name]) {
			b.deleteSet(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.chains)) {
		if !s.hasChain(name, have.chains[name]) {
			b.deleteChain(name)
		}
	}
	for _, set := range s.sets {
		if have.sets[set.name] != set.describe() {
			b.newSet(set)
		}
	}
	for _, chain := range s.chains {
		if have.chains[chain.name] != chain.describe() {
			b.newChain(chain)
		}
	}
	for _, chain := range s.chains {
		for _, rule := range chain.rules {
			b.newRule(chain.name, rule)
		}
	}
}

// elements adds what is wanted and missing and deletes what is not wanted. A
// value that changes is both: the kernel has no other way.
func (b *batch) elements(s set, have, want map[string]string) {
	var add, del []string
	for key, old := range have {
		if value, ok := want[key]; !ok || value != old {
			del = append(del, key)
		}
	}
	for key, value := range want {
		if old, ok := have[key]; !ok || value != old {
			add = append(add, key)
		}
	}
	slices.Sort(del)
	slices.Sort(add)
	for keys := range slices.Chunk(del, elementsPerMessage) {
		b.element("delete elements of "+s.name, unix.NFT_MSG_DELSETELEM, 0, s, keys, have)
	}
	for keys := range slices.Chunk(add, elementsPerMessage) {
		b.element("add elements to "+s.name, unix.NFT_MSG_NEWSETELEM, netlink.Create, s, keys, want)
	}
}

func (b *batch) newTable() {
	b.add("add table", unix.NFT_MSG_NEWTABLE, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, b.spec.name)
		ae.Uint32(unix.NFTA_TABLE_FLAGS, 0)
	})
}

func (b *batch) deleteTable() {
	b.add("delete table", unix.NFT_MSG_DELTABLE, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, b.spec.name)
	})
}

func (b *batch) flushRules() {
	b.add("delete all rules", unix.NFT_MSG_DELRULE, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, b.spec.name)
	})
}

func (b *batch) newChain(c chain) {
	b.add("add chain "+c.name, unix.NFT_MSG_NEWCHAIN, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, b.spec.name)
		ae.String(unix.NFTA_CHAIN_NAME, c.name)
		if c.hook == nil {
			return
		}
		ae.String(unix.NFTA_CHAIN_TYPE, c.hook.kind)
		nest(ae, unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) {
			ae.Uint32(unix.NFTA_HOOK_HOOKNUM, c.hook.number)
			ae.Int32(unix.NFTA_HOOK_PRIORITY, c.hook.priority)
		})
	})
}

func (b *batch) deleteChain(name string) {
	b.add("delete chain "+name, unix.NFT_MSG_DELCHAIN, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, b.spec.name)
		ae.String(unix.NFTA_CHAIN_NAME, name)
	})
}

func (b *batch) newSet(s set) {
	b.setID++
	b.add("add set "+s.name, unix.NFT_MSG_NEWSET, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, b.spec.name)
		ae.String(unix.NFTA_SET_NAME, s.name)
		ae.Uint32(unix.NFTA_SET_FLAGS, s.flags())
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, s.key.id)
		ae.Uint32(unix.NFTA_SET_KEY_LEN, s.key.length)
		if s.isMap() {
			ae.Uint32(unix.NFTA_SET_DATA_TYPE, s.value.id)
			ae.Uint32(unix.NFTA_SET_DATA_LEN, s.value.length)
		}
		ae.Uint32(unix.NFTA_SET_ID, b.setID)
		ae.Bytes(unix.NFTA_SET_USERDATA, s.userdata())
	})
}

func (b *batch) deleteSet(name string) {
	b.add("delete set "+name, unix.NFT_MSG_DELSET, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, b.spec.name)
		ae.String(unix.NFTA_SET_NAME, name)
	})
}

func (b *batch) newRule(chain string, r rule) {
	b.add("add rule to "+chain, unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, b.spec.name)
		ae.String(unix.NFTA_RULE_CHAIN, chain)
		ae.Bytes(netlink.Nested|unix.NFTA_RULE_EXPRESSIONS, r.encode())
		ae.Bytes(unix.NFTA_RULE_USERDATA, r.userdata())
	})
}

func (b *batch) element(what string, typ uint16, flags netlink.HeaderFlags, s set, keys []string, values map[string]string) {
	b.add(what, typ, flags, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, b.spec.name)
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
		nest(ae, unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(ae *netlink.AttributeEncoder) {
			for _, key := range keys {
				nest(ae, unix.NFTA_LIST_ELEM, func(ae *netlink.AttributeEncoder) {
					data(ae, unix.NFTA_SET_ELEM_KEY, []byte(key))
					if s.isMap() {
						data(ae, unix.NFTA_SET_ELEM_DATA, []byte(values[key]))
					}
				})
			}
		})
	})
}

func (b *batch) add(what string, typ uint16, flags netlink.HeaderFlags, attrs func(*netlink.AttributeEncoder)) {
	b.messages = append(b.messages, message{what: what, typ: typ, flags: flags, family: b.spec.family, data: encode(attrs)})
}

func (s *spec) hasSet(name, description string) bool {
	return slices.ContainsFunc(s.sets, func(set set) bool { return set.name == name && set.describe() == description })
}

func (s *spec) hasChain(name, description string) bool {
	return slices.ContainsFunc(s.chains, func(c chain) bool { return c.name == name && c.describe() == description })
}
