package engine

import (
	"encoding/binary"
	"fmt"
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

// world is a LAN of nodes on a virtual clock: the loop and the actuator are
// the real ones, the network, the kernel's addresses and the client's ARP
// cache are simulated.
type world struct {
	t      *testing.T
	rng    *rand.Rand
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
	trace []string
	// rank is each node's rank in the order of the take-over delays.
	rank []int
}

// flying is a frame on its way.
type flying struct {
	at   int64
	to   int
	data []byte
}

// lease is how long the simulated kernel keeps an address.
const lease = 2 * time.Second

// simNode is a node: the network, addresses and announcer of its engine.
type simNode struct {
	w       *world
	id      int
	address netip.Addr
	engine  *Engine
	loop    *loop
	act     *actuator
	// listener opens ports at once.
	listener *listener
	queue    []flying
	// dead: no process. frozen: a process that does not run.
	dead, frozen bool
	linkDown     bool
	sendFails    bool
	kernelHangs  bool
	// failOnce makes the next renewal fail as a whole.
	failOnce      bool
	announcements int
	// flood is a packet that never ends to be waiting.
	flood       []byte
	flooded     int
	link        host.Link // as the engine was last told
	bindFails   map[netip.Addr]bool
	expiry      map[netip.Addr]int64
	transitions []desired.Transition
	alarms      []desired.AlarmChange
	// unbinds counts, by address, how often it went from bound to unbound.
	unbinds map[netip.Addr]int
	sent    [][]byte
}

func newWorld(t *testing.T, seed uint64, nodes int) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: int64(time.Hour), cut: map[[2]int]bool{}, cache: map[netip.Addr]int{}}
	w.rank = w.rng.Perm(nodes)
	for i := range nodes {
		n := &simNode{
			w: w, id: i, address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}),
			expiry: map[netip.Addr]int64{}, bindFails: map[netip.Addr]bool{}, unbinds: map[netip.Addr]int{},
		}
		w.nodes = append(w.nodes, n)
		n.boot(nil)
	}
	return w
}

// boot starts the node's process.
func (n *simNode) boot(state *desired.State) {
	n.dead, n.frozen, n.queue, n.link = false, false, nil, host.Link{}
	n.engine = New(Config{
		Network: n, Ports: n, Addresses: n, Announcer: n, Neighbors: noNeighbors{}, Release: true,
		OnTransition: func(t desired.Transition) {
			n.transitions = append(n.transitions, t)
			n.w.log("n%d %s -> %s (%s)", n.id, t.From, t.To, t.Reason)
		},
		OnAlarm: func(a desired.AlarmChange) {
			n.alarms = append(n.alarms, a)
			n.w.log("n%d alarm %s on %t", n.id, a.Reason, a.On)
		},
	})
	n.act = newActuator(n, n, noNeighbors{}, func(r report) {
		n.engine.tell(func(m *messages) { m.reports = append(m.reports, r) })
	})
	n.listener = newListener(n, func(r listenReport) { n.engine.tell(func(m *messages) { m.listening = append(m.listening, r) }) })
	n.loop = newLoop(n.engine, logr.Discard(), n.carryOut, n.listener.carryOut)
	_, _ = n.RemoveLeftovers()
	n.links()
	if state != nil {
		n.apply(*state)
	}
	n.turn()
}

// apply gives the node the state, with a take-over delay of its own as every
// node has.
func (n *simNode) apply(s desired.State) {
	s.Routers = slices.Clone(s.Routers)
	for i := range s.Routers {
		s.Routers[i].TakeoverDelay = time.Duration(n.w.rank[n.id]) * s.Routers[i].AdvertisementInterval / 16
	}
	n.engine.Apply(s)
}

// links tells the engine of the node's one interface, if it has changed.
func (n *simNode) links() {
	addresses := []host.Address{{Prefix: netip.PrefixFrom(n.address, 24), Permanent: true}}
	for _, vip := range n.held() {
		addresses = append(addresses, host.Address{Prefix: netip.PrefixFrom(vip, 32), Ours: true})
	}
	link := host.Link{
		Index: 2, Name: "eth0", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(n.id)},
		Up: true, Running: !n.linkDown, Multicast: true, Addresses: addresses,
	}
	if !reflect.DeepEqual(link, n.link) {
		n.link = link
		n.engine.Links(host.Snapshot{Links: []host.Link{link}})
	}
}

// carryOut does an order at once, as a fast kernel would; a kernel that hangs
// does none.
func (n *simNode) carryOut(o order) {
	if n.kernelHangs {
		return
	}
	n.act.bind(o)
	if all, ok := n.act.announcements.take(); ok {
		n.act.announce(all)
	}
	n.links()
}

// turn lets the loop go round until it has nothing left to do now.
func (n *simNode) turn() {
	for range 10 {
		n.loop.turn()
		told, _ := n.engine.notifier.queue.take()
		runAll(told)
		if len(n.queue) == 0 && int64(n.loop.deadline()) > n.w.now && n.inboxEmpty() {
			return
		}
	}
}

func (n *simNode) inboxEmpty() bool {
	m := &n.engine.inbox.messages
	return m.state == nil && m.links == nil && len(m.listening) == 0 && len(m.reports) == 0 && !m.stop
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

// advertised returns the addresses of the last advertisement sent.
func (n *simNode) advertised() []netip.Addr {
	if len(n.sent) == 0 {
		return nil
	}
	header := vrrp.Header{Source: n.address, Destination: vrrp.GroupIPv4, TTL: vrrp.TTL}
	var a vrrp.Advertisement
	if _, discard := vrrp.Parse(header, n.sent[len(n.sent)-1], &a); discard != vrrp.DiscardNone {
		n.w.fatalf("n%d sent a packet that is discarded: %s", n.id, discard)
	}
	return a.Addresses
}

// held returns the addresses that the kernel of the node has, sorted.
func (n *simNode) held() []netip.Addr {
	var vips []netip.Addr
	for vip, expiry := range n.expiry {
		if n.w.now < expiry {
			vips = append(vips, vip)
		}
	}
	slices.SortFunc(vips, netip.Addr.Compare)
	return vips
}

func (n *simNode) Now() int64          { return n.w.now }
func (n *simNode) Use([]*lan.Port)     {}
func (n *simNode) Broken() []*lan.Port { return nil }
func (n *simNode) Wait(int64) error    { return nil }
func (n *simNode) Wake()               {}

func (n *simNode) Open(i lan.Interface) (*lan.Port, error) { return &lan.Port{Interface: i}, nil }
func (n *simNode) Close(*lan.Port) error                   { return nil }

func (n *simNode) Receive(p *lan.Packet) bool {
	if len(n.queue) == 0 && n.flood != nil {
		if n.flooded++; n.flooded%1_000_000 == 0 {
			n.w.fatalf("n%d does nothing but read packets", n.id)
		}
		p.Index, p.Data, p.Arrived = 2, n.flood, n.w.now
		return true
	}
	if len(n.queue) == 0 {
		return false
	}
	p.Index, p.Data, p.Arrived = 2, n.queue[0].data, n.queue[0].at
	n.queue = n.queue[1:]
	return true
}

func (n *simNode) Send(index int, source, _ netip.Addr, payload []byte) error {
	if n.linkDown || n.sendFails {
		return fmt.Errorf("network is down")
	}
	n.sent = append(n.sent, slices.Clone(payload))
	data := ipv4Packet(source, vrrp.GroupIPv4, payload)
	for _, to := range n.w.nodes {
		if to != n && !n.w.cut[[2]int{n.id, to.id}] && !to.linkDown && n.w.rng.Float64() >= n.w.loss {
			delay := int64(50_000 + n.w.rng.IntN(150_000))
			n.w.flight = append(n.w.flight, flying{at: n.w.now + delay, to: to.id, data: data})
		}
	}
	return nil
}

func (n *simNode) Set(want []host.VirtualAddress) error {
	wanted := map[netip.Addr]bool{}
	var failed []error
	if n.failOnce {
		n.failOnce = false
		for _, v := range want {
			failed = append(failed, &host.AddressError{VirtualAddress: v, Err: fmt.Errorf("resource temporarily unavailable")})
		}
		return joined(failed)
	}
	for _, v := range want {
		if n.bindFails[v.Address] {
			failed = append(failed, &host.AddressError{VirtualAddress: v, Err: fmt.Errorf("operation not permitted")})
			continue
		}
		wanted[v.Address] = true
		n.expiry[v.Address] = n.w.now + int64(lease)
	}
	for _, vip := range n.held() {
		if !wanted[vip] {
			delete(n.expiry, vip)
			n.unbinds[vip]++
		}
	}
	return joined(failed)
}

func (n *simNode) RemoveLeftovers() ([]host.VirtualAddress, error) {
	clear(n.expiry)
	return nil, nil
}

func (n *simNode) Announce(_ int, _ net.HardwareAddr, vips []netip.Addr) error {
	n.announcements++
	for _, vip := range vips {
		if !n.linkDown && n.w.rng.Float64() >= n.w.loss {
			n.w.cache[vip] = n.id
		}
	}
	return nil
}

// noNeighbors has nothing to do: the simulated nodes have one interface.
type noNeighbors struct{}

func (noNeighbors) Set(map[netip.Addr]string) error { return nil }

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
		for _, n := range w.nodes {
			if !n.dead && !n.frozen {
				next = min(next, int64(n.loop.deadline()))
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
			if !n.dead && !n.frozen && (len(n.queue) > 0 || int64(n.loop.deadline()) <= w.now || !n.inboxEmpty()) {
				n.turn()
			}
		}
	}
}

// deliver puts the frames that have arrived into the nodes' sockets.
func (w *world) deliver() {
	slices.SortStableFunc(w.flight, func(a, b flying) int { return int(a.at - b.at) })
	for len(w.flight) > 0 && w.flight[0].at <= w.now {
		f := w.flight[0]
		w.flight = w.flight[1:]
		if n := w.nodes[f.to]; !n.dead && !n.linkDown {
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

func ipv4Packet(source, destination netip.Addr, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[1], b[8], b[9] = 0x45, 0xc0, vrrp.TTL, vrrp.Protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], source.AsSlice())
	copy(b[16:], destination.AsSlice())
	return append(b, payload...)
}

// stateOf asks for one virtual router with the given VIPs, priorities by node
// being all the same.
func stateOf(vips ...netip.Addr) desired.State {
	r := desired.Router{
		Family: vrrp.IPv4, VRID: 50, Version: vrrp.V3, Priority: 150, AdvertisementInterval: 100 * time.Millisecond,
	}
	for _, vip := range vips {
		r.VIPs = append(r.VIPs, desired.VIP{Address: vip})
	}
	s := desired.State{}
	if len(vips) > 0 {
		s.Routers = []desired.Router{r}
	}
	return s
}
