package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// listInterval is the least time between two lists, on a node where pods come
// and go by the dozen. The first change after a quiet time is listed at once.
const listInterval = 50 * time.Millisecond

// After the first, a list may fail for listPatience, tried every listRetry: the
// kernel answers nobody for seconds while it removes many links, and a daemon
// that ends takes its VIPs along.
const (
	listPatience = 30 * time.Second
	listRetry    = time.Second
)

// Watch calls changed with the present Snapshot, and again whenever it has
// changed, until ctx ends; then it returns nil. The calls come one after the
// other from the goroutine of the caller, and several changes may come as one.
//
// The kernel's events only say when to list everything anew. So events that
// were lost do no harm, and one that says what is known already, as each
// renewal of a virtual address does, costs next to nothing.
func Watch(ctx context.Context, changed func(Snapshot)) error {
	return watch(ctx, snapshot, changed)
}

func watch(ctx context.Context, list func(*conn) (Snapshot, error), changed func(Snapshot)) error {
	events, err := subscribe(unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		// It makes the Receive that waits return.
		events.Close()
	})
	defer func() {
		if stop() {
			events.Close()
		} else {
			<-closed
		}
	}()
	l := lister{list: list}
	defer l.close()

	var known Snapshot
	first, stale := true, true
	var next time.Time // The earliest time of a list.
	for {
		if now := time.Now(); stale && !now.Before(next) {
			next = now.Add(listInterval)
			s, err := l.snapshot()
			switch {
			case err == nil:
				stale, l.failing = false, time.Time{}
				if first || !reflect.DeepEqual(known, s) {
					first, known = false, s
					changed(s)
				}
			case errors.Is(err, netlink.ErrDumpInterrupted):
			case first || l.failed(now):
				return fmt.Errorf("watch links: %w", err)
			default:
				next = now.Add(listRetry)
			}
		}
		var wait time.Duration // 0 is no limit.
		if stale {
			wait = max(time.Until(next), time.Microsecond)
		}
		limit := unix.NsecToTimeval(wait.Nanoseconds())
		if err := events.SetReceiveTimeout(&limit); err != nil {
			return fmt.Errorf("watch links: %w", err)
		}
		messages, from, err := events.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			stale = stale || from.Pid == nl.PidKernel &&
				slices.ContainsFunc(messages, func(m syscall.NetlinkMessage) bool { return isChange(known, m) })
		case errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.ENOBUFS):
			stale = true
		default:
			return fmt.Errorf("watch links: %w", err)
		}
	}
}

// lister makes snapshots, and knows for how long it could not.
type lister struct {
	socket
	list func(*conn) (Snapshot, error)
	// failing is since when lists fail, zero if the last one did not.
	failing time.Time
}

func (l *lister) snapshot() (s Snapshot, err error) {
	err = l.use(func(c *conn) (err error) {
		s, err = l.list(c)
		return err
	})
	return s, err
}

// failed notes that a list failed and tells whether they have for too long.
func (l *lister) failed(now time.Time) bool {
	if l.failing.IsZero() {
		l.failing = now
	}
	return now.Sub(l.failing) > listPatience
}

func snapshot(c *conn) (Snapshot, error) {
	links, err := c.links()
	if err != nil {
		return Snapshot{}, err
	}
	addresses, err := c.addresses(0)
	if err != nil {
		return Snapshot{}, err
	}
	for i := range links {
		links[i].Addresses = addresses[links[i].Index]
	}
	slices.SortFunc(links, func(a, b Link) int { return cmp.Compare(a.Index, b.Index) })
	return Snapshot{Links: links}, nil
}

// isChange tells whether an event says something that known does not.
func isChange(known Snapshot, m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWLINK:
		l, ok, err := parseLink(m.Data)
		if err != nil || !ok {
			return err != nil
		}
		k, _ := find(known, l.Index)
		l.Addresses = k.Addresses
		return !reflect.DeepEqual(k, l)
	case unix.RTM_DELLINK:
		l, ok, err := parseLink(m.Data)
		if err != nil || !ok {
			return err != nil
		}
		_, exists := find(known, l.Index)
		return exists
	case unix.RTM_NEWADDR:
		link, a, ok, err := parseAddress(m.Data)
		if err != nil || !ok {
			return err != nil
		}
		k, _ := find(known, link)
		return !slices.Contains(k.Addresses, a)
	case unix.RTM_DELADDR:
		link, a, ok, err := parseAddress(m.Data)
		if err != nil || !ok {
			return err != nil
		}
		k, _ := find(known, link)
		// Its flags can be others than when it was listed.
		return slices.ContainsFunc(k.Addresses, func(k Address) bool { return k.Prefix == a.Prefix })
	default:
		return false
	}
}

func find(s Snapshot, index int) (Link, bool) {
	i, ok := slices.BinarySearchFunc(s.Links, index, func(l Link, index int) int { return cmp.Compare(l.Index, index) })
	if !ok {
		return Link{}, false
	}
	return s.Links[i], true
}
