package nft

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
)

// elementsPerMessage keeps the list of elements, some 60 bytes each, well
// below the 64 KiB that an attribute can hold.
const elementsPerMessage = 500

// change brings the elements of a table from what it has to what is wanted, in
// one transaction, and tells whether there was anything to change.
func (c *conn) change(s *spec, have, want contents) (bool, error) {
	changed := false
	for _, set := range s.sets {
		target := set.definition()
		target.Table = s.table()
		present := have[set.name]
		if _, ok := present[""]; ok {
			// Somebody's element for all other keys. The library cannot say it.
			c.FlushSet(&target)
			changed, present = true, nil
		}
		del, add := difference(present, want[set.name])
		for elements := range slices.Chunk(del, elementsPerMessage) {
			if err := c.SetDeleteElements(&target, elements); err != nil {
				return false, fmt.Errorf("delete elements of %s: %w", set.name, err)
			}
			changed = true
		}
		for elements := range slices.Chunk(add, elementsPerMessage) {
			if err := c.SetAddElements(&target, elements); err != nil {
				return false, fmt.Errorf("add elements to %s: %w", set.name, err)
			}
			changed = true
		}
	}
	if !changed {
		return false, nil
	}
	if err := c.flush(); err != nil {
		return false, fmt.Errorf("change elements: %w", err)
	}
	return true, nil
}

// difference returns the elements to delete and the elements to add. One whose
// value changes is both: the kernel has no other way.
func difference(have, want map[string]string) (del, add []nftables.SetElement) {
	for key, old := range have {
		if value, ok := want[key]; !ok || value != old {
			del = append(del, nftables.SetElement{Key: []byte(key)})
		}
	}
	for key, value := range want {
		if old, ok := have[key]; !ok || value != old {
			add = append(add, nftables.SetElement{Key: []byte(key), Val: []byte(value)})
		}
	}
	return del, add
}
