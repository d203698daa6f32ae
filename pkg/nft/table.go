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
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	for range attempts {
		err = t.try(c, want)
		if !errors.Is(err, errGeneration) {
			break
		}
	}
	if err != nil {
		t.known = nil
		return fmt.Errorf("update table %s: %w", t.spec.name, err)
	}
	return nil
}

func (t *table) try(c *conn, want func(contents) contents) error {
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
	messages := t.spec.changes(t.known, elements)
	if len(messages) == 0 {
		return nil
	}
	if err := c.commit(generation, messages); err != nil {
		return err
	}
	t.known = t.known.written(t.spec, elements)
	return nil
}
