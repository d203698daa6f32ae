package nft

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/internal/nfnetlink"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tableName is the name of every table of ours.
const tableName = "kube_vrrp_vip"

// spec is the static part of a table. It describes all of it: another set,
// chain or rule that is found in the table is removed.
type spec struct {
	family nftables.TableFamily
	name   string
	sets   []set
	chains []chain
}

// familyName returns the name of a family in nft's language.
func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyARP:
		return "arp"
	case nftables.TableFamilyNetdev:
		return "netdev"
	default:
		return fmt.Sprintf("family %d", f)
	}
}

// table is the table as google/nftables wants it named.
func (s *spec) table() *nftables.Table {
	return &nftables.Table{Name: s.name, Family: s.family}
}

// set is a set, or a map if there is a value that its keys lead to.
type set struct {
	name       string
	key, value datatype
	// interval reports that the elements are ranges of keys.
	interval bool
	// timeout is how long an element stays that a rule has put there or seen
	// again, and size how many there can be, if it is rules that do: such a set
	// has no other elements, and what it has is not read.
	timeout time.Duration
	size    uint32
}

// contents are the elements of a table: by set, by key, the value, in the
// kernel's own bytes. In a set every value is "". In a set of ranges a key is
// one of rangeKeys.
type contents = map[string]map[string]string

// chain is a chain with its rules in order.
type chain struct {
	name string
	// hook is nil if packets come by a jump only.
	hook *hook
	// device is where the hook is, in family netdev.
	device string
	rules  []rule
}

// hook is where a base chain gets its packets.
type hook struct {
	kind     string // filter or route
	number   uint32 // NF_INET_..., NF_ARP_... or NF_NETDEV_...
	priority int32
}

// rule is a rule, and the comment that nft lists behind it.
type rule struct {
	comment string
	exprs   []expr
}

// encode returns the value of NFTA_RULE_EXPRESSIONS.
func (r rule) encode() []byte {
	return nfnetlink.Encode(func(ae *netlink.AttributeEncoder) {
		for _, e := range r.exprs {
			nfnetlink.Nest(ae, unix.NFTA_LIST_ELEM, e.encode)
		}
	})
}

// userdata is stored with the rule: the comment, as nft reads it, and a digest
// of the expressions, which nft skips. By the digest a rule of another program,
// or of another version of this one, is known.
func (r rule) userdata() []byte {
	const (
		comment = 0   // NFTNL_UDATA_RULE_COMMENT
		digest  = 128 // Free.
	)
	h := sha256.Sum256(r.encode())
	return slices.Concat(tlv(comment, append([]byte(r.comment), 0)), tlv(digest, h[:8]))
}

// describe says what the kernel must hold, and describeChain what it does hold.
func (c chain) describe() string {
	const accept = 1 // NF_ACCEPT
	return describeChain(c.hook, c.device, accept)
}

func describeChain(h *hook, device string, policy uint32) string {
	if h == nil {
		return "no hook"
	}
	description := fmt.Sprintf("type %s hook %d priority %d policy %d", h.kind, h.number, h.priority, policy)
	if device != "" {
		description += " device " + device
	}
	return description
}

// definition is the set as google/nftables reads it from the kernel: without
// the user data. A set is therefore never made anew for its display alone.
func (s set) definition() nftables.Set {
	return nftables.Set{
		Name: s.name, IsMap: s.isMap(), KeyType: s.key.kind, DataType: s.value.kind,
		Interval: s.interval, Concatenation: s.joinedRanges(),
		Dynamic: s.byRules(), HasTimeout: s.byRules(), Timeout: s.timeout, Size: s.size,
	}
}

// byRules reports whether rules put the elements there.
func (s set) byRules() bool { return s.timeout > 0 }

func (s set) isMap() bool { return s.value.bytes() > 0 }

// joinedRanges reports whether each field of the keys has a range of its own.
func (s set) joinedRanges() bool { return s.interval && s.key.fields != nil }

// userdata is stored with the set and tells nft how to show its elements.
func (s set) userdata() []byte {
	const (
		keyOrder    = 0 // NFTNL_UDATA_SET_KEYBYTEORDER
		valueOrder  = 1 // NFTNL_UDATA_SET_DATABYTEORDER
		keyTypeof   = 3 // NFTNL_UDATA_SET_KEY_TYPEOF
		valueTypeof = 4 // NFTNL_UDATA_SET_DATA_TYPEOF
	)
	b := tlv(keyOrder, s.key.order())
	if s.isMap() {
		b = append(b, tlv(valueOrder, s.value.order())...)
	}
	if s.key.typeof != nil {
		b = append(b, tlv(keyTypeof, s.key.typeof)...)
	}
	if s.value.typeof != nil {
		b = append(b, tlv(valueTypeof, s.value.typeof)...)
	}
	return b
}

// tlv is an attribute of user data: a byte for the type, one for the length,
// the value.
func tlv(typ byte, value []byte) []byte {
	return append([]byte{typ, byte(len(value))}, value...)
}
