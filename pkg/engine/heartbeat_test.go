package engine

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// simAlive and simWatched are what the nftables table has for timeouts.
	simAlive   = 500 * time.Millisecond
	simWatched = 4 * time.Second
)

// gateState is what a node's kernel knows of pulses.
type gateState struct {
	pulsed map[desired.Pulse]int64 // when last
	answer map[netip.Addr]desired.Answer
	fails  bool // no pulse goes out
	count  int
}

// simGate is the heartbeat sender and the neighbors of a node.
type simGate struct{ n *simNode }

func (g simGate) SendHeartbeat(p desired.Pulse) error {
	s := &g.n.gate
	if s.fails {
		return fmt.Errorf("network is down")
	}
	if s.pulsed == nil {
		s.pulsed = map[desired.Pulse]int64{}
	}
	s.pulsed[p] = g.n.w.now
	s.count++
	return nil
}

func (g simGate) Set(answer map[netip.Addr]desired.Answer) error {
	g.n.gate.answer = answer
	return nil
}

// silent tells that questions for a VIP do not reach the node's kernel.
func (n *simNode) silent(vip netip.Addr) bool {
	last, watched := n.gate.pulsed[n.gate.answer[vip].Pulse]
	age := n.w.now - last
	return watched && age < int64(simWatched) && age > int64(simAlive)
}

// answers tells that the node's kernel answers for a VIP.
func (n *simNode) answers(vip netip.Addr) bool {
	return slices.Contains(n.held(), vip) && !n.silent(vip)
}

// mastersAnswer asserts, before a node goes round, that a Master that has run all
// along was not silent for what it holds.
func (n *simNode) mastersAnswer() {
	if n.dead || n.frozen || !n.ran {
		n.ran = false
		return
	}
	for _, in := range n.loop.instances {
		// The kernel that is slow may still have what other routers were told.
		if in.state() != vrrp.Master || !in.advertised || in.sendFailures > 0 || n.pending != nil || n.kernelHangs || n.gate.fails {
			continue
		}
		for _, vip := range in.config.Addresses {
			if n.gate.answer[vip].Pulse == in.pulse() && n.silent(vip) {
				n.w.fatalf("n%d is Master and silent for %s", n.id, vip)
			}
		}
	}
}

// deadAreSilent asserts that what nobody pulses for is not answered for beyond
// the bound.
func (n *simNode) deadAreSilent() {
	last := int64(math.MinInt64)
	for _, at := range n.gate.pulsed {
		last = max(last, at)
	}
	if !n.dead && !n.frozen || n.w.now-last <= int64(simAlive) || n.w.now-last >= int64(simWatched) {
		return
	}
	for _, vip := range n.held() {
		if _, watched := n.gate.pulsed[n.gate.answer[vip].Pulse]; watched && n.answers(vip) {
			n.w.fatalf("n%d is dead for %s and answers for %s", n.id, time.Duration(n.w.now-last), vip)
		}
	}
}

// gated are states in which a Master dies: intervals that are shorter and much
// longer than that of the pulses.
func gated() map[string]desired.State {
	slow := routerOf(50, vipA)
	slow.Version, slow.AdvertisementInterval = vrrp.V2, time.Second
	fast := routerOf(50, vipA)
	fast.AdvertisementInterval = 10 * time.Millisecond
	return map[string]desired.State{
		"100 ms": stateOf(vipA), "VRRPv2": statesOf(slow), "10 ms": statesOf(fast), "IPv6": stateOf(vip6A),
		"unicast": statesOf(unicast(routerOf(50, vipA, vipC))),
	}
}

// TestSimulatedGate has a Master killed, and one stopped and continued.
func TestSimulatedGate(t *testing.T) {
	for name, state := range gated() {
		for _, how := range []string{"killed", "frozen"} {
			t.Run(name+" "+how, func(t *testing.T) {
				w := settledWith(t, 1, 2, state)
				n := w.nodes[w.oneMaster("before")]
				vips := state.Routers[0].VIPs
				for _, vip := range vips {
					if !n.answers(vip.Address) {
						w.fatalf("the Master does not answer for %s", vip.Address)
					}
				}
				if how == "killed" {
					n.kill()
				} else {
					n.frozen = true
				}
				w.run(simAlive + time.Millisecond)
				for _, vip := range vips {
					if !slices.Contains(n.held(), vip.Address) {
						w.fatalf("%s is gone already: the gate is not seen", vip.Address)
					}
					if n.answers(vip.Address) {
						w.fatalf("%s is answered for", vip.Address)
					}
				}
				if how == "killed" {
					return
				}
				w.run(10 * time.Second)
				n.frozen = false
				n.turn()
				w.run(10 * time.Second)
				w.oneMaster("after it went on")
			})
		}
	}
}

// TestSimulatedPulseFails has no pulses go out for a while: a healthy Master
// is not silent for longer than the rest of a pulse's time, and the gate is back
// afterwards.
func TestSimulatedPulseFails(t *testing.T) {
	w := settled(t, 1, 2)
	n := w.nodes[w.oneMaster("before")]
	n.gate.fails = true
	for range 1000 {
		w.run(10 * time.Millisecond)
		if !n.answers(vipA) {
			w.fatalf("silent")
		}
	}
	if n.engine.Status().PulseFailures == 0 {
		t.Error("no failures counted")
	}
	n.gate.fails = false
	w.run(time.Second)
	if n.gate.answer[vipA].Pulse == 0 {
		t.Error("the answers do not depend on pulses again")
	}
	w.oneMaster("afterwards")
}

// TestSimulatedPulsesOfMasters has none sent for what is not Master.
func TestSimulatedPulsesOfMasters(t *testing.T) {
	w := settled(t, 1, 2)
	master := w.oneMaster("before")
	before := [2]int{w.nodes[0].gate.count, w.nodes[1].gate.count}
	w.run(10 * time.Second)
	for id, n := range w.nodes {
		got := n.gate.count - before[id]
		if id != master && got != 0 || id == master && (got < 80 || got > 134) {
			t.Errorf("n%d, Master %t, sent %d pulses in 10 s", id, id == master, got)
		}
	}
}
