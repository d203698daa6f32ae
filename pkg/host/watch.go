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

// listInterval is the minimum time between two lists, for nodes where pods start and
// stop by the dozen. The first change after a quiet time is listed at once.
const listInterval = 50 * time.Millisecond

// Lists after the first may fail for listPatience, and are retried every listRetry: the
// kernel does not answer for seconds while it removes many links, and a daemon that
// exits gives up its VIPs.
const (
	listPatience = 30 * time.Second
	listRetry    = time.Second
)

// Watch calls changed with the present Snapshot and again after each change, until ctx
// is done; then it returns nil. It makes the calls one after the other on the calling
// goroutine, and several changes may result in one call. Watch returns an error if the
// first list fails, or if later ones fail for 30 s.
//
// An event of the kernel only triggers another list. So lost events do no harm, and an
// event without a change, such as the renewal of a virtual address, costs little.
func Watch(ctx context.Context, changed func(Snapshot)) error {
	return watch(ctx, snapshot, changed)
}

// watch is Watch with a function that lists.
func watch(ctx context.Context, list func(*conn) (Snapshot, error), changed func(Snapshot)) error {
	events, err := subscribe(unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		// A blocked Receive returns when the socket is closed.
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
	var next time.Time // the earliest time of the next list
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
		var wait time.Duration // 0 means no limit
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

// lister takes snapshots, and records since when they fail.
type lister struct {
	socket
	list func(*conn) (Snapshot, error)
	// failing is the time since which lists fail, zero if the last one did not.
	failing time.Time
}

// snapshot lists links and addresses.
func (l *lister) snapshot() (s Snapshot, err error) {
	err = l.use(func(c *conn) (err error) {
		s, err = l.list(c)
		return err
	})
	return s, err
}

// failed records a failed list, and reports whether lists have failed for longer than
// listPatience.
func (l *lister) failed(now time.Time) bool {
	if l.failing.IsZero() {
		l.failing = now
	}
	return now.Sub(l.failing) > listPatience
}

// snapshot lists links and addresses by c.
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

// isChange reports whether an event differs from the known snapshot.
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
		// Compare prefixes only: the flags can have changed since the list.
		return slices.ContainsFunc(k.Addresses, func(k Address) bool { return k.Prefix == a.Prefix })
	default:
		return false
	}
}

// find returns the link with the given index.
func find(s Snapshot, index int) (Link, bool) {
	i, ok := slices.BinarySearchFunc(s.Links, index, func(l Link, index int) int { return cmp.Compare(l.Index, index) })
	if !ok {
		return Link{}, false
	}
	return s.Links[i], true
}
