package nft

import (
	"context"
	"errors"
	"time"

	"kube-vrrp-vip/pkg/desired"
)

// Datapath keeps the table inet kube_vrrp_vip of the network namespace it is
// used in. It is not safe for concurrent use.
type Datapath struct {
	table table
	zones zones
}

// NewDatapath returns a Datapath that has not looked at the kernel yet.
func NewDatapath() *Datapath {
	return &Datapath{table: table{spec: datapathSpec}, zones: zones{busy: busyZones}}
}

// Sync makes the table forward exactly this. The first call adopts the table
// that is there, later ones write the difference in one transaction, and a
// call without any difference only looks. What others changed in the table is
// put right.
//
// A forward that cannot be done does not keep the others from being done; the
// error names it.
func (d *Datapath) Sync(wanted desired.Datapath) error {
	var problems []error
	err := d.table.update(func(have contents) contents {
		var want contents
		want, problems = d.contents(wanted, have)
		return want
	})
	return errors.Join(append(problems, err)...)
}

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

// contents returns the elements that are wanted, given those that are there, and
// an error for each forward that cannot be done.
func (d *Datapath) contents(wanted desired.Datapath, have contents) (contents, []error) {
	var problems []error
	var keys []zoneKey
	for _, f := range wanted.Forwards {
		if _, ok := familyOf(f.VIP); ok {
			keys = append(keys, zoneKeys(f)...)
		}
	}
	zones, err := d.zones.assign(keys, have)
	if err != nil {
		problems = append(problems, err)
	}
	want := emptyContents()
	want.addPods(wanted.PodCIDRs)
	for _, f := range wanted.Forwards {
		problems = append(problems, want.addForward(f, zones)...)
	}
	return want, problems
}
