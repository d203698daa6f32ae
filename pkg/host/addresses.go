package host

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrForeign is the error of a virtual address that another program has added to the
// link already.
var ErrForeign = errors.New("the address is there already and is not ours")

// expiryFuzz bounds how early the kernel may end a lifetime. It does so up to 20 ms
// early, to remove several addresses at once.
const expiryFuzz = 50 * time.Millisecond

var (
	errInvalid  = errors.New("neither an IPv4 address nor an IPv6 address without a zone")
	errDisabled = errors.New("IPv6 is disabled on the interface (disable_ipv6)")
)

// VirtualAddress is a virtual address on a link, always as a /32 or a /128.
type VirtualAddress struct {
	// Link is the index of the interface.
	Link    int
	Address netip.Addr
}

// valid reports whether v can be bound.
func (v VirtualAddress) valid() bool {
	return v.Address.Is4() || v.Address.Is6() && !v.Address.Is4In6() && v.Address.Zone() == ""
}

// prefix returns v as a /32 or a /128.
func (v VirtualAddress) prefix() netip.Prefix {
	return netip.PrefixFrom(v.Address, v.Address.BitLen())
}

// AddressError is the error of one virtual address.
type AddressError struct {
	VirtualAddress
	Err error
}

// Error returns the text of e.Err, which names the address and its link.
func (e *AddressError) Error() string { return e.Err.Error() }

// Unwrap returns e.Err.
func (e *AddressError) Unwrap() error { return e.Err }

// Addresses owns the virtual addresses on the links of this node. It is used by one
// goroutine.
type Addresses struct {
	// lifetime is in seconds.
	lifetime uint32
	socket
	// links are the links that may have a virtual address.
	links map[int]bool
	// names are the names of links at the last lookup, for errors and labels.
	names map[int]string
	// virtual are the virtual links that have a virtual address. They are up as long
	// as they have one.
	virtual map[int]bool
	// leases are the addresses that the last Set bound or renewed, at the time renewed.
	leases  map[VirtualAddress]bool
	renewed time.Time
	// removed are the leases that the next Set found missing.
	removed []VirtualAddress
}

// NewAddresses returns an Addresses. The kernel removes a virtual address that no Set
// has renewed for lifetime, which must be a positive number of whole seconds. It opens
// its sockets in the network namespace of the calling thread.
func NewAddresses(lifetime time.Duration) (*Addresses, error) {
	if lifetime < time.Second || lifetime%time.Second != 0 || lifetime/time.Second >= forever {
		return nil, fmt.Errorf("address lifetime %s is not a number of whole seconds", lifetime)
	}
	a := &Addresses{
		lifetime: uint32(lifetime / time.Second),
		links:    make(map[int]bool),
		names:    make(map[int]string),
		virtual:  make(map[int]bool),
	}
	if err := a.use(func(*conn) error { return nil }); err != nil {
		return nil, err
	}
	return a, nil
}

// Set makes want the virtual addresses that are bound on this node. It removes all
// others first, then binds the missing addresses and renews the lifetime of the bound
// ones. The error joins an *AddressError for each address that could not be bound or
// removed; every other address is as wanted.
func (a *Addresses) Set(want []VirtualAddress) error {
	began := time.Now()
	a.removed = nil
	links := maps.Clone(a.links)
	for _, v := range want {
		links[v.Link] = true
	}
	present, err := a.list(slices.Sorted(maps.Keys(links))...)
	if err != nil {
		return errors.Join(append(a.failures(adding, want, err), err)...)
	}
	p := newPlan(want, present)
	a.noteRemoved(p.add)
	errs := a.remove(p.remove)
	errs = append(errs, a.bringDown(want)...)
	errs = append(errs, a.bringUp(&p)...)
	failed := a.add(p.add, p.renew)
	a.noteLeases(p, failed, began)
	errs = append(errs, failed...)
	errs = append(errs, a.failures(adding, p.foreign, ErrForeign)...)
	errs = append(errs, a.failures(adding, p.invalid, errInvalid)...)

	// The next Set also lists the links that lost an address.
	clear(a.links)
	for _, v := range want {
		a.links[v.Link] = true
	}
	for _, l := range p.remove {
		a.links[l.Link] = true
	}
	return errors.Join(errs...)
}

// Removed returns the virtual addresses that the last Set bound again because another
// program had removed them. It does not include addresses whose lifetime may have
// ended, or that the kernel removed with their link or because the link was set down.
// An address that is removed while Set runs may be bound again unnoticed.
func (a *Addresses) Removed() []VirtualAddress { return a.removed }

// noteRemoved records which of the missing addresses another program has removed. The
// kernel removes IPv6 addresses itself when their link is set down.
func (a *Addresses) noteRemoved(missing []VirtualAddress) {
	// Listing the addresses may have taken a while.
	if time.Since(a.renewed) >= time.Duration(a.lifetime)*time.Second-expiryFuzz {
		return
	}
	up := make(map[int]bool)
	for _, v := range missing {
		if !a.leases[v] {
			continue
		}
		if _, looked := up[v.Link]; !looked {
			// The request to bind the address will report an error that persists.
			_ = a.use(func(c *conn) error {
				l, err := c.link(v.Link)
				up[v.Link] = l.Up
				return err
			})
		}
		if up[v.Link] {
			a.removed = append(a.removed, v)
		}
	}
}

// noteLeases records the addresses that are bound from now on.
func (a *Addresses) noteLeases(p plan, failed []error, now time.Time) {
	a.renewed = now
	a.leases = make(map[VirtualAddress]bool, len(p.add)+len(p.renew))
	for _, v := range p.add {
		a.leases[v] = true
	}
	for _, l := range p.renew {
		a.leases[l.VirtualAddress] = true
	}
	for _, err := range failed {
		if ae, ok := errors.AsType[*AddressError](err); ok {
			delete(a.leases, ae.VirtualAddress)
		}
	}
}

// RemoveLeftovers removes the virtual addresses that an earlier process has left on any
// link, and returns the addresses that it found.
func (a *Addresses) RemoveLeftovers() ([]VirtualAddress, error) {
	present, err := a.list(0)
	if err != nil {
		return nil, err
	}
	leftovers := newPlan(nil, present).remove
	var found []VirtualAddress
	for _, l := range leftovers {
		found = append(found, l.VirtualAddress)
		a.links[l.Link] = true
	}
	return found, errors.Join(a.remove(leftovers)...)
}

// Close closes the sockets. Bound addresses stay until their lifetime ends.
func (a *Addresses) Close() error { return a.close() }

// list returns the addresses of links. Link 0 means all links.
func (a *Addresses) list(links ...int) (map[int][]Address, error) {
	present := make(map[int][]Address)
	err := a.use(func(c *conn) error {
		for _, link := range links {
			addresses, err := c.addresses(link)
			if err != nil {
				return err
			}
			maps.Copy(present, addresses)
		}
		return nil
	})
	return present, err
}

// remove removes virtual addresses.
func (a *Addresses) remove(addresses []addressWithLabel) []error {
	var batch []VirtualAddress
	var requests []*nl.NetlinkRequest
	for _, l := range addresses {
		batch = append(batch, l.VirtualAddress)
		requests = append(requests, deleteAddress(l))
	}
	return a.carryOut(removing, batch, requests)
}

// add binds virtual addresses, and renews bound ones.
func (a *Addresses) add(addresses []VirtualAddress, bound []addressWithLabel) []error {
	var batch []VirtualAddress
	var requests []*nl.NetlinkRequest
	for _, v := range addresses {
		batch = append(batch, v)
		l := addressWithLabel{VirtualAddress: v}
		if v.Address.Is4() {
			l.label = label(a.names[v.Link])
		}
		requests = append(requests, newAddress(l, a.lifetime, false))
	}
	for _, l := range bound {
		batch = append(batch, l.VirtualAddress)
		requests = append(requests, newAddress(l, a.lifetime, true))
	}
	return a.carryOut(adding, batch, requests)
}

// lookUp updates the name of a link, and whether it is virtual. An address on an unknown
// link gets no label, and the request to bind it returns the kernel's error.
func (a *Addresses) lookUp(link int) {
	delete(a.names, link)
	delete(a.virtual, link)
	// The request to bind the address will report an error that persists.
	_ = a.use(func(c *conn) error {
		l, err := c.link(link)
		if l.Name != "" {
			a.names[link] = l.Name
		}
		if l.Virtual != (VirtualLink{}) {
			a.virtual[link] = true
		}
		return err
	})
}

// action is an operation on a virtual address.
type action struct {
	// format formats an error from the address, the link's name and the cause.
	format string
	// translated are the meanings of the kernel's errors. A nil meaning is no error.
	translated map[unix.Errno]error
}

var (
	adding = action{
		format: "add %s to %s: %w",
		// Another program has added the address since it was listed, or the link has no
		// IPv6.
		translated: map[unix.Errno]error{unix.EEXIST: ErrForeign, unix.EACCES: errDisabled},
	}
	removing = action{
		format: "remove %s from %s: %w",
		// The lifetime has ended since the address was listed, or the link or its IPv6 is
		// gone.
		translated: map[unix.Errno]error{unix.EADDRNOTAVAIL: nil, unix.ENODEV: nil, unix.ENXIO: nil},
	}
)

// carryOut sends one request for each address to the kernel, in batches, and returns
// an *AddressError for each address that failed.
func (a *Addresses) carryOut(do action, addresses []VirtualAddress, requests []*nl.NetlinkRequest) []error {
	if len(requests) == 0 {
		return nil
	}
	var results []error
	err := a.use(func(c *conn) error {
		var err error
		results, err = c.batch(requests)
		return err
	})
	if err != nil {
		return a.failures(do, addresses, err)
	}
	var errs []error
	for i, err := range results {
		if number, ok := errors.AsType[unix.Errno](err); ok {
			if meaning, ok := do.translated[number]; ok {
				err = meaning
			}
		}
		if err != nil {
			errs = append(errs, a.failures(do, addresses[i:i+1], err)...)
		}
	}
	return errs
}

// failures returns an *AddressError with the cause err for each address.
func (a *Addresses) failures(do action, addresses []VirtualAddress, err error) []error {
	var errs []error
	for _, v := range addresses {
		name, ok := a.names[v.Link]
		if !ok {
			name = fmt.Sprintf("link %d", v.Link)
		}
		errs = append(errs, &AddressError{v, fmt.Errorf(do.format, v.prefix(), name, err)})
	}
	return errs
}
