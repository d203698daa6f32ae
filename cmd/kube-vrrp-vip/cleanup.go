package main

import (
	"errors"
	"fmt"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/neighbor"
)

// cleanup removes what a daemon leaves on a node on purpose: its tables, which
// outlive it so that a restart interrupts nobody, addresses whose lease has not
// ended yet, and the links with virtual MAC addresses of one that was killed.
func cleanup() (err error) {
	addresses, err := host.NewAddresses(lifetime)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer func() { err = errors.Join(err, addresses.Close()) }()
	virtualLinks := &host.VirtualLinks{}
	defer func() { err = errors.Join(err, virtualLinks.Close()) }()
	_, err = addresses.RemoveLeftovers()
	_, linkErr := virtualLinks.Set(nil)
	return errors.Join(err, linkErr, removeTables())
}

// removeTables removes all nftables tables of ours.
func removeTables() error { return errors.Join(datapath.Cleanup(), neighbor.Cleanup()) }
