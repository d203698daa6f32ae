package nft

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
)

// elementsPerMessage keeps the list of elements, some 60 bytes each, well
// below the 64 KiB that an attribute can hold.
const elementsPerMessage = 500

// change replaces elements of a table in one transaction, and reports whether
// there was any difference.
func (c *conn) change(s *Spec, old, new Elements) (bool, error) {
	changed := false
	for _, set := range s.Sets {
		target := set.definition()
		target.Table = s.table()
		present := old[set.Name]
		// Another program's element for all other keys: the library cannot name it.
		_, flush := present[""]
		// The kernel takes some ranges for overlapping if the end of one that goes
		// stays as the end of another one, so they are never changed in part.
		if set.Interval && !set.joinedRanges() {
			flush = flush || len(present) > 0 && !maps.Equal(present, new[set.Name])
		}
		if flush {
			c.FlushSet(&target)
			changed, present = true, nil
		}
		del, add := difference(set, present, new[set.Name])
		for elements := range slices.Chunk(del, elementsPerMessage) {
			if err := c.SetDeleteElements(&target, elements); err != nil {
				return false, fmt.Errorf("delete elements of %s: %w", set.Name, err)
			}
			changed = true
		}
		for elements := range slices.Chunk(add, elementsPerMessage) {
			if err := c.SetAddElements(&target, elements); err != nil {
				return false, fmt.Errorf("add elements to %s: %w", set.Name, err)
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

// difference returns the elements of a set to delete and those to add. One whose
// value changes is both: the kernel has no other way.
func difference(s Set, old, new map[string]string) (del, add []nftables.SetElement) {
	for key, before := range old {
		if value, ok := new[key]; !ok || value != before {
			del = append(del, s.element(key, ""))
		}
	}
	for key, value := range new {
		if before, ok := old[key]; !ok || value != before {
			add = append(add, s.element(key, value))
		}
	}
	if s.Interval {
		slices.SortFunc(del, byRange)
		slices.SortFunc(add, byRange)
	}
	return del, add
}

// byRange puts the end of a range before the next one, which may begin there.
// The kernel checks ranges as they come.
func byRange(a, b nftables.SetElement) int {
	if n := bytes.Compare(a.Key, b.Key); n != 0 {
		return n
	}
	switch {
	case a.IntervalEnd == b.IntervalEnd:
		return 0
	case a.IntervalEnd:
		return -1
	default:
		return 1
	}
}

// element is an element as google/nftables wants it.
func (s Set) element(key, value string) nftables.SetElement {
	e := nftables.SetElement{Key: []byte(key), Val: []byte(value)}
	if n := int(s.Key.bytes()); s.Interval && len(key) > n {
		e.Key = []byte(key[:n])
		if s.joinedRanges() {
			e.KeyEnd = []byte(key[n:])
		} else {
			e.IntervalEnd = true
		}
	}
	return e
}

// keyOf is the key of an element in contents.
func keyOf(e nftables.SetElement) string {
	key := string(e.Key) + string(e.KeyEnd)
	if e.IntervalEnd {
		key += rangeEnd
	}
	return key
}

// rangeEnd is behind a key that is the first after a range.
const rangeEnd = "e"

// RangeKeys returns the keys of a prefix of addresses in a set of ranges. fields are
// the fields before the address, which are the same at both ends: with them the range
// is one element of two keys, the first and the last address. Without them it is an
// element for the first address, and one for the first address past the prefix, if
// any.
func RangeKeys(fields string, p netip.Prefix) []string {
	first := p.Masked().Addr().AsSlice()
	last := slices.Clone(first)
	for i := p.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	if fields != "" {
		return []string{fields + string(first) + fields + string(last)}
	}
	keys := []string{string(first)}
	if last, ok := netip.AddrFromSlice(last); ok {
		if next := last.Next(); next.IsValid() {
			keys = append(keys, string(next.AsSlice())+rangeEnd)
		}
	}
	return keys
}
