package nft

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// attempts is how often an update is tried again because another program
// changed the ruleset at the same time.
const attempts = 20

// ErrChanged says that Change could not begin with the elements that the last
// update left: Replace can.
var ErrChanged = errors.New("the table is not as the last update left it")

// Table keeps one table of ours. It is not safe for concurrent use, except for
// Repairs.
type Table struct {
	spec *Spec

	// snapshot is what the kernel had after the last update or look, nil before
	// the first one.
	snapshot *snapshot
	// failed reports that the last update failed: the snapshot may be wrong.
	failed bool
	// broken reports that another program has changed the table, and that no
	// update has repaired it yet.
	broken  bool
	repairs atomic.Uint64

	// looked, if set by a test, is called between the look at the table and the
	// transaction.
	looked func()
}

// NewTable returns a table that has not looked at the kernel yet.
func NewTable(spec *Spec) *Table { return &Table{spec: spec} }

// SetSpec gives the table another static part, which the next Replace writes.
func (t *Table) SetSpec(spec *Spec) { t.spec, t.snapshot = spec, nil }

// Check asks the kernel, without changing anything, whether it supports a table,
// as if it were one more table of ours.
func Check(s Spec) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	s.Name = TableName + "_probe"
	return c.check(s.static(&snapshot{}))
}

// Remove removes tables. That they are absent is success.
func Remove(specs ...*Spec) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	for _, s := range specs {
		c.DelTable(c.AddTable(s.table())) // Deleting a table that is absent is an error.
	}
	if err := c.flush(); err != nil {
		return fmt.Errorf("remove tables %s: %w", TableName, err)
	}
	return nil
}

// Repairs returns how often the table was repaired because another program had
// changed it. It may be called by any goroutine.
func (t *Table) Repairs() uint64 { return t.repairs.Load() }

// Read returns the elements that the kernel has, and reports whether the table is
// as the last update left it; before the first update, whether its static part is
// as specified. It reads the table only if the ruleset has changed since. The
// elements must not be changed.
func (t *Table) Read() (current Elements, unchanged bool, err error) {
	err = t.retry(func(c *conn) error { return t.look(c) })
	if err != nil {
		return nil, false, err
	}
	return t.snapshot.elements, t.intact(), nil
}

// Replace makes all the elements of the table, and writes its static part if it
// is not as specified.
func (t *Table) Replace(all Elements) error {
	return t.retry(func(c *conn) error {
		if err := t.look(c); err != nil {
			return err
		}
		if err := t.writeStatic(c); err != nil {
			return err
		}
		return t.write(c, t.snapshot.elements, all)
	})
}

// Change replaces some elements: those of old that are not in new are deleted,
// those of new are there afterwards, all others stay. All of old must be in the
// table. It returns ErrChanged if another program has changed the ruleset since the
// last Read: then it is not known what the table has.
func (t *Table) Change(old, new Elements) error {
	if !t.intact() {
		return ErrChanged
	}
	if len(old) == 0 && len(new) == 0 {
		return nil
	}
	err := t.once(func(c *conn) error { return t.write(c, old, new) })
	if errors.Is(err, errGeneration) {
		return ErrChanged
	}
	return t.done(err)
}

// retry runs a piece of work again as long as another program changes the
// ruleset meanwhile.
func (t *Table) retry(work func(*conn) error) error {
	var err error
	for range attempts {
		if err = t.once(work); !errors.Is(err, errGeneration) {
			break
		}
	}
	return t.done(err)
}

// once runs a piece of work with a connection of its own.
func (t *Table) once(work func(*conn) error) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	return work(c)
}

// done notes how an update or a look ended.
func (t *Table) done(err error) error {
	if err != nil {
		t.failed = true
		return fmt.Errorf("update table %s %s: %w", FamilyName(t.spec.Family), t.spec.Name, err)
	}
	return nil
}

// intact reports whether the kernel has what the last update left, as far as the
// last look knows.
func (t *Table) intact() bool {
	return t.snapshot != nil && t.snapshot.specified && !t.failed && !t.broken
}

// look brings the snapshot up to date. It reads the table unless the generation
// shows that no program has changed any table since.
func (t *Table) look(c *conn) error {
	generation, err := c.generation()
	if err != nil {
		return err
	}
	if t.snapshot != nil && !t.failed && t.snapshot.generation == generation {
		return nil
	}
	found, err := c.read(t.spec, generation)
	if err != nil {
		return err
	}
	if t.snapshot != nil && !found.same(t.snapshot) {
		t.broken = true
	}
	t.snapshot = found
	return nil
}

// writeStatic writes the static part in a transaction of its own, if it is not
// as specified.
func (t *Table) writeStatic(c *conn) error {
	if t.snapshot.specified {
		return nil
	}
	if err := c.commit(t.snapshot.generation, t.spec.static(t.snapshot)); err != nil {
		return err
	}
	t.snapshot = t.snapshot.afterStatic(t.spec)
	return nil
}

// write replaces elements in one transaction, if there is any difference.
func (t *Table) write(c *conn, old, new Elements) error {
	if t.looked != nil {
		t.looked()
	}
	changed, err := c.change(t.spec, old, new)
	if changed {
		t.snapshot = t.snapshot.afterElements(old, new)
	}
	if changed || err != nil {
		err = t.checkGeneration(c, err)
	}
	if err != nil {
		return err
	}
	t.failed = false
	if t.broken {
		t.broken = false
		t.repairs.Add(1)
	}
	return nil
}

// checkGeneration returns errGeneration if another program has changed the
// ruleset since the look, else err. The library's transactions are for no certain
// generation: a change in between may be why one has failed, or it may have been
// made for elements that were not there any more.
func (t *Table) checkGeneration(c *conn, err error) error {
	now, genErr := c.generation()
	if genErr == nil && now != t.snapshot.generation {
		return errGeneration
	}
	return errors.Join(err, genErr)
}
