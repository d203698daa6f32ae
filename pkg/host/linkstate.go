package host

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// bringUp sets the macvlan links of the plan up, including those that another program
// has set down. It removes the addresses of a link that stays down from the plan and
// returns their errors.
func (a *Addresses) bringUp(p *plan) []error {
	looked, up := make(map[int]bool), make(map[int]bool)
	for _, v := range p.add {
		if !looked[v.Link] {
			a.lookUp(v.Link)
			looked[v.Link] = true
		}
		up[v.Link] = a.virtual[v.Link]
	}
	for _, l := range p.renew {
		if a.names[l.Link] == "" {
			a.lookUp(l.Link) // The last lookup failed.
		}
		up[l.Link] = a.virtual[l.Link]
	}
	maps.DeleteFunc(up, func(_ int, virtual bool) bool { return !virtual })
	if len(up) == 0 {
		return nil
	}
	failed := a.setLinks(slices.Sorted(maps.Keys(up)), true)
	var errs []error
	// down reports whether the link of v is down, and records the error of v if so.
	down := func(v VirtualAddress) bool {
		err := failed[v.Link]
		if err != nil {
			errs = append(errs, a.failures(adding, []VirtualAddress{v}, fmt.Errorf("set the link up: %w", err))...)
		}
		return err != nil
	}
	p.add = slices.DeleteFunc(p.add, down)
	p.renew = slices.DeleteFunc(p.renew, func(l addressWithLabel) bool { return down(l.VirtualAddress) })
	return errs
}

// bringDown sets the macvlan links without a wanted address down: they must not receive
// the packets for the next Master.
func (a *Addresses) bringDown(want []VirtualAddress) []error {
	idle := maps.Clone(a.virtual)
	for _, v := range want {
		delete(idle, v.Link)
	}
	if len(idle) == 0 {
		return nil
	}
	failed := a.setLinks(slices.Sorted(maps.Keys(idle)), false)
	var errs []error
	for link := range idle {
		if err := failed[link]; err != nil {
			errs = append(errs, fmt.Errorf("set %s down: %w", a.names[link], err))
			continue
		}
		delete(a.virtual, link)
	}
	return errs
}

// setLinks sets links up or down, and returns the error of each link that failed. A
// deleted link counts as down.
func (a *Addresses) setLinks(links []int, up bool) map[int]error {
	var requests []*nl.NetlinkRequest
	for _, link := range links {
		requests = append(requests, setLink(link, up))
	}
	failed := make(map[int]error)
	var results []error
	err := a.use(func(c *conn) (err error) {
		results, err = c.batch(requests)
		return err
	})
	for i, link := range links {
		switch {
		case err != nil:
			failed[link] = err
		case errors.Is(results[i], unix.ENODEV) && !up:
		case results[i] != nil:
			failed[link] = results[i]
		}
	}
	return failed
}
