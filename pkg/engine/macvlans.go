package engine

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"kube-vrrp-vip/pkg/host"
)

// virtualLinks makes the macvlan links with the MAC addresses of virtual routers.
type virtualLinks interface {
	Set(want []host.VirtualLink) (map[host.VirtualLink]int, error)
}

// senders sets the source address of the node's own ARP requests for packets of a
// VIP with a virtual MAC, so that the LAN does not learn the MAC address of the
// interface for it.
type senders interface {
	SetSenders(senders map[netip.Addr]netip.Addr) error
}

// macvlanOrder has the links and ARP senders of all VIPs with a virtual MAC.
type macvlanOrder struct {
	links   []host.VirtualLink // sorted by name
	senders map[netip.Addr]netip.Addr
}

func (o macvlanOrder) equal(p macvlanOrder) bool {
	return slices.Equal(o.links, p.links) && maps.Equal(o.senders, p.senders)
}

// macvlanResult is what became of a macvlanOrder.
type macvlanResult struct {
	// ready has the index of each link that can be used.
	ready map[host.VirtualLink]int
	// failed has the error of each other one.
	failed map[host.VirtualLink]error
	// err is every error, nil if there was none.
	err error
}

// errNotMade is the error of a link of which there is no result yet.
var errNotMade = errors.New("the link with the virtual MAC address has not been made yet")

// failure returns the reason why a link cannot be used.
func (r macvlanResult) failure(v host.VirtualLink) error { return cmp.Or(r.failed[v], errNotMade) }

// macvlans are the links with virtual MAC addresses that the loop wants and has.
type macvlans struct {
	post   func(macvlanOrder)
	events *events
	wanted macvlanOrder
	result macvlanResult
}

// want asks for links. missing reports that one of them is not there.
func (m *macvlans) want(o macvlanOrder, missing bool) {
	if missing || !o.equal(m.wanted) {
		m.wanted = o
		m.post(o)
	}
}

// made records what became of the links.
func (m *macvlans) made(r macvlanResult) {
	m.result = r
	m.events.logError(logKey{what: "virtual MAC"}, "Virtual MAC address is not in place", r.err)
}

// macvlanWorker makes and removes links. They are made before they are needed, so
// that a takeover does not wait for them.
type macvlanWorker struct {
	*worker[macvlanOrder]
	links    virtualLinks
	senders  senders
	reported func(macvlanResult)
	wanted   macvlanOrder
	last     macvlanResult
}

func newMacvlanWorker(links virtualLinks, senders senders, reported func(macvlanResult)) *macvlanWorker {
	w := &macvlanWorker{links: links, senders: senders, reported: reported}
	w.worker = newWorker(w.sync, nil, func() {
		if len(w.wanted.links) > 0 || w.last.err != nil {
			w.sync(w.wanted) // Other programs change links and their settings.
		}
	})
	return w
}

// sync brings about an order, and reports the result if it is another one.
func (w *macvlanWorker) sync(o macvlanOrder) {
	w.wanted = o
	r := macvlanResult{failed: map[host.VirtualLink]error{}}
	r.ready, r.err = w.links.Set(o.links)
	if r.err != nil {
		for _, err := range leaves(r.err) {
			if failed, ok := errors.AsType[*host.VirtualLinkError](err); ok {
				r.failed[failed.VirtualLink] = err
			}
		}
	}
	if r.ready == nil && r.err != nil {
		// The links could not be listed: the last result holds.
		r.ready, r.failed = w.last.ready, w.last.failed
	}
	if err := w.senders.SetSenders(o.senders); err != nil {
		r.err = errors.Join(r.err, err)
	}
	if maps.Equal(r.ready, w.last.ready) && text(r.err) == text(w.last.err) {
		return
	}
	w.last = r
	w.reported(r)
}

// text returns the text of err, empty for no error.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
