package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// MaxTakeoverDelay is the longest Config.TakeoverDelay.
const MaxTakeoverDelay = time.Minute

// maxConfigAddresses is more than an advertisement can carry: the addresses that do
// not fit are held without being advertised.
const maxConfigAddresses = 4096

func fieldError(field string, value any, right string) error {
	return fmt.Errorf("%s %v: want %s", field, value, right)
}

// Validate returns an error that names every invalid field, its value, and the
// valid ones.
func (c Config) Validate() error {
	errs := []error{c.checkSettings()}
	bad := func(field string, value any, right string) {
		errs = append(errs, fieldError(field, value, right))
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
	if c.TakeoverDelay < 0 || c.TakeoverDelay > MaxTakeoverDelay {
		bad("takeover delay", c.TakeoverDelay, fmt.Sprintf("0 to %v", MaxTakeoverDelay))
	}
	if c.TakeoverStep < 0 || c.TakeoverStep > MaxTakeoverDelay {
		bad("takeover step", c.TakeoverStep, fmt.Sprintf("0 to %v", MaxTakeoverDelay))
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
