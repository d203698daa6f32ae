package datapath

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/nft"
)

// Rules keeps the table inet kube_vrrp_vip of the network namespace that it is used
// in. It is not safe for concurrent use, except for Repairs.
type Rules struct {
	table *nft.Table
	zones zones
	// last is the state that the table has; nil if the next update cannot begin
	// with it.
	last *state
	// replaced are the flows that the table had before an update that has not
	// succeeded yet, stale those whose connections are to be deleted, by forget.
	replaced, stale map[flow]bool
	forget          func(map[flow]bool) error
	// asked reports that sctpPortStays has answered, portStays is the answer.
	asked, portStays bool
	sctpPortStays    func() (bool, error)
}

// NewRules returns Rules that have not looked at the kernel yet.
func NewRules() *Rules {
	return &Rules{
		table:         nft.NewTable(datapathSpec),
		zones:         zones{busy: busyZones},
		replaced:      make(map[flow]bool),
		stale:         make(map[flow]bool),
		forget:        deleteConnections,
		sctpPortStays: sctpPortStays,
	}
}

// Sync makes the table forward exactly this. The first call adopts the table
// that is there, later ones write the difference in one transaction, and a
// call without any difference only looks. What other programs changed in the table
// is repaired.
//
// Afterwards the conntrack entries of ports that have another target, or none, are
// deleted. The next call tries again to delete those that could not be.
//
// A forward that cannot be written does not keep the others from being written; the
// error names it. The argument is kept, and must not be changed afterwards.
func (r *Rules) Sync(wanted desired.Datapath) error {
	if err := r.chooseSpec(); err != nil {
		return err
	}
	next := newState(wanted)
	err := r.write(next)
	forgetErr := r.forget(r.stale)
	if forgetErr == nil {
		clear(r.stale)
	}
	return errors.Join(append(next.errors(), err, forgetErr)...)
}

// write writes the difference from the last state if that is what the table
// holds, else all of the next state.
func (r *Rules) write(next *state) error {
	current, unchanged, err := r.table.Read()
	if err != nil {
		return err
	}
	last := r.last
	r.last = nil // Until the update has succeeded.
	if unchanged && last != nil && slices.Equal(last.pods, next.pods) {
		old, new := r.difference(last, next)
		maps.Copy(r.replaced, old.flows())
		if err = r.table.Change(old, new); !errors.Is(err, nft.ErrChanged) {
			return r.written(next, new, err)
		}
		if current, _, err = r.table.Read(); err != nil {
			return err
		}
	}
	all := r.allElements(next, current)
	maps.Copy(r.replaced, elements(current).flows())
	return r.written(next, all, r.table.Replace(all))
}

// written notes that the elements of the next state are in the table, unless err
// says that they are not. The flows that they have replaced are stale then.
func (r *Rules) written(next *state, new elements, err error) error {
	if err != nil {
		return err
	}
	maps.Copy(r.stale, r.replaced)
	clear(r.replaced)
	for f := range new.flows() {
		delete(r.stale, f)
	}
	if next.complete() {
		r.last = next
	}
	return nil
}

// chooseSpec chooses the specification that the kernel supports.
func (r *Rules) chooseSpec() error {
	if r.asked {
		return nil
	}
	var err error
	if r.portStays, err = r.sctpPortStays(); err != nil {
		return fmt.Errorf("ask whether SCTP packets can be written to: %w", err)
	}
	if r.asked = true; r.portStays {
		r.table.SetSpec(olderSpec)
	}
	return nil
}

// Repairs returns how often the table was repaired because another program had
// changed it. It may be called by any goroutine.
func (r *Rules) Repairs() uint64 { return r.table.Repairs() }

// Cleanup removes the table. That it is absent is success.
func Cleanup() error { return nft.Remove(datapathSpec) }
