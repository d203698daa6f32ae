package datapath

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/nft"
)

// Rules keeps the table inet kube_vrrp_vip of the network namespace it is
// used in. It is not safe for concurrent use, but for Repairs.
type Rules struct {
	table *nft.Table
	zones zones
	// last is what the table was last made for; nil if the next update cannot
	// begin with it.
	last *state
	// replaced are the flows that the table had before an update that has not
	// succeeded yet, stale those whose connections are to be deleted, by forget.
	replaced, stale map[flow]bool
	forget          func(map[flow]bool) error
	// asked reports that sctpPortStays has answered, portStays is the answer.
	asked, portStays bool
	sctpPortStays    func() (bool, error)
}

// NewRules returns a Datapath that has not looked at the kernel yet.
func NewRules() *Rules {
	return &Rules{
		table: nft.NewTable(datapathSpec),
		zones: zones{busy: busyZones}, replaced: make(map[flow]bool), stale: make(map[flow]bool), forget: deleteConnections, sctpPortStays: sctpPortStays,
	}
}

// Sync makes the table forward exactly this. The first call adopts the table
// that is there, later ones write the difference in one transaction, and a
// call without any difference only looks. What others changed in the table is
// put right.
//
// Afterwards the conntrack entries of what has another target, or none, are
// deleted. Those that cannot be are tried again by the next call.
//
// A forward that cannot be done does not keep the others from being done; the
// error names it. What is wanted is kept, and must not be changed afterwards.
func (d *Rules) Sync(wanted desired.Datapath) error {
	if err := d.chooseSpec(); err != nil {
		return err
	}
	next := newState(wanted)
	err := d.write(next)
	forgetErr := d.forget(d.stale)
	if forgetErr == nil {
		clear(d.stale)
	}
	return errors.Join(append(next.errors(), err, forgetErr)...)
}

// write writes the difference from the last state if that is what the table
// holds, else all of the next state.
func (d *Rules) write(next *state) error {
	current, unchanged, err := d.table.Read()
	if err != nil {
		return err
	}
	last := d.last
	d.last = nil // Until the update has succeeded.
	if unchanged && last != nil && slices.Equal(last.pods, next.pods) {
		old, new := d.difference(last, next)
		maps.Copy(d.replaced, old.flows())
		if err = d.table.Change(old, new); !errors.Is(err, nft.ErrChanged) {
			return d.written(next, new, err)
		}
		if current, _, err = d.table.Read(); err != nil {
			return err
		}
	}
	all := d.whole(next, current)
	maps.Copy(d.replaced, elements(current).flows())
	return d.written(next, all, d.table.Replace(all))
}

// written notes that the elements of the next state are in the table, unless err
// says that they are not. The flows that they have replaced are stale then.
func (d *Rules) written(next *state, new elements, err error) error {
	if err != nil {
		return err
	}
	maps.Copy(d.stale, d.replaced)
	clear(d.replaced)
	for f := range new.flows() {
		delete(d.stale, f)
	}
	if next.base() {
		d.last = next
	}
	return nil
}

// chooseSpec chooses the specification that the kernel supports.
func (d *Rules) chooseSpec() error {
	if d.asked {
		return nil
	}
	var err error
	if d.portStays, err = d.sctpPortStays(); err != nil {
		return fmt.Errorf("ask whether SCTP packets can be written to: %w", err)
	}
	if d.asked = true; d.portStays {
		d.table.SetSpec(olderSpec)
	}
	return nil
}

// Repairs returns how often the table had to be put right because somebody else
// had changed it. It may be called by any goroutine.
func (d *Rules) Repairs() uint64 { return d.table.Repairs() }
