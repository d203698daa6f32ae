package vrrplab

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// The questioner is nobody's: what it is answered teaches no kernel where an
// address is, so that a client finds out by announcements and questions of its own.
var (
	questionerMAC       = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xfb}
	questionerIPv4      = netip.MustParseAddr("192.0.2.251")
	questionerLinkLocal = netip.MustParseAddr("fe80::fb:1")
)

// Questions asks the LAN again and again who has some addresses.
type Questions struct {
	lab       *Lab
	addresses []netip.Addr
	stop      chan struct{}
	ended     chan struct{}
	err       error
}

// AskEvery asks who has each of the addresses, every time that long, until Stop.
func (l *Lab) AskEvery(every time.Duration, addresses ...netip.Addr) *Questions {
	q := &Questions{lab: l, addresses: addresses, stop: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(q.ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for q.err == nil {
			q.err = q.ask()
			select {
			case <-q.stop:
				return
			case <-tick.C:
			}
		}
	}()
	return q
}

// Stop ends the asking; its error is that of an attempt to ask.
func (q *Questions) Stop() error {
	close(q.stop)
	<-q.ended
	return q.err
}

func (q *Questions) ask() error {
	for _, a := range q.addresses {
		frame := neighborSolicitation(questionerMAC, questionerLinkLocal, a)
		if a.Is4() {
			frame = arpRequest(questionerMAC, questionerIPv4, a)
		}
		if _, err := unix.Write(q.lab.asker, frame); err != nil {
			return fmt.Errorf("ask who has %s: %w", a, err)
		}
	}
	return nil
}

// Reply is an answer to a question of AskEvery.
type Reply struct {
	At   time.Time
	Host int
}

// Replies returns the answers about an address since a time, in their order.
func (q *Questions) Replies(a netip.Addr, since time.Time) []Reply {
	var replies []Reply
	for _, p := range q.lab.Recorder.Packets(since, func(p Packet) bool {
		n := p.Neighbor
		return n != nil && n.Answer && n.Address == a && (n.To == questionerIPv4 || n.To == questionerLinkLocal)
	}) {
		replies = append(replies, Reply{p.At, p.Host})
	}
	return replies
}

// Repliers returns the hosts that have answered about an address since a time.
func (q *Questions) Repliers(a netip.Addr, since time.Time) []int {
	hosts := []int{}
	for _, r := range q.Replies(a, since) {
		if !slices.Contains(hosts, r.Host) {
			hosts = append(hosts, r.Host)
		}
	}
	slices.Sort(hosts)
	return hosts
}
