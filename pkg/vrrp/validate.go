package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

const (
	maxDownAdverts   = 100
	maxTakeoverDelay = time.Minute
)

// Validate returns an error that names every field that is wrong, its value,
// and what is right.
func (c Config) Validate() error {
	var errs []error
	bad := func(field string, value any, right string) {
		errs = append(errs, fmt.Errorf("%s %v: want %s", field, value, right))
	}
	if c.Version != V2 && c.Version != V3 {
		bad("version", c.Version, "2 or 3")
	}
	if c.Family != IPv4 {
		bad("family", c.Family, "4 (IPv4)")
	}
	if c.VRID == 0 {
		bad("VRID", c.VRID, "1 to 255")
	}
	if c.Priority == PriorityResign || c.Priority == PriorityOwner {
		bad("priority", c.Priority, "1 to 254")
	}
	i := c.AdvertisementInterval
	switch {
	case c.Version == V2 && (i < time.Second || i > 255*time.Second || i%time.Second != 0):
		bad("advertisement interval", i, "1s to 255s in whole seconds, as version 2 has it")
	case c.Version != V2 && (i < centisecond || i > intervalMask*centisecond || i%centisecond != 0):
		bad("advertisement interval", i, "10ms to 40.95s in steps of 10ms")
	}
	if c.DownAdverts < 0 || c.DownAdverts > maxDownAdverts {
		bad("down adverts", c.DownAdverts, fmt.Sprintf("1 to %d, or 0 for %d", maxDownAdverts, defaultDownAdverts))
	}
	if c.TakeoverDelay < 0 || c.TakeoverDelay > maxTakeoverDelay {
		bad("takeover delay", c.TakeoverDelay, fmt.Sprintf("0 to %v", maxTakeoverDelay))
	}
	if !isHostIPv4(c.Source) {
		bad("source", c.Source, "the IPv4 address of a host")
	}
	if len(c.Addresses) < 1 || len(c.Addresses) > MaxAddresses {
		bad("addresses", len(c.Addresses), fmt.Sprintf("1 to %d of them", MaxAddresses))
	}
	seen := make(map[netip.Addr]bool, len(c.Addresses))
	for _, a := range c.Addresses {
		if !isHostIPv4(a) {
			bad("address", a, "the IPv4 address of a host")
		}
		if seen[a] {
			bad("address", a, "each address once")
		}
		seen[a] = true
	}
	return errors.Join(errs...)
}
