package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

const (
	maxDownAdverts        = 100
	maxTakeoverDelay      = time.Minute
	maxPreemptDelay       = 1000 * time.Second
	maxAdvertsPerInterval = 4
	// maxConfigAddresses is more than advertisements can carry: addresses
	// beyond that are held without being advertised.
	maxConfigAddresses = 4096
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
	switch {
	case c.Family != IPv4 && c.Family != IPv6:
		bad("family", c.Family, "4 (IPv4) or 6 (IPv6)")
	case c.Family == IPv6 && c.Version == V2:
		bad("version", c.Version, "3, the only one over IPv6")
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
	if c.TakeoverStep < 0 || c.TakeoverStep > maxTakeoverDelay {
		bad("takeover step", c.TakeoverStep, fmt.Sprintf("0 to %v", maxTakeoverDelay))
	}
	if c.PreemptDelay < 0 || c.PreemptDelay > maxPreemptDelay {
		bad("preempt delay", c.PreemptDelay, fmt.Sprintf("0 to %v", maxPreemptDelay))
	}
	switch n := c.AdvertsPerInterval; {
	case n < 0 || n > maxAdvertsPerInterval:
		bad("adverts per interval", n, fmt.Sprintf("1 to %d, or 0 for 1", maxAdvertsPerInterval))
	case n > 1 && c.Version == V2:
		bad("adverts per interval", n, "1, as version 2 has it")
	}
	if c.Version != V2 && c.Password != (Password{}) {
		bad("password", c.Password, "none, as version 3 has no authentication")
	}
	switch choice := c.Version == V3 && c.Family == IPv4; {
	case c.Checksum == ChecksumNone:
	case choice && c.Checksum != ChecksumPseudoHeader && c.Checksum != ChecksumMessage:
		bad("checksum", c.Checksum, fmt.Sprintf("%v or %v", ChecksumPseudoHeader, ChecksumMessage))
	case !choice:
		bad("checksum", c.Checksum, "none, as only version 3 over IPv4 has a choice")
	}
	host := "the IPv4 address of a host"
	if c.Family == IPv6 {
		host = "the IPv6 address of a host"
	}
	switch {
	case !isHost(c.Source, c.Family):
		bad("source", c.Source, host)
	case c.Family == IPv6 && !c.Unicast && !c.Source.IsLinkLocalUnicast():
		bad("source", c.Source, "a link-local address, as IPv6 multicast is sent from")
	}
	for _, a := range c.Peers {
		if !isHost(a, c.Family) {
			bad("peer", a, host)
		}
	}
	if len(c.Addresses) < 1 || len(c.Addresses) > maxConfigAddresses {
		bad("addresses", len(c.Addresses), fmt.Sprintf("1 to %d of them", maxConfigAddresses))
	}
	seen := make(map[netip.Addr]bool, len(c.Addresses))
	for _, a := range c.Addresses {
		if !isHost(a, c.Family) {
			bad("address", a, host)
		}
		if seen[a] {
			bad("address", a, "each address once")
		}
		seen[a] = true
	}
	return errors.Join(errs...)
}
