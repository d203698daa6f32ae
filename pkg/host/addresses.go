package host

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// VirtualAddress is a virtual address on a link.
type VirtualAddress struct {
	// Link is the interface's index.
	Link    int
	Address netip.Addr
}

// AddressError is the failure of one virtual address.
type AddressError struct {
	VirtualAddress
	Err error
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("%s/32 on link %d: %v", e.Address, e.Link, e.Err)
}

func (e *AddressError) Unwrap() error { return e.Err }

// Addresses owns the virtual addresses on this node's links. It is used by
// one goroutine.
type Addresses struct{}

// NewAddresses returns an Addresses whose addresses the kernel removes by
// itself when they were not Set again for lifetime, a number of whole seconds.
func NewAddresses(lifetime time.Duration) (*Addresses, error) { return nil, errors.ErrUnsupported }

// Set makes want, and no others, the virtual addresses bound on this node.
func (a *Addresses) Set(want []VirtualAddress) error { return errors.ErrUnsupported }

// RemoveLeftovers removes every address that an earlier process has left.
func (a *Addresses) RemoveLeftovers() ([]VirtualAddress, error) { return nil, errors.ErrUnsupported }

// Close closes the socket. Bound addresses stay until their lifetime ends.
func (a *Addresses) Close() error { return nil }
