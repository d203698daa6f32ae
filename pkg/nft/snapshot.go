package nft

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
)

// snapshot is what the kernel holds of a table in one generation of the ruleset.
type snapshot struct {
	generation uint32
	elements   Elements
	// specified reports that the static part is as specified. Otherwise the
	// fields below describe it.
	specified bool
	exists    bool
	flags     uint32
	chains    map[string]string       // Descriptions, by name.
	sets      map[string]nftables.Set // Definitions, by name.
	rules     map[string][]string     // User data in order, by chain.
}

// matches reports whether the static part is the specified one.
func (snap *snapshot) matches(s *Spec) bool {
	if !snap.exists || snap.flags != 0 || len(snap.sets) != len(s.Sets) || len(snap.chains) != len(s.Chains) {
		return false
	}
	for _, set := range s.Sets {
		if snap.sets[set.Name] != set.definition() {
			return false
		}
	}
	for _, chain := range s.Chains {
		if snap.chains[chain.Name] != chain.describe() || !slices.Equal(snap.rules[chain.Name], userdata(chain.Rules)) {
			return false
		}
	}
	return true
}

func userdata(rules []Rule) []string {
	var all []string
	for _, r := range rules {
		all = append(all, string(r.userdata()))
	}
	return all
}

// afterStatic returns the snapshot after the static transaction that was made
// for this one.
func (snap *snapshot) afterStatic(s *Spec) *snapshot {
	after := &snapshot{generation: snap.generation, specified: true, elements: make(Elements)}
	for _, set := range s.Sets {
		if snap.sets[set.Name] == set.definition() {
			after.elements[set.Name] = snap.elements[set.Name]
		}
	}
	after.count()
	return after
}

// afterElements returns the snapshot after a transaction that replaced elements.
// It takes the map of the elements over from this one.
func (snap *snapshot) afterElements(old, new Elements) *snapshot {
	after := *snap
	for set, elements := range old {
		for key := range elements {
			if _, ok := new[set][key]; !ok {
				delete(after.elements[set], key)
			}
		}
	}
	for set, elements := range new {
		if after.elements[set] == nil {
			after.elements[set] = make(map[string]string, len(elements))
		}
		maps.Copy(after.elements[set], elements)
	}
	after.count()
	return &after
}

// same reports whether two snapshots show the same table, of any generation.
func (snap *snapshot) same(other *snapshot) bool {
	for set := range snap.elements {
		if !maps.Equal(snap.elements[set], other.elements[set]) {
			return false
		}
	}
	for set := range other.elements {
		if len(snap.elements[set]) != len(other.elements[set]) {
			return false
		}
	}
	return snap.specified == other.specified
}

// count adds a transaction to the generation. The kernel leaves zero out.
func (snap *snapshot) count() {
	snap.generation++
	if snap.generation == 0 {
		snap.generation++
	}
}

// read returns what the kernel holds of the table, all of it of the given
// generation, or errGeneration.
func (c *conn) read(s *Spec, generation uint32) (*snapshot, error) {
	snap := &snapshot{
		generation: generation,
		elements:   make(Elements),
		chains:     make(map[string]string),
		sets:       make(map[string]nftables.Set),
		rules:      make(map[string][]string),
	}
	err := c.readTable(s, snap)
	if err == nil && snap.exists {
		err = errors.Join(c.readChains(s, snap), c.readRules(s, snap), c.readSets(s, snap))
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
	snap.specified = snap.matches(s)
	return snap, nil
}

func (c *conn) readTable(s *Spec, snap *snapshot) error {
	table, err := c.ListTableOfFamily(s.Name, s.Family)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get table: %w", err)
	}
	snap.exists, snap.flags = true, table.Flags
	return nil
}

func (c *conn) readChains(s *Spec, snap *snapshot) error {
	// The kernel lists the chains of all tables of the family.
	chains, err := c.ListChainsOfTableFamily(s.Family)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	devices, err := c.readDevices(s)
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if chain.Table.Name != s.Name {
			continue
		}
		var h *Hook
		var policy nftables.ChainPolicy
		if chain.Hooknum != nil && chain.Priority != nil && chain.Policy != nil {
			h = &Hook{string(chain.Type), uint32(*chain.Hooknum), int32(*chain.Priority)}
			policy = *chain.Policy
		}
		snap.chains[chain.Name] = describeChain(h, devices[chain.Name], uint32(policy))
	}
	return nil
}

// readDevices returns the device of each chain that has one, which the library
// does not read.
func (c *conn) readDevices(s *Spec) (map[string]string, error) {
	if s.Family != nftables.TableFamilyNetdev {
		return nil, nil
	}
	replies, err := c.get(unix.NFT_MSG_GETCHAIN, netlink.Dump, s.Family, nil)
	if err != nil {
		return nil, fmt.Errorf("list devices of chains: %w", err)
	}
	devices := make(map[string]string)
	for _, r := range replies {
		var table, chain, device string
		if err := nfnetlink.Decode(r, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_CHAIN_TABLE:
				table = ad.String()
			case unix.NFTA_CHAIN_NAME:
				chain = ad.String()
			case unix.NFTA_CHAIN_HOOK:
				nfnetlink.DecodeNested(ad, func(ad *netlink.AttributeDecoder) {
					if ad.Type() == unix.NFTA_HOOK_DEV {
						device = ad.String()
					}
				})
			}
		}); err != nil {
			return nil, fmt.Errorf("parse chain: %w", err)
		}
		if table == s.Name && device != "" {
			devices[chain] = device
		}
	}
	return devices, nil
}

// readRules does not use the library, which would parse the expressions too,
// and knows only some of those that others might add.
func (c *conn) readRules(s *Spec, snap *snapshot) error {
	replies, err := c.get(unix.NFT_MSG_GETRULE, netlink.Dump, s.Family, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, s.Name)
	})
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	for _, r := range replies {
		var chain, userdata string
		if err := nfnetlink.Decode(r, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_RULE_CHAIN:
				chain = ad.String()
			case unix.NFTA_RULE_USERDATA:
				userdata = string(ad.Bytes())
			}
		}); err != nil {
			return fmt.Errorf("parse rule: %w", err)
		}
		snap.rules[chain] = append(snap.rules[chain], userdata)
	}
	return nil
}

func (c *conn) readSets(s *Spec, snap *snapshot) error {
	sets, err := c.GetSets(s.table())
	if err != nil {
		// The library fails for all sets if it does not know the type of one
		// that others added, such as one of six fields.
		if sets, err = c.ownSets(s); err != nil {
			return err
		}
	}
	for _, set := range sets {
		if set.Anonymous {
			continue // It belongs to a rule that another program added, and goes with it.
		}
		definition := *set
		definition.Table = nil
		snap.sets[set.Name] = definition
		if set.Dynamic {
			continue // Its elements come and go by rules.
		}
		elements, err := c.GetSetElements(set)
		if err != nil {
			return fmt.Errorf("list elements of %s: %w", set.Name, err)
		}
		values := make(map[string]string, len(elements))
		for _, e := range elements {
			values[keyOf(e)] = string(e.Val)
		}
		snap.elements[set.Name] = values
	}
	return nil
}

// ownSets returns the specified sets that there are.
func (c *conn) ownSets(s *Spec) ([]*nftables.Set, error) {
	var sets []*nftables.Set
	for _, set := range s.Sets {
		found, err := c.GetSetByName(s.table(), set.Name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("get set %s: %w", set.Name, err)
		}
		sets = append(sets, found)
	}
	return sets, nil
}
