package nft

import (
	"errors"
	"fmt"
)

// attempts is how often an update is tried again because somebody else
// changed the ruleset at the same time.
const attempts = 20

// table is one table of ours and what is known of it.
type table struct {
	spec *spec
	// known is what the kernel had after the last update, nil before the
	// first.
	known *view
}

// update brings the table to the elements that want returns. want is given
// the present elements and is called again when they have changed meanwhile.
func (t *table) update(want func(have contents) contents) error {
	var err error
	for range attempts {
		if err = t.try(want); !errors.Is(err, errGeneration) {
			break
		}
	}
	if err != nil {
		t.known = nil
		return fmt.Errorf("update table %s: %w", t.spec.name, err)
	}
	return nil
}

func (t *table) try(want func(contents) contents) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	generation, err := c.generation()
	if err != nil {
		return err
	}
	if t.known == nil || t.known.generation != generation {
		if t.known, err = c.read(t.spec, generation); err != nil {
			return err
		}
	}
	elements := want(t.known.elements)
	if !t.known.specified {
		if err := c.commit(generation, t.spec.static(t.known)); err != nil {
			return err
		}
		t.known = t.known.afterStatic(t.spec)
	}
	changed, err := c.change(t.spec, t.known.elements, elements)
	if !changed && err == nil {
		return nil
	}
	if err == nil {
		t.known = t.known.afterElements(elements)
	}
	// The library's transactions are for no certain generation. If somebody
	// else came between, that is why this one failed, or it may have been made
	// for elements that were not there any more.
	now, genErr := c.generation()
	if genErr == nil && now != t.known.generation {
		return errGeneration
	}
	return errors.Join(err, genErr)
}
