package nft

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// attempts is how often an update is tried again because somebody else
// changed the ruleset at the same time.
const attempts = 20

// table is one table of ours and what is known of it.
type table struct {
	spec *spec
	// changed, if there is one, is told of each change of elements.
	changed func(was, is contents)

	// known is what the kernel had after the last update that changed
	// something, nil before the first look.
	known *view
	// failed tells that the last update failed.
	failed bool
	// broken tells that others have changed what is known, and that it is not
	// put right yet.
	broken bool
	// repairs counts when it was.
	repairs atomic.Uint64
}

// A wanted returns what the elements of a table are to be, given those that it
// has. ours tells that they are what the last update left, which did not fail.
// Elements in was that are not in is go, those in is are put there, all others
// stay; a nil was stands for all that there are.
type wanted func(have contents, ours bool) (was, is contents)

// update brings the table to the elements that want returns, which is called
// again when somebody else has changed them meanwhile.
func (t *table) update(want wanted) error {
	var err error
	for range attempts {
		if err = t.try(want); !errors.Is(err, errGeneration) {
			break
		}
	}
	t.failed = err != nil
	if err != nil {
		return fmt.Errorf("update table %s %s: %w", t.spec.familyName(), t.spec.name, err)
	}
	if t.broken {
		t.broken = false
		t.repairs.Add(1)
	}
	return nil
}

func (t *table) try(want wanted) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	generation, err := c.generation()
	if err != nil {
		return err
	}
	ours := t.known != nil && !t.failed
	if !ours || t.known.generation != generation {
		found, err := c.read(t.spec, generation)
		if err != nil {
			return err
		}
		if t.known != nil && !found.same(t.known) {
			t.broken, ours = true, false
		}
		t.known = found
	}
	was, is := want(t.known.elements, ours)
	if !t.known.specified {
		if err := c.commit(generation, t.spec.static(t.known)); err != nil {
			return err
		}
		t.known = t.known.afterStatic(t.spec)
	}
	if was == nil {
		was = t.known.elements
	}
	changed, err := c.change(t.spec, was, is)
	if !changed && err == nil {
		return nil
	}
	if err == nil {
		if t.changed != nil {
			t.changed(was, is)
		}
		t.known = t.known.afterElements(was, is)
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
