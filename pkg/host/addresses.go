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

// ErrForeign is the error of a virtual address that is on the link already but
// is not ours.
var ErrForeign = errors.New("the address is there already and is not ours")

// expiryFuzz is how much before its end the kernel may take a lifetime for
// ended: it does so up to 20 ms before, to remove several at once.
const expiryFuzz = 50 * time.Millisecond

var (
	errInvalid  = errors.New("neither an IPv4 address nor an IPv6 address without a zone")
	errDisabled = errors.New("IPv6 is disabled on the interface (disable_ipv6)")
)

// VirtualAddress is a virtual address on a link, always as a /32 or a /128.
type VirtualAddress struct {
	// Link is the interface's index.
	Link    int
	Address netip.Addr
}

func (v VirtualAddress) valid() bool {
	return v.Address.Is4() || v.Address.Is6() && !v.Address.Is4In6() && v.Address.Zone() == ""
}

// prefix is the address as it is bound.
func (v VirtualAddress) prefix() netip.Prefix {
	return netip.PrefixFrom(v.Address, v.Address.BitLen())
}

// AddressError is the failure of one virtual address.
type AddressError struct {
	VirtualAddress
	Err error
}

func (e *AddressError) Error() string { return e.Err.Error() }

func (e *AddressError) Unwrap() error { return e.Err }

// Addresses owns the virtual addresses on this node's links. It is used by one
// goroutine.
type Addresses struct {
	// lifetime is in seconds.
	lifetime uint32
	socket
	// links are those on which there may be an address of ours.
	links map[int]bool
	// names are the links' names when last looked up, for errors.
	names map[int]string
	// virtual are the virtual links among those that have an address: they
	// are up as long as they have one.
	virtual map[int]bool
	// leases are what the last Set has left bound, at renewed.
	leases  map[VirtualAddress]bool
	renewed time.Time
	// removed are those of them that the Set after it missed.
	removed []VirtualAddress
}

// NewAddresses returns an Addresses whose addresses the kernel removes by
// itself when they were not Set again for lifetime, a number of whole seconds.
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

// Set makes want, and no others, the virtual addresses bound on this node, and
// renews the lifetime of those that are. What is not wanted goes first. Each
// address that could not be bound, or not be removed, is an *AddressError
// among the joined errors; the others are as they ought to be.
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

	// A link where something was removed is looked at once more.
	clear(a.links)
	for _, v := range want {
		a.links[v.Link] = true
	}
	for _, l := range p.remove {
		a.links[l.Link] = true
	}
	return errors.Join(errs...)
}

// Removed returns the virtual addresses that the last Set had to bind anew
// because somebody else had removed them. Those whose lifetime may have ended,
// and those that went with their link or because it was set down, are not among
// them. One that is removed while Set itself runs may be put back unnoticed.
func (a *Addresses) Removed() []VirtualAddress { return a.removed }

// noteRemoved finds out which of the addresses that are missing somebody has
// removed. IPv6 ones go by themselves when their link is set down.
func (a *Addresses) noteRemoved(missing []VirtualAddress) {
	// It may have taken a while to look.
	if time.Since(a.renewed) >= time.Duration(a.lifetime)*time.Second-expiryFuzz {
		return
	}
	up := make(map[int]bool)
	for _, v := range missing {
		if !a.leases[v] {
			continue
		}
		if _, looked := up[v.Link]; !looked {
			// An error that matters will be met again at once.
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

// noteLeases remembers what is bound from now on.
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

// RemoveLeftovers removes our virtual addresses from every link, which an
// earlier process has left there, and returns what it found.
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

// Close closes the socket. What is bound stays until its lifetime ends.
func (a *Addresses) Close() error { return a.close() }

// list returns the addresses of links; link 0 stands for every one.
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

// add binds virtual addresses, and renews those that are there.
func (a *Addresses) add(addresses []VirtualAddress, there []addressWithLabel) []error {
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
	for _, l := range there {
		batch = append(batch, l.VirtualAddress)
		requests = append(requests, newAddress(l, a.lifetime, true))
	}
	return a.carryOut(adding, batch, requests)
}

// lookUp updates what is known of a link. One that is not known has no label,
// and the kernel will say what is wrong with the link.
func (a *Addresses) lookUp(link int) {
	delete(a.names, link)
	delete(a.virtual, link)
	// An error that matters will be met again at once.
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

// action is what is done to a virtual address.
type action struct {
	format string
	// means translates what the kernel says: another error or, for what is
	// as it ought to be, nil.
	means map[unix.Errno]error
}

var (
	adding = action{
		format: "add %s to %s: %w",
		// Somebody has added it since we looked, or the link has no IPv6.
		means: map[unix.Errno]error{unix.EEXIST: ErrForeign, unix.EACCES: errDisabled},
	}
	removing = action{
		format: "remove %s from %s: %w",
		// Its lifetime has ended since we looked, or the link, or its IPv6, is
		// gone.
		means: map[unix.Errno]error{unix.EADDRNOTAVAIL: nil, unix.ENODEV: nil, unix.ENXIO: nil},
	}
)

// carryOut has the kernel carry out one request for each address, all of them
// in one go.
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
			if meaning, ok := do.means[number]; ok {
				err = meaning
			}
		}
		if err != nil {
			errs = append(errs, a.failures(do, addresses[i:i+1], err)...)
		}
	}
	return errs
}

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
