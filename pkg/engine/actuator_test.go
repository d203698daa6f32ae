package engine

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/host"
)

// fakeKernel records what an actuator does, in order.
type fakeKernel struct {
	did     []string
	setErr  error
	bindErr error
}

func (k *fakeKernel) note(s string) { k.did = append(k.did, s) }

type fakeAddresses struct{ *fakeKernel }

func (k fakeAddresses) Set(want []host.VirtualAddress) error {
	s := "addresses"
	for _, v := range want {
		s += " " + v.Address.String()
	}
	k.note(s)
	return k.bindErr
}

func (fakeAddresses) RemoveLeftovers() ([]host.VirtualAddress, error) { return nil, nil }

type fakeAnnouncer struct{ *fakeKernel }

func (k fakeAnnouncer) Announce(_ int, _ net.HardwareAddr, vips []netip.Addr) error {
	s := "announce"
	for _, vip := range vips {
		s += " " + vip.String()
	}
	k.note(s)
	return nil
}

type fakeNeighbors struct{ *fakeKernel }

func (k fakeNeighbors) Set(bindings map[netip.Addr]string) error {
	s := "neighbors"
	for vip, link := range bindings {
		s += " " + vip.String() + "@" + link
	}
	k.note(s)
	return k.setErr
}

func newFakeActuator(k *fakeKernel) *actuator {
	return newActuator(fakeAddresses{k}, fakeAnnouncer{k}, fakeNeighbors{k})
}

func orderFor(vips ...netip.Addr) order {
	o := order{answer: map[netip.Addr]string{vipA: "eth0"}, announce: []announcement{{link: 2, vips: []netip.Addr{vipA, vipB}}}}
	for _, vip := range vips {
		o.want = append(o.want, host.VirtualAddress{Link: 2, Address: vip})
	}
	return o
}

// Addresses are bound before they are announced, and what is not bound is not
// announced.
func TestActuatorOrder(t *testing.T) {
	t.Parallel()
	k := &fakeKernel{}
	newFakeActuator(k).carryOut(orderFor(vipA))
	want := []string{"addresses 192.0.2.100", "neighbors 192.0.2.100@eth0", "announce 192.0.2.100"}
	if diff := cmp.Diff(want, k.did); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestActuatorAnnouncesWhatIsBound(t *testing.T) {
	t.Parallel()
	b := host.VirtualAddress{Link: 2, Address: vipB}
	other := errors.New("another failure")
	k := &fakeKernel{bindErr: errors.Join(other, &host.AddressError{VirtualAddress: b, Err: errors.New("no")})}
	r := newFakeActuator(k).carryOut(orderFor(vipA, vipB))
	if got := k.did[len(k.did)-1]; got != "announce 192.0.2.100" {
		t.Errorf("%q, want the announcement of the bound address alone", got)
	}
	if r.failed[b] == nil || len(r.failed) != 1 || !slices.Equal(r.errs, []error{other}) {
		t.Errorf("reports %v and %v, want the address and the other failure", r.failed, r.errs)
	}
}

// Who answers ARP is written when it changes, when it failed, and now and then
// in case somebody removed it.
func TestActuatorTellsNeighborsAgain(t *testing.T) {
	t.Parallel()
	k := &fakeKernel{}
	a := newFakeActuator(k)
	told := func() (n int) {
		for _, s := range k.did {
			if s == "neighbors 192.0.2.100@eth0" {
				n++
			}
		}
		return n
	}
	for range tellAgain {
		a.carryOut(orderFor(vipA))
	}
	if got := told(); got != 1 {
		t.Errorf("told %d times in %d orders, want once", got, tellAgain)
	}
	a.carryOut(orderFor(vipA))
	if got := told(); got != 2 {
		t.Errorf("told %d times in %d orders, want twice", got, tellAgain+1)
	}
	k.setErr = errors.New("no")
	for range tellAgain {
		a.carryOut(orderFor(vipA))
	}
	k.setErr = nil
	before := told()
	a.carryOut(orderFor(vipA))
	if got := told(); got != before+1 {
		t.Errorf("not told again after a failure")
	}
}

// An order that replaces one that waits keeps its announcements.
func TestActuatorPostKeepsAnnouncements(t *testing.T) {
	t.Parallel()
	a := newFakeActuator(&fakeKernel{})
	a.post(orderFor(vipA))
	a.post(order{seq: 2})
	got := a.take()
	if got.seq != 2 || len(got.want) != 0 || len(got.announce) != 1 {
		t.Errorf("%+v, want the second order with the first one's announcement", got)
	}
}
