package engine

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// world is a LAN of nodes on a virtual clock: the loop and its workers are the
// real ones, the network, the kernel's addresses and the client's ARP
// cache are simulated.
type world struct {
	t   *testing.T
	rng *rand.Rand
	// claims is the chance of ARP and ND, which have their own so that they do not
	// change what becomes of advertisements.
	claims *rand.Rand
	now    int64
	nodes  []*simNode
	flight []flying
	// loss is the probability that a frame is lost.
	loss float64
	// cut tells that nothing goes from one node to another.
	cut map[[2]int]bool
	// cache is the client's ARP cache: the node that a VIP was last
	// announced by.
	cache map[netip.Addr]int
	// squatters are hosts that have an address which is ours, or want it.
	squatters []*squatter
	// strangers are routers that are none of the nodes.
	strangers []*stranger
	trace     []string
	// logger is where a node's engine logs; nil discards that.
	logger func(n *simNode) logr.Logger
	// alone keeps the nodes from knowing of each other.
	alone bool
	// rank is each node's rank in the order of the take-over delays.
	rank []int
}

// stranger advertises for ever.
type stranger struct {
	index  int
	source netip.Addr
	advert vrrp.Advertisement
	next   int64
}

// squatter has an address and says so to those who ask. While mute it does not.
type squatter struct {
	index int
	vip   netip.Addr
	mac   lan.MAC
	mute  bool
}

// claim is what an ARP reply or a Neighbor Advertisement says.
func (s *squatter) claim() lan.NeighborEvent {
	return lan.NeighborEvent{Index: s.index, IP: s.vip, MAC: s.mac}
}

// flying is a frame on its way to one node's link.
type flying struct {
	at    int64
	to    int
	index int
	data  []byte
	mac   lan.MAC
	// claim is what an ARP or ND frame, which has no data, says.
	claim lan.NeighborEvent
}

// lease is how long the simulated kernel keeps an address.
const lease = 2 * time.Second

// The LANs are the links eth0 and eth1 of every node.
const (
	eth0 = 2
	eth1 = 3
)

// simNode is a node: the network, addresses and announcer of its engine.
type simNode struct {
	w  *world
	id int
	// address is that of eth0, which is the node's own.
	address netip.Addr
	engine  *Engine
	loop    *loop
	// workers work at once, but for a kernel that is slow.
	workers workers
	queue   []flying
	// dead: no process. frozen: a process that does not run.
	dead, frozen bool
	gate         gateState
	// ran tells that the process has run up to now.
	ran bool
	// linkDown tells that eth0 is without carrier, eth1Down the same of eth1.
	linkDown, eth1Down bool
	sendFails          bool
	// watched are the addresses whose claims it hears, probes counts what it asked
	// for.
	watched map[int][]netip.Addr
	probes  int
	// noLocalEndpoint tells that the virtual routers are not for this node.
	noLocalEndpoint bool
	sendFailsTo     netip.Addr
	// kernelTakes is how long the kernel takes for an order; kernelHangs that
	// it carries out none. The order it is busy with is pending until kernelDone.
	kernelTakes time.Duration
	kernelHangs bool
	pending     *hostState
	kernelDone  int64
	// failOnce makes the next renewal fail as a whole.
	failOnce bool
	// announceAt is when announcements that wait may go out.
	announceAt    int64
	announcements int
	// flood is a packet that never ends to be waiting.
	flood     []byte
	flooded   int
	told      []host.Link // as the engine was last told
	bindFails map[netip.Addr]bool
	expiry    map[host.VirtualAddress]int64
	// leased are what was bound last, at renewed; removed are those of them
	// that were missing then.
	leased      map[host.VirtualAddress]bool
	renewed     int64
	removed     []host.VirtualAddress
	transitions []desired.Transition
	alarms      []desired.AlarmChange
	// macvlans are the links with virtual MAC addresses and their indexes, up
	// those that have an address. macvlanFails keeps any from being made.
	macvlans     map[host.VirtualLink]int
	macvlanIndex int
	macvlanFails bool
	// macvlanPrivate keeps the node from hearing what comes from the virtual MAC
	// of a link that is up.
	macvlanPrivate bool
	// unbinds counts, by address, how often it went from bound to unbound.
	unbinds map[netip.Addr]int
	sent    []sentPacket
}

// sentPacket is an advertisement that a node sent.
type sentPacket struct {
	index               int
	source, destination netip.Addr
	payload             []byte
	// via is the link that it left by; 0 is that of index.
	via int
}

func newWorld(t *testing.T, seed uint64, nodes int) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), claims: rand.New(rand.NewPCG(seed, 2)), now: int64(time.Hour), cut: map[[2]int]bool{}, cache: map[netip.Addr]int{}}
	w.rank = w.rng.Perm(nodes)
	for i := range nodes {
		n := &simNode{
			w: w, id: i, address: simAddress(vrrp.IPv4, eth0, i),
			expiry: map[host.VirtualAddress]int64{}, bindFails: map[netip.Addr]bool{}, unbinds: map[netip.Addr]int{},
			macvlans: map[host.VirtualLink]int{}, macvlanIndex: 100,
		}
		w.nodes = append(w.nodes, n)
	}
	for _, n := range w.nodes {
		n.boot(nil)
	}
	return w
}

// simAddress is the global address of a node on a LAN.
func simAddress(f vrrp.Family, index, id int) netip.Addr {
	switch {
	case f == vrrp.IPv6:
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%d", index, id+1))
	case index == eth0:
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(id + 1)})
	default:
		return netip.AddrFrom4([4]byte{198, 51, 100, byte(id + 1)})
	}
}

// boot starts the node's process.
func (n *simNode) boot(state *desired.State) {
	n.leased = nil
	n.dead, n.frozen, n.queue, n.told, n.pending = false, false, nil, nil, nil
	n.ran = false
	n.engine = New(Config{
		Poller: n, Conns: n, Addresses: n, Announcer: n, Neighbors: simGate{n}, Heartbeats: simGate{n}, ConflictDetector: n,
		VirtualLinks: simLinks{n}, Senders: noNeighbors{}, Release: true,
		OnTransition: func(t desired.Transition) {
			n.transitions = append(n.transitions, t)
			n.w.log("n%d %s %d %d: %s -> %s (%s)", n.id, t.Interface, t.Family, t.VRID, t.From, t.To, t.Text())
		},
		OnAlarm: func(a desired.AlarmChange) {
			n.alarms = append(n.alarms, a)
			n.w.log("n%d %s %d: alarm %s %t", n.id, a.Interface, a.VRID, a.Reason, a.On)
		},
	})
	if n.w.logger != nil {
		n.engine.events.logger = n.w.logger(n)
	}
	n.workers = n.engine.newWorkers()
	n.workers.host.announcements.now, n.announceAt = func() vrrp.Time { return vrrp.Time(n.w.now) }, math.MaxInt64
	n.loop = newLoop(n.engine.config, n.engine.inbox, n.engine.events, n.engine.publisher, posts{
		host: n.order, sockets: n.workers.sockets.sync, probes: n.workers.probes.sync,
		macvlans: func(o macvlanOrder) { n.workers.macvlans.sync(o); n.links() },
	})
	_, _ = n.RemoveLeftovers()
	clear(n.macvlans)
	n.links()
	if state != nil {
		n.apply(*state)
	}
	n.turn()
}

// apply gives the node the state, with what differs from node to node.
func (n *simNode) apply(s desired.State) {
	s.NodeAddresses = []netip.Addr{n.address, simAddress(vrrp.IPv6, eth0, n.id)}
	s.Routers = slices.Clone(s.Routers)
	for i := range s.Routers {
		r := &s.Routers[i]
		r.TakeoverDelay = time.Duration(n.w.rank[n.id]) * r.AdvertisementInterval / 16
		r.NoLocalEndpoint = r.NoLocalEndpoint || n.noLocalEndpoint
		r.Peers = nil
		for _, other := range n.w.nodes {
			if other != n && !n.w.alone {
				r.Peers = append(r.Peers, simAddress(r.Family, eth0, other.id))
			}
		}
	}
	n.engine.Apply(s)
}

// links tells the engine of the node's interfaces, if they have changed.
func (n *simNode) links() {
	var links []host.Link
	for index, name := range map[int]string{eth0: "eth0", eth1: "eth1"} {
		link := host.Link{
			Index: index, Name: name, HardwareAddr: n.hardwareAddr(index),
			Up: true, Running: !n.isDown(index), Multicast: true,
			Addresses: []host.Address{
				{Prefix: netip.PrefixFrom(simAddress(vrrp.IPv4, index, n.id), 24)},
				{Prefix: netip.PrefixFrom(simAddress(vrrp.IPv6, index, n.id), 64)},
				{Prefix: netip.MustParsePrefix(fmt.Sprintf("fe80::%d:%d/64", index, n.id+1))},
			},
		}
		for _, v := range n.bound() {
			if v.Link == index {
				link.Addresses = append(link.Addresses, host.Address{Prefix: netip.PrefixFrom(v.Address, v.Address.BitLen()), Owned: true})
			}
		}
		links = append(links, link)
	}
	for v, index := range n.macvlans {
		link := host.Link{Index: index, Name: v.Name(), HardwareAddr: v.HardwareAddr(), Running: !n.isDown(v.Parent), Multicast: true, Virtual: v, Kind: "macvlan"}
		for _, a := range n.bound() {
			if a.Link == index {
				link.Up = true
				link.Addresses = append(link.Addresses, host.Address{Prefix: netip.PrefixFrom(a.Address, a.Address.BitLen()), Owned: true})
			}
		}
		links = append(links, link)
	}
	slices.SortFunc(links, func(a, b host.Link) int { return a.Index - b.Index })
	if !reflect.DeepEqual(links, n.told) {
		n.told = links
		n.engine.Links(host.Snapshot{Links: links})
	}
}

func (n *simNode) hardwareAddr(index int) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, byte(index), byte(n.id)}
}

func (n *simNode) isDown(index int) bool {
	return index == eth0 && n.linkDown || index == eth1 && n.eth1Down
}

// order takes a state as the host workers do: a kernel that is busy finds only
// the newest when it is done.
func (n *simNode) order(o hostState) {
	switch {
	case n.kernelHangs:
	case n.kernelTakes == 0 && n.pending == nil:
		n.carryOut(o)
	case n.pending == nil:
		n.pending, n.kernelDone = &o, n.w.now+int64(n.kernelTakes)
	default:
		o.announce = mergeAnnouncements(n.pending.announce, o.announce)
		n.pending = &o
	}
}

// kernel lets a slow kernel finish.
func (n *simNode) kernel() {
	if n.pending != nil && n.kernelDone <= n.w.now {
		o := *n.pending
		n.pending = nil
		n.carryOut(o)
	}
}

func (n *simNode) carryOut(s hostState) {
	n.workers.host.neighbors.sync(s.policies)
	n.workers.host.leases.sync(s)
	n.announceAt = int64(n.workers.host.announcements.announce())
	n.links()
}

// turn lets the loop go round until it has nothing left to do now.
func (n *simNode) turn() {
	n.ran = true
	for range 10 {
		n.loop.iterate()
		told, _ := n.engine.events.queue.take()
		runAll(told)
		if len(n.queue) == 0 && int64(n.loop.deadline()) > n.w.now && n.inboxEmpty() {
			return
		}
	}
}

func (n *simNode) inboxEmpty() bool {
	m := &n.engine.inbox.messages
	return m.state == nil && m.links == nil && len(m.sockets) == 0 && len(m.leases) == 0 && len(m.outcomes) == 0 && len(m.claims) == 0 && !m.stop
}

// crash takes the node away, its kernel included.
func (n *simNode) crash() {
	n.w.log("n%d crashes", n.id)
	n.dead = true
	clear(n.expiry)
}

// kill takes the process away; the kernel keeps the addresses.
func (n *simNode) kill() {
	n.w.log("n%d is killed", n.id)
	n.dead = true
}

// advertised returns the addresses of the last advertisement that an instance
// sent.
func (n *simNode) advertised(in *instance) []netip.Addr {
	for _, p := range slices.Backward(n.sent) {
		if p.index != in.link.Index || vrrp.FamilyOf(p.source) != in.key.Family || p.payload[1] != in.key.VRID {
			continue
		}
		var a vrrp.Advertisement
		if _, discard := vrrp.Parse(vrrp.Header{Source: p.source, Destination: p.destination, TTL: vrrp.TTL}, p.payload, &a); discard != vrrp.DiscardNone {
			n.w.fatalf("n%d sent a packet that is discarded: %s", n.id, discard)
		}
		return a.Addresses
	}
	return nil
}

// bound returns what the kernel of the node has, sorted by address.
func (n *simNode) bound() (all []host.VirtualAddress) {
	for v, expiry := range n.expiry {
		if n.w.now < expiry {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b host.VirtualAddress) int { return cmp.Or(a.Address.Compare(b.Address), a.Link-b.Link) })
	return all
}

// held returns the addresses that the kernel of the node has, sorted.
func (n *simNode) held() (vips []netip.Addr) {
	for _, v := range n.bound() {
		vips = append(vips, v.Address)
	}
	return vips
}

func (n *simNode) Now() int64          { return n.w.now }
func (n *simNode) Use([]*lan.Conn)     {}
func (n *simNode) Broken() []*lan.Conn { return nil }
func (n *simNode) Wait(int64) error    { return nil }
func (n *simNode) Wake()               {}

func (n *simNode) Open(i lan.Interface) (*lan.Conn, error) { return &lan.Conn{Interface: i}, nil }
func (n *simNode) Close(*lan.Conn) error                   { return nil }

func (n *simNode) Receive(p *lan.Packet) bool {
	if len(n.queue) == 0 && n.flood != nil {
		if n.flooded++; n.flooded%1_000_000 == 0 {
			n.w.fatalf("n%d does nothing but read packets", n.id)
		}
		p.Index, p.Data, p.Arrived = eth0, n.flood, n.w.now
		return true
	}
	if len(n.queue) == 0 {
		return false
	}
	p.Index, p.Data, p.Arrived, p.MAC = n.queue[0].index, n.queue[0].data, n.queue[0].at, n.queue[0].mac
	n.queue = n.queue[1:]
	return true
}

func (n *simNode) Send(index int, source, destination netip.Addr, payload []byte) error {
	if n.isDown(index) || n.sendFails || destination == n.sendFailsTo {
		return fmt.Errorf("send VRRP to %s: network is down", destination)
	}
	n.sent = append(n.sent, sentPacket{index, source, destination, slices.Clone(payload), 0})
	n.w.send(n, index, destination, ipPacket(source, destination, payload), lan.MAC(n.hardwareAddr(index)))
	return nil
}

// SendVia fails as long as the link is down, which is as long as it has no
// address.
func (n *simNode) SendVia(index, via int, source, destination netip.Addr, payload []byte) error {
	if !slices.ContainsFunc(n.bound(), func(v host.VirtualAddress) bool { return v.Link == via }) {
		return fmt.Errorf("network is down")
	}
	if n.isDown(index) || n.sendFails || destination == n.sendFailsTo {
		return fmt.Errorf("network is down")
	}
	n.sent = append(n.sent, sentPacket{index, source, destination, slices.Clone(payload), via})
	_, mac := n.wire(via)
	n.w.send(n, index, destination, ipPacket(source, destination, payload), mac)
	return nil
}

// wire is the link on which the LAN sees what is on a link, and the MAC address
// it sees it from.
func (n *simNode) wire(index int) (parent int, mac lan.MAC) {
	for v, i := range n.macvlans {
		if i == index {
			return v.Parent, lan.MAC(v.HardwareAddr())
		}
	}
	return index, lan.MAC(n.hardwareAddr(index))
}

// swallows tells whether a private macvlan takes what comes from a MAC address.
func (n *simNode) swallows(mac lan.MAC) bool {
	return n.macvlanPrivate && slices.ContainsFunc(n.bound(), func(v host.VirtualAddress) bool {
		_, own := n.wire(v.Link)
		return v.Link != eth0 && own == mac
	})
}

// simLinks are the links with virtual MAC addresses of a node.
type simLinks struct{ n *simNode }

func (s simLinks) Set(want []host.VirtualLink) (map[host.VirtualLink]int, error) {
	var failed []error
	present := s.n.macvlans
	s.n.macvlans = map[host.VirtualLink]int{}
	for _, v := range want {
		switch index := present[v]; {
		case index != 0:
			s.n.macvlans[v] = index
		case s.n.macvlanFails:
			failed = append(failed, &host.VirtualLinkError{VirtualLink: v, Err: fmt.Errorf("operation not supported")})
		default:
			s.n.macvlanIndex++
			s.n.macvlans[v] = s.n.macvlanIndex
		}
	}
	return maps.Clone(s.n.macvlans), joined(failed)
}

// send puts a frame on a LAN.
func (w *world) send(from *simNode, index int, destination netip.Addr, data []byte, mac lan.MAC) {
	for _, to := range w.nodes {
		mine := destination.IsMulticast() || destination == simAddress(vrrp.FamilyOf(destination), index, to.id)
		if mine && to != from && (from == nil || !w.cut[[2]int{from.id, to.id}]) && !to.isDown(index) && !to.swallows(mac) && w.rng.Float64() >= w.loss {
			delay := int64(50_000 + w.rng.IntN(150_000))
			w.flight = append(w.flight, flying{at: w.now + delay, to: to.id, index: index, data: data, mac: mac})
		}
	}
}

func (n *simNode) Set(want []host.VirtualAddress) error {
	wanted := map[host.VirtualAddress]bool{}
	var failed []error
	if n.failOnce {
		n.failOnce = false
		for _, v := range want {
			failed = append(failed, &host.AddressError{VirtualAddress: v, Err: fmt.Errorf("resource temporarily unavailable")})
		}
		return joined(failed)
	}
	leased := map[host.VirtualAddress]bool{}
	n.removed = nil
	defer func() { n.leased, n.renewed = leased, n.w.now }()
	for _, v := range want {
		if n.leased[v] && n.expiry[v] <= n.w.now && n.w.now-n.renewed < int64(lease) {
			n.removed = append(n.removed, v)
		}
		if n.bindFails[v.Address] {
			failed = append(failed, &host.AddressError{VirtualAddress: v, Err: fmt.Errorf("operation not permitted")})
			continue
		}
		wanted[v], leased[v] = true, true
		n.expiry[v] = n.w.now + int64(lease)
	}
	for _, v := range n.bound() {
		if !wanted[v] {
			delete(n.expiry, v)
			n.unbinds[v.Address]++
		}
	}
	return joined(failed)
}

func (n *simNode) Removed() []host.VirtualAddress { return n.removed }

func (n *simNode) RemoveLeftovers() ([]host.VirtualAddress, error) {
	clear(n.expiry)
	return nil, nil
}

func (n *simNode) Announce(index int, _ net.HardwareAddr, vips []netip.Addr) error {
	n.announcements++
	index, mac := n.wire(index)
	for _, vip := range vips {
		n.w.say(n, lan.NeighborEvent{Index: index, IP: vip, MAC: mac}, nil)
		if !n.isDown(index) && n.w.rng.Float64() >= n.w.loss {
			n.w.cache[vip] = n.id
		}
	}
	return nil
}

// Reply says nothing new to the client.
func (n *simNode) AnnounceReply(int, net.HardwareAddr, []netip.Addr) error { return nil }

func (n *simNode) Watch(vips map[int][]netip.Addr) error {
	n.watched = vips
	return nil
}

// Probe asks all who have one of the addresses. They answer this node, whether or
// not a process runs there.
func (n *simNode) Probe(index int, mac net.HardwareAddr, _ netip.Addr, vips []netip.Addr) error {
	if !slices.Equal(mac, n.hardwareAddr(index)) {
		n.w.fatalf("n%d asks on link %d from %s", n.id, index, mac)
	}
	n.probes += len(vips)
	for _, vip := range vips {
		for _, s := range n.w.squatters {
			if s.index == index && s.vip == vip && !s.mute && n.w.claims.Float64() >= n.w.loss {
				n.w.say(nil, s.claim(), n)
			}
		}
		for _, other := range n.w.nodes {
			if other == n || n.w.cut[[2]int{n.id, other.id}] || other.isDown(index) || n.w.claims.Float64() < n.w.loss {
				continue
			}
			for _, v := range other.bound() {
				if parent, mac := other.wire(v.Link); parent == index && v.Address == vip {
					n.w.say(other, lan.NeighborEvent{Index: index, IP: vip, MAC: mac}, n)
				}
			}
		}
	}
	return nil
}

// say puts a claim on a LAN, to one node or to all. From nil it is a squatter's.
func (w *world) say(from *simNode, c lan.NeighborEvent, only *simNode) {
	for _, to := range w.nodes {
		if only != nil && to != only || to == from || from != nil && (from.isDown(c.Index) || w.cut[[2]int{from.id, to.id}]) || to.isDown(c.Index) || w.claims.Float64() < w.loss {
			continue
		}
		delay := int64(50_000 + w.claims.IntN(150_000))
		w.flight = append(w.flight, flying{at: w.now + delay, to: to.id, index: c.Index, claim: c})
	}
}

// noNeighbors has nothing to do.
type noNeighbors struct{}

func (noNeighbors) Set(map[netip.Addr]desired.Answer) error { return nil }

func (noNeighbors) SetSenders(map[netip.Addr]netip.Addr) error { return nil }

// joined is errors.Join's shape without its text, which is not needed here.
func joined(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return multiError(errs)
}

type multiError []error

func (m multiError) Error() string   { return fmt.Sprint([]error(m)) }
func (m multiError) Unwrap() []error { return m }

// run lets d pass.
func (w *world) run(d time.Duration) {
	end := w.now + int64(d)
	for {
		next := int64(math.MaxInt64)
		for _, s := range w.strangers {
			if s.next = max(s.next, w.now); s.next == w.now {
				group := vrrp.Group(vrrp.FamilyOf(s.source))
				w.send(nil, s.index, group, ipPacket(s.source, group, s.advert.Append(nil, s.source, group)), lan.MAC{})
				s.next += int64(s.advert.Interval)
			}
			next = min(next, s.next)
		}
		for _, n := range w.nodes {
			if !n.dead && !n.frozen {
				next = min(next, int64(n.loop.deadline()), n.announceAt)
			}
			if !n.dead && n.pending != nil {
				next = min(next, n.kernelDone)
			}
		}
		for _, f := range w.flight {
			next = min(next, f.at)
		}
		if next > end {
			w.now = end
			return
		}
		w.now = max(w.now, next)
		w.deliver()
		for _, n := range w.nodes {
			n.mastersAnswer()
			if !n.dead {
				n.kernel()
			}
			if !n.dead && !n.frozen && n.announceAt <= w.now {
				n.announceAt = int64(n.workers.host.announcements.announce())
			}
			if !n.dead && !n.frozen && (len(n.queue) > 0 || int64(n.loop.deadline()) <= w.now || !n.inboxEmpty()) {
				n.turn()
			}
			n.deadAreSilent()
		}
	}
}

// deliver puts the frames that have arrived into the nodes' sockets.
func (w *world) deliver() {
	slices.SortStableFunc(w.flight, func(a, b flying) int { return int(a.at - b.at) })
	for len(w.flight) > 0 && w.flight[0].at <= w.now {
		f := w.flight[0]
		w.flight = w.flight[1:]
		n := w.nodes[f.to]
		if f.data == nil && !n.dead && !n.isDown(f.index) && slices.Contains(n.watched[f.index], f.claim.IP) {
			n.engine.Heard(f.claim)
		}
		if f.data != nil && !n.dead && !n.isDown(f.index) {
			n.queue = append(n.queue, f)
		}
	}
}

func (w *world) apply(s desired.State) {
	for _, n := range w.nodes {
		if !n.dead {
			n.apply(s)
			n.turn()
		}
	}
}

// masters are the nodes whose router is Master.
func (w *world) masters() (ids []int) {
	for _, n := range w.nodes {
		if !n.dead && n.state() == vrrp.Master {
			ids = append(ids, n.id)
		}
	}
	return ids
}

func (n *simNode) state() vrrp.State {
	if len(n.loop.instances) == 0 {
		return vrrp.Initialize
	}
	return n.loop.instances[0].state()
}

// holders are the nodes whose kernel has the address and can be reached.
func (w *world) holders(vip netip.Addr) (ids []int) {
	for _, n := range w.nodes {
		if slices.Contains(n.held(), vip) {
			ids = append(ids, n.id)
		}
	}
	return ids
}

func (w *world) log(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%10.6f ", float64(w.now-int64(time.Hour))/1e9)+fmt.Sprintf(format, args...))
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace[max(0, len(w.trace)-60):], "\n"))
}

// ipPacket is a VRRP packet as an AF_PACKET socket receives it.
func ipPacket(source, destination netip.Addr, payload []byte) []byte {
	var b []byte
	if source.Is4() {
		b = make([]byte, 12, 20+len(payload))
		b[0], b[1], b[8], b[9] = 0x45, 0xc0, vrrp.TTL, vrrp.Protocol
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	} else {
		b = make([]byte, 8, 40+len(payload))
		b[0], b[1], b[6], b[7] = 0x6c, 0, vrrp.Protocol, vrrp.TTL
		binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	}
	b = append(b, source.AsSlice()...)
	b = append(b, destination.AsSlice()...)
	return append(b, payload...)
}

// stateOf asks for one virtual router with the given VIPs, priorities by node
// being all the same.
func stateOf(vips ...netip.Addr) desired.State {
	if len(vips) == 0 {
		return desired.State{}
	}
	return desired.State{Routers: []desired.Router{routerOf(50, vips...)}}
}

// routerOf asks for a virtual router with VIPs of one family.
func routerOf(vrid uint8, vips ...netip.Addr) desired.Router {
	r := desired.Router{
		Family: vrrp.FamilyOf(vips[0]), VRID: vrid,
		Settings: vrrp.Settings{Version: vrrp.V3, Priority: 150, AdvertisementInterval: 100 * time.Millisecond},
	}
	for _, vip := range vips {
		r.VIPs = append(r.VIPs, desired.VIP{Address: vip})
	}
	return r
}

// statesOf asks for several virtual routers.
func statesOf(routers ...desired.Router) desired.State { return desired.State{Routers: routers} }

// unicast makes a virtual router use unicast.
func unicast(r desired.Router) desired.Router {
	r.Unicast = true
	return r
}
