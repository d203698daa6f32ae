package engine

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
)

// fakeKernel records what an actuator does, in order.
type fakeKernel struct {
	mu      sync.Mutex
	did     []string
	bindErr error
	removed []host.VirtualAddress
	// setTakes is how long it takes to write who answers ARP.
	setTakes time.Duration
}

func (k *fakeKernel) note(s string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.did = append(k.did, s)
}

func (k *fakeKernel) count(s string) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range k.did {
		if d == s {
			n++
		}
	}
	return n
}

type fakeAddresses struct{ *fakeKernel }

func (k fakeAddresses) Set(want []host.VirtualAddress) error {
	s := "addresses"
	for _, v := range want {
		s += " " + v.Address.String()
	}
	k.note(s)
	return k.bindErr
}

func (k fakeAddresses) Removed() []host.VirtualAddress { return k.removed }

func (fakeAddresses) RemoveLeftovers() ([]host.VirtualAddress, error) { return nil, nil }

type fakeAnnouncer struct{ *fakeKernel }

func (k fakeAnnouncer) Announce(_ int, _ net.HardwareAddr, vips []netip.Addr) error {
	return k.say("announce", vips)
}

func (k fakeAnnouncer) AnnounceReply(_ int, _ net.HardwareAddr, vips []netip.Addr) error {
	return k.say("reply", vips)
}

func (k fakeAnnouncer) say(s string, vips []netip.Addr) error {
	for _, vip := range vips {
		s += " " + vip.String()
	}
	k.note(s)
	return nil
}

type fakeNeighbors struct{ *fakeKernel }

func (k fakeNeighbors) Set(answers map[netip.Addr]desired.Answer) error {
	s := "neighbors"
	for vip, a := range answers {
		s += " " + vip.String() + "@" + a.Interface
	}
	k.note(s)
	time.Sleep(k.setTakes)
	return nil
}

// newFakeHost returns workers whose lease results are kept.
func newFakeHost(k *fakeKernel) (*hostWorkers, *[]leaseResult) {
	var results []leaseResult
	return newHostWorkers(fakeAddresses{k}, fakeAnnouncer{k}, fakeNeighbors{k}, func(r leaseResult) { results = append(results, r) }, func(outcome) {}), &results
}

func hostStateOf(vips ...netip.Addr) hostState {
	o := hostState{
		policies: map[netip.Addr]desired.Answer{vipA: {Interface: "eth0"}},
		announce: map[int]announcement{2: {first: []netip.Addr{vipA, vipB}}},
	}
	for _, vip := range vips {
		o.addresses = append(o.addresses, host.VirtualAddress{Link: 2, Address: vip})
	}
	return o
}

// What is not bound is not announced, and an error is sorted by the address it
// concerns.
func TestHostWorkersAnnounceBoundAddresses(t *testing.T) {
	t.Parallel()
	b := host.VirtualAddress{Link: 2, Address: vipB}
	other := errors.New("another failure")
	k := &fakeKernel{bindErr: errors.Join(other, &host.AddressError{VirtualAddress: b, Err: errors.New("no")})}
	w, results := newFakeHost(k)
	w.leases.sync(hostStateOf(vipA, vipB))
	w.announcements.announce()
	if got := k.did[len(k.did)-1]; got != "announce 192.0.2.100" {
		t.Errorf("%q, want the announcement of the bound address alone", got)
	}
	// What was let go of meanwhile is not announced.
	w.leases.sync(hostStateOf(vipA, vipB))
	w.leases.sync(hostState{})
	k.did = nil
	w.announcements.announce()
	if len(k.did) != 0 {
		t.Errorf("%q after the address was let go of", k.did)
	}
	r := (*results)[0]
	if r.failed[b] == nil || len(r.failed) != 1 || !errors.Is(r.err, other) {
		t.Errorf("reports %v and %v, want the address and the other failure", r.failed, r.err)
	}
}

// An order that replaces one that waits keeps its announcements, each VIP
// once.
func TestHostWorkersPostKeepsAnnouncements(t *testing.T) {
	t.Parallel()
	w, _ := newFakeHost(&fakeKernel{})
	first, second := hostStateOf(vipA), hostStateOf(vipA)
	second.generation = 2
	w.post(first)
	w.post(second)
	got, _ := w.leases.take()
	if want := []netip.Addr{vipA, vipB}; got.generation != 2 || !slices.Equal(got.announce[2].first, want) {
		t.Errorf("%+v, want the second order with both orders' announcements", got)
	}
}

// Who answers ARP is written when it changes, when that failed, and every few
// seconds in case somebody removed it. A kernel that takes its time over it
// keeps no lease from being renewed.
func TestHostWorkersResyncNeighbors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{setTakes: time.Second}
		w, _ := newFakeHost(k)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.run(ctx) })
		for range 20 {
			w.post(hostStateOf(vipA))
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if got := k.count("neighbors 192.0.2.100@eth0"); got != 1 {
			t.Errorf("told %d times of what did not change, want once", got)
		}
		if got := k.count("addresses 192.0.2.100"); got != 20 {
			t.Errorf("leases renewed %d times of 20 while neighbors were written", got)
		}
		time.Sleep(resyncInterval)
		if got := k.count("neighbors 192.0.2.100@eth0"); got != 2 {
			t.Errorf("told %d times in %s, want twice", got, resyncInterval)
		}
		stop()
		wg.Wait()
	})
}
