package nft

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
)

// TableName is the name of every table of ours.
const TableName = "kube_vrrp_vip"

// Spec is the static part of a table. It describes all of it: another set,
// chain or rule that is found in the table is removed.
type Spec struct {
	// Family is FamilyINet, FamilyARP or FamilyNetdev.
	Family nftables.TableFamily
	Name   string
	Sets   []Set
	Chains []Chain
}

// The families of our tables.
const (
	FamilyINet   = nftables.TableFamilyINet
	FamilyARP    = nftables.TableFamilyARP
	FamilyNetdev = nftables.TableFamilyNetdev
)

// FamilyName returns the name of a family in nft's language.
func FamilyName(f nftables.TableFamily) string {
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
func (s *Spec) table() *nftables.Table {
	return &nftables.Table{Name: s.Name, Family: s.Family}
}

// Set is a set, or a map if it has a Value, which its keys lead to.
type Set struct {
	Name       string
	Key, Value Datatype
	// Interval reports that the elements are ranges of keys.
	Interval bool
	// Timeout and Size belong to a set whose elements rules add (Update): how long
	// an element stays after the last update, and how many there can be. Such a set
	// has no other elements, and these are not read.
	Timeout time.Duration
	Size    uint32
}

// Elements are the elements of a table: by set, by key, the value, in the
// kernel's own bytes. In a set every value is "". In a set of ranges a key is
// one of RangeKeys.
type Elements = map[string]map[string]string

// Chain is a chain with its rules in order.
type Chain struct {
	Name string
	// Hook is nil if packets come by a jump only.
	Hook *Hook
	// Device is where the hook is, in family netdev.
	Device string
	Rules  []Rule
}

// Hook is where a base chain gets its packets.
type Hook struct {
	Kind     string // filter or route
	Number   uint32 // NF_INET_..., NF_ARP_... or NF_NETDEV_...
	Priority int32
}

// Rule is a rule, and the comment that nft lists behind it.
type Rule struct {
	Comment string
	Exprs   []Expr
}

// encode returns the value of NFTA_RULE_EXPRESSIONS.
func (r Rule) encode() []byte {
	return nfnetlink.Encode(func(ae *netlink.AttributeEncoder) {
		for _, e := range r.Exprs {
			nfnetlink.Nest(ae, unix.NFTA_LIST_ELEM, e.encode)
		}
	})
}

// userdata is stored with the rule: the comment, as nft reads it, and a digest
// of the expressions, which nft skips. By the digest a rule of another program,
// or of another version of this one, is known.
func (r Rule) userdata() []byte {
	const (
		comment = 0   // NFTNL_UDATA_RULE_COMMENT
		digest  = 128 // Free.
	)
	h := sha256.Sum256(r.encode())
	return slices.Concat(tlv(comment, append([]byte(r.Comment), 0)), tlv(digest, h[:8]))
}

// describe says what the kernel must hold, and describeChain what it does hold.
func (c Chain) describe() string {
	const accept = 1 // NF_ACCEPT
	return describeChain(c.Hook, c.Device, accept)
}

func describeChain(h *Hook, device string, policy uint32) string {
	if h == nil {
		return "no hook"
	}
	description := fmt.Sprintf("type %s hook %d priority %d policy %d", h.Kind, h.Number, h.Priority, policy)
	if device != "" {
		description += " device " + device
	}
	return description
}

// definition is the set as google/nftables reads it from the kernel: without
// the user data. A set is therefore never replaced for its display alone.
func (s Set) definition() nftables.Set {
	return nftables.Set{
		Name: s.Name, IsMap: s.isMap(), KeyType: s.Key.kind, DataType: s.Value.kind,
		Interval: s.Interval, Concatenation: s.joinedRanges(),
		Dynamic: s.byRules(), HasTimeout: s.byRules(), Timeout: s.Timeout, Size: s.Size,
	}
}

// byRules reports whether rules put the elements there.
func (s Set) byRules() bool { return s.Timeout > 0 }

func (s Set) isMap() bool { return s.Value.bytes() > 0 }

// joinedRanges reports whether each field of the keys has a range of its own.
func (s Set) joinedRanges() bool { return s.Interval && s.Key.fields != nil }

// userdata is stored with the set and tells nft how to show its elements.
func (s Set) userdata() []byte {
	const (
		keyOrder    = 0 // NFTNL_UDATA_SET_KEYBYTEORDER
		valueOrder  = 1 // NFTNL_UDATA_SET_DATABYTEORDER
		keyTypeof   = 3 // NFTNL_UDATA_SET_KEY_TYPEOF
		valueTypeof = 4 // NFTNL_UDATA_SET_DATA_TYPEOF
	)
	b := tlv(keyOrder, s.Key.order())
	if s.isMap() {
		b = append(b, tlv(valueOrder, s.Value.order())...)
	}
	if s.Key.typeof != nil {
		b = append(b, tlv(keyTypeof, s.Key.typeof)...)
	}
	if s.Value.typeof != nil {
		b = append(b, tlv(valueTypeof, s.Value.typeof)...)
	}
	return b
}

// tlv is an attribute of user data: a byte for the type, one for the length,
// the value.
func tlv(typ byte, value []byte) []byte {
	return append([]byte{typ, byte(len(value))}, value...)
}
