package nft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// view is what the kernel holds of a table in one generation of the ruleset.
type view struct {
	generation uint32
	exists     bool
	flags      uint32
	chains     map[string]string   // Descriptions, by name.
	sets       map[string]string   // Descriptions, by name.
	rules      map[string][]string // User data in order, by chain.
	elements   contents
}

// matches tells that the static part is the specified one.
func (v *view) matches(s *spec) bool {
	if !v.exists || v.flags != 0 || len(v.sets) != len(s.sets) || len(v.chains) != len(s.chains) {
		return false
	}
	for _, set := range s.sets {
		if v.sets[set.name] != set.describe() {
			return false
		}
	}
	for _, chain := range s.chains {
		if v.chains[chain.name] != chain.describe() || !slices.Equal(v.rules[chain.name], userdata(chain.rules)) {
			return false
		}
	}
	return true
}

func userdata(rules []rule) []string {
	var all []string
	for _, r := range rules {
		all = append(all, string(r.userdata()))
	}
	return all
}

// written is the view after a transaction made for this one: the table is as
// specified and has the wanted elements.
func (v *view) written(s *spec, want contents) *view {
	w := &view{
		generation: v.generation + 1,
		exists:     true,
		chains:     make(map[string]string),
		sets:       make(map[string]string),
		rules:      make(map[string][]string),
		elements:   want,
	}
	if w.generation == 0 { // The kernel leaves zero out.
		w.generation++
	}
	for _, set := range s.sets {
		w.sets[set.name] = set.describe()
	}
	for _, chain := range s.chains {
		w.chains[chain.name] = chain.describe()
		w.rules[chain.name] = userdata(chain.rules)
	}
	return w
}

// read returns what the kernel holds of the table, all of it of the given
// generation, or errGeneration.
func (c *conn) read(s *spec, generation uint32) (*view, error) {
	v := &view{
		generation: generation,
		chains:     make(map[string]string),
		sets:       make(map[string]string),
		rules:      make(map[string][]string),
		elements:   make(contents),
	}
	err := c.readTable(s, v)
	if err == nil && v.exists {
		err = errors.Join(c.readChains(s, v), c.readRules(s, v), c.readSets(s, v))
	}
	// What was read is of one piece only if nothing has changed meanwhile,
	// and if something has, the errors may come from that.
	now, genErr := c.generation()
	switch {
	case genErr != nil:
		return nil, errors.Join(err, genErr)
	case now != generation:
		return nil, errGeneration
	case err != nil:
		return nil, err
	}
	return v, nil
}

func (c *conn) readTable(s *spec, v *view) error {
	replies, err := c.get(unix.NFT_MSG_GETTABLE, 0, s.family, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, s.name)
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get table: %w", err)
	}
	for _, r := range replies {
		v.exists = true
		if err := decode(r, func(ad *netlink.AttributeDecoder) {
			if ad.Type() == unix.NFTA_TABLE_FLAGS {
				v.flags = ad.Uint32()
			}
		}); err != nil {
			return fmt.Errorf("parse table: %w", err)
		}
	}
	return nil
}

func (c *conn) readChains(s *spec, v *view) error {
	// The kernel lists the chains of all tables of the family.
	replies, err := c.get(unix.NFT_MSG_GETCHAIN, netlink.Dump, s.family, nil)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, r := range replies {
		var table, name string
		var h *hook
		var kind string
		var policy uint32
		if err := decode(r, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_CHAIN_TABLE:
				table = ad.String()
			case unix.NFTA_CHAIN_NAME:
				name = ad.String()
			case unix.NFTA_CHAIN_TYPE:
				kind = ad.String()
			case unix.NFTA_CHAIN_POLICY:
				policy = ad.Uint32()
			case unix.NFTA_CHAIN_HOOK:
				h = &hook{}
				each(ad, func(ad *netlink.AttributeDecoder) {
					switch ad.Type() {
					case unix.NFTA_HOOK_HOOKNUM:
						h.number = ad.Uint32()
					case unix.NFTA_HOOK_PRIORITY:
						h.priority = ad.Int32()
					}
				})
			}
		}); err != nil {
			return fmt.Errorf("parse chain: %w", err)
		}
		if table != s.name {
			continue
		}
		if h != nil {
			h.kind = kind
		}
		v.chains[name] = describeChain(h, policy)
	}
	return nil
}

func (c *conn) readRules(s *spec, v *view) error {
	replies, err := c.get(unix.NFT_MSG_GETRULE, netlink.Dump, s.family, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, s.name)
	})
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	for _, r := range replies {
		var chain, userdata string
		if err := decode(r, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_RULE_CHAIN:
				chain = ad.String()
			case unix.NFTA_RULE_USERDATA:
				userdata = string(ad.Bytes())
			}
		}); err != nil {
			return fmt.Errorf("parse rule: %w", err)
		}
		v.rules[chain] = append(v.rules[chain], userdata)
	}
	return nil
}

func (c *conn) readSets(s *spec, v *view) error {
	replies, err := c.get(unix.NFT_MSG_GETSET, netlink.Dump, s.family, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, s.name)
	})
	if err != nil {
		return fmt.Errorf("list sets: %w", err)
	}
	for _, r := range replies {
		var name string
		var flags, keyType, keyLen, valueType, valueLen uint32
		var userdata []byte
		if err := decode(r, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_SET_NAME:
				name = ad.String()
			case unix.NFTA_SET_FLAGS:
				flags = ad.Uint32()
			case unix.NFTA_SET_KEY_TYPE:
				keyType = ad.Uint32()
			case unix.NFTA_SET_KEY_LEN:
				keyLen = ad.Uint32()
			case unix.NFTA_SET_DATA_TYPE:
				valueType = ad.Uint32()
			case unix.NFTA_SET_DATA_LEN:
				valueLen = ad.Uint32()
			case unix.NFTA_SET_USERDATA:
				userdata = ad.Bytes()
			}
		}); err != nil {
			return fmt.Errorf("parse set: %w", err)
		}
		if flags&unix.NFT_SET_ANONYMOUS != 0 {
			continue // It belongs to a rule that somebody added, and goes with it.
		}
		v.sets[name] = describeSet(flags, keyType, keyLen, valueType, valueLen, userdata)
		if err := c.readElements(s, name, v); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) readElements(s *spec, set string, v *view) error {
	replies, err := c.get(unix.NFT_MSG_GETSETELEM, netlink.Dump, s.family, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, s.name)
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	})
	if err != nil {
		return fmt.Errorf("list elements of %s: %w", set, err)
	}
	elements := make(map[string]string)
	v.elements[set] = elements
	for _, r := range replies {
		if err := decode(r, func(ad *netlink.AttributeDecoder) {
			if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return
			}
			each(ad, func(ad *netlink.AttributeDecoder) {
				var key, value string
				each(ad, func(ad *netlink.AttributeDecoder) {
					switch ad.Type() {
					case unix.NFTA_SET_ELEM_KEY:
						key = dataValue(ad)
					case unix.NFTA_SET_ELEM_DATA:
						value = dataValue(ad)
					}
				})
				elements[key] = value
			})
		}); err != nil {
			return fmt.Errorf("parse elements of %s: %w", set, err)
		}
	}
	return nil
}

// dataValue returns the value of an attribute made by data.
func dataValue(ad *netlink.AttributeDecoder) (value string) {
	each(ad, func(ad *netlink.AttributeDecoder) {
		if ad.Type() == unix.NFTA_DATA_VALUE {
			value = string(ad.Bytes())
		}
	})
	return value
}
