package lab

import (
	"net/netip"
	"slices"
	"time"
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
		if err := q.lab.AskAsStranger(a); err != nil {
			return err
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
		return n != nil && n.Answer && n.Address == a && (n.To == Stranger || n.To == strangerLinkLocal)
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
