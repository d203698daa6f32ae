package nft

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/desired"
)

// Datapath keeps the table inet kube_vrrp_vip of the network namespace it is
// used in. It is not safe for concurrent use, but for Repairs.
type Datapath struct {
	table *table
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

// NewDatapath returns a Datapath that has not looked at the kernel yet.
func NewDatapath() *Datapath {
	return &Datapath{
		table: newTable(datapathSpec),
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
func (d *Datapath) Sync(wanted desired.Datapath) error {
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
func (d *Datapath) write(next *state) error {
	current, unchanged, err := d.table.Read()
	if err != nil {
		return err
	}
	last := d.last
	d.last = nil // Until the update has succeeded.
	if unchanged && last != nil && slices.Equal(last.pods, next.pods) {
		old, new := d.difference(last, next)
		maps.Copy(d.replaced, old.flows())
		if err = d.table.Change(old, new); !errors.Is(err, errChanged) {
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
func (d *Datapath) written(next *state, new elements, err error) error {
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
func (d *Datapath) chooseSpec() error {
	if d.asked {
		return nil
	}
	var err error
	if d.portStays, err = d.sctpPortStays(); err != nil {
		return fmt.Errorf("ask whether SCTP packets can be written to: %w", err)
	}
	if d.asked = true; d.portStays {
		d.table.setSpec(olderSpec)
	}
	return nil
}

// Repairs returns how often the table had to be put right because somebody else
// had changed it. It may be called by any goroutine.
func (d *Datapath) Repairs() uint64 { return d.table.Repairs() }

const (
	// retryMin is the wait after the first Sync that failed. It doubles with
	// each further one, up to recheck.
	retryMin = 100 * time.Millisecond
	// recheck is how often Run looks for changes by others: until then a
	// firewall that was loaded with "flush ruleset" leaves the VIPs without
	// their Services. A look is one question to the kernel as long as nobody
	// changed any table.
	recheck = 5 * time.Second
)

// Run syncs to the newest state it has received until ctx is done. It tries
// again after an error, and looks every 5 s whether the table is still what
// it wrote. After each attempt it reports the result, nil if all is well.
func (d *Datapath) Run(ctx context.Context, wanted <-chan desired.Datapath, report func(error)) {
	run(ctx, wanted, d.Sync, report)
}

func run(ctx context.Context, states <-chan desired.Datapath, sync func(desired.Datapath) error, report func(error)) {
	var wanted desired.Datapath
	received := false
	retry := retryMin
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case d, ok := <-states:
			if !ok {
				states = nil // What was last wanted stays.
				continue
			}
			wanted, received = d, true
			for len(states) > 0 {
				wanted = <-states
			}
		case <-timer.C:
		}
		next := recheck
		if received {
			err := sync(wanted)
			report(err)
			if err == nil {
				retry = retryMin
			} else {
				next = retry
				retry = min(2*retry, recheck)
			}
		}
		timer.Reset(next)
	}
}
