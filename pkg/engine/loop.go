package engine

import (
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// loop owns every virtual router, and the parts of the node's state that they
// need. All of its methods run on one thread.
type loop struct {
	poller  poller
	inbox   *inbox
	release bool

	// desired is the State to run, nil before the first; assigned are its virtual
	// routers on this node, and instances those that run, sorted by key. routers
	// finds the instance of a packet; it has those that ever had no fault.
	desired   *desired.State
	assigned  assignment
	instances []*instance
	routers   map[routerKey]*instance
	stopping  bool

	links      *links
	sockets    *sockets
	macvlans   macvlans
	host       hostSync
	conflicts  conflicts
	heartbeats heartbeats
	releases   releases
	events     *events
	publisher  *publisher

	scratch scratch
}

// scratch is used for every packet, so that nothing is allocated for one.
type scratch struct {
	packet lan.Packet
	advert vrrp.Advertisement
	buffer []byte // an advertisement that is sent
}

// routerKey identifies the virtual router that a packet is for.
type routerKey struct {
	portKey
	vrid uint8
}

// posts are the functions that hand work over to the workers. They never block.
type posts struct {
	host     func(hostState)
	sockets  func(socketOrder)
	macvlans func(macvlanOrder)
	probes   func(probeOrder)
}

func newLoop(c Config, in *inbox, e *events, p *publisher, to posts) *loop {
	n := c.Poller
	return &loop{
		poller: n, inbox: in, release: c.Release,
		links:      newLinks(),
		sockets:    newSockets(n, to.sockets, e),
		macvlans:   macvlans{post: to.macvlans, events: e},
		host:       hostSync{post: to.host, nextRefresh: vrrp.Time(n.Now())},
		conflicts:  conflicts{post: to.probes},
		heartbeats: heartbeats{sender: c.Heartbeats, events: e, next: never},
		releases:   releases{poller: n},
		events:     e,
		publisher:  p,
		scratch:    scratch{buffer: make([]byte, 0, 2048)},
	}
}
