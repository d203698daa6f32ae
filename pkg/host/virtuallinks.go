package host

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	errNoParent = errors.New("there is no such interface")
	errNotOwned = errors.New("a link of this name is there already and is not ours")
)

// VirtualLinks owns the macvlan links with virtual MAC addresses. They are
// made down, and Addresses takes each up for as long as it has an address to
// hold there. VirtualLinks is used by one goroutine.
type VirtualLinks struct {
	socket
}

// Set makes want, and no others, the virtual links of this node, sees to their
// settings, and returns the indexes of those that are fit for use. Each other
// one has a *VirtualLinkError among the joined errors. Without a map the links
// could not be looked at, and are as they were.
func (s *VirtualLinks) Set(want []VirtualLink) (map[VirtualLink]int, error) {
	var list []netlink.Link
	if err := s.use(func(c *conn) (err error) {
		if list, err = dump(c.handle.LinkList); err != nil {
			return fmt.Errorf("list links: %w", err)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	wanted := make(map[VirtualLink]bool, len(want))
	for _, v := range want {
		wanted[v] = true
	}
	parents := make(map[int]string, len(list))
	present := make(map[VirtualLink]int)
	var errs []error
	for _, l := range list {
		parents[l.Attrs().Index] = l.Attrs().Name
		v, owned := virtualLinkOf(l)
		switch {
		case owned && wanted[v]:
			present[v] = l.Attrs().Index
		case owned:
			if err := s.conn.handle.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
				errs = append(errs, fmt.Errorf("remove link %s: %w", l.Attrs().Name, err))
			}
		}
	}
	ready := make(map[VirtualLink]int, len(wanted))
	for v := range wanted {
		index, err := s.ensure(v, present[v], parents[v.Parent])
		if err != nil {
			errs = append(errs, &VirtualLinkError{v, err})
			continue
		}
		ready[v] = index
	}
	return ready, errors.Join(errs...)
}

// ensure makes a link unless it is there, which an index other than 0 says, and
// sees to its settings.
func (s *VirtualLinks) ensure(v VirtualLink, index int, parent string) (int, error) {
	if parent == "" {
		return 0, fmt.Errorf("make link %s on link %d: %w", v.Name(), v.Parent, errNoParent)
	}
	if index == 0 {
		attributes := netlink.NewLinkAttrs()
		attributes.Name, attributes.ParentIndex, attributes.HardwareAddr = v.Name(), v.Parent, v.HardwareAddr()
		// With other modes the kernel keeps frames from the parent that come
		// from a member with the same MAC address, advertisements among them.
		link := &netlink.Macvlan{LinkAttrs: attributes, Mode: netlink.MACVLAN_MODE_BRIDGE}
		err := s.conn.handle.LinkAdd(link)
		if errors.Is(err, unix.EEXIST) {
			err = errNotOwned
		}
		if err != nil {
			return 0, fmt.Errorf("make link %s on %s: %w", v.Name(), parent, err)
		}
		made, err := s.conn.handle.LinkByName(v.Name())
		if err != nil {
			return 0, fmt.Errorf("find link %s: %w", v.Name(), err)
		}
		index = made.Attrs().Index
	}
	return index, applySettings(v, parent)
}

// Close closes the socket. The links stay.
func (s *VirtualLinks) Close() error { return s.close() }
