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

// VirtualLinks owns the macvlan links with virtual MAC addresses. It creates them down;
// Addresses keeps each up as long as it has a virtual address. VirtualLinks is used by
// one goroutine. The zero value is ready for use.
type VirtualLinks struct {
	socket
}

// Set makes want the virtual links of this node: it removes all others, creates the
// missing ones, and applies their settings. It returns the interface index of each link
// that is ready for use. The error joins a *VirtualLinkError for each link that is not.
// If the links could not be listed, the map is nil and no link has changed.
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

// ensure creates a link unless index, its interface index, is not 0, and applies its
// settings. It returns the interface index. parent is the name of the parent, empty if
// there is none.
func (s *VirtualLinks) ensure(v VirtualLink, index int, parent string) (int, error) {
	if parent == "" {
		return 0, fmt.Errorf("create link %s on link %d: %w", v.Name(), v.Parent, errNoParent)
	}
	if index == 0 {
		attributes := netlink.NewLinkAttrs()
		attributes.Name, attributes.ParentIndex, attributes.HardwareAddr = v.Name(), v.Parent, v.HardwareAddr()
		// In other modes the parent does not receive frames whose source is the MAC
		// address of the macvlan, such as the advertisements of another Master.
		link := &netlink.Macvlan{LinkAttrs: attributes, Mode: netlink.MACVLAN_MODE_BRIDGE}
		err := s.conn.handle.LinkAdd(link)
		if errors.Is(err, unix.EEXIST) {
			err = errNotOwned
		}
		if err != nil {
			return 0, fmt.Errorf("create link %s on %s: %w", v.Name(), parent, err)
		}
		created, err := s.conn.handle.LinkByName(v.Name())
		if err != nil {
			return 0, fmt.Errorf("find link %s: %w", v.Name(), err)
		}
		index = created.Attrs().Index
	}
	return index, applySettings(v, parent)
}

// Close closes the socket. The links stay.
func (s *VirtualLinks) Close() error { return s.close() }
