package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// fakeConns records what is opened and closed.
type fakeConns struct {
	did  []string
	fail map[int]error
}

func (f *fakeConns) Open(i lan.Interface) (*lan.Conn, error) {
	if err := f.fail[i.Index]; err != nil {
		return nil, err
	}
	f.did = append(f.did, fmt.Sprintf("open %d", i.Index))
	return &lan.Conn{Interface: i}, nil
}

func (f *fakeConns) Close(p *lan.Conn) error {
	f.did = append(f.did, fmt.Sprintf("close %d", p.Index))
	return nil
}

func (f *fakeConns) take() []string {
	did := f.did
	f.did = nil
	return did
}

// A port is closed when the loop has let go of it, and not before.
func TestSocketWorker(t *testing.T) {
	t.Parallel()
	eth0, eth1 := lan.Interface{Index: 2, Name: "eth0"}, lan.Interface{Index: 3, Name: "eth1"}
	refused := errors.New("no")
	f := &fakeConns{fail: map[int]error{3: refused}}
	var r socketResult
	w := newSocketWorker(f, func(n socketResult) { r = n })
	step := func(what string, o socketOrder, did []string, conns int) {
		t.Helper()
		w.sync(o)
		if diff := cmp.Diff(did, f.take()); diff != "" {
			t.Errorf("%s: -want +got\n%s", what, diff)
		}
		if len(r.conns) != conns {
			t.Errorf("%s: reports %d conns, want %d", what, len(r.conns), conns)
		}
	}

	both := []lan.Interface{eth0, eth1}
	step("one cannot be opened", socketOrder{interfaces: both}, []string{"open 2"}, 1)
	if !errors.Is(r.failed[portKey{3, vrrp.IPv4}], refused) {
		t.Errorf("reports %v, want the failure of eth1", r.failed)
	}
	f.fail = nil
	step("it can now", socketOrder{interfaces: both}, []string{"open 3"}, 2)
	step("nothing changed", socketOrder{interfaces: both}, nil, 2)

	broken := r.conns[0]
	step("one is broken", socketOrder{interfaces: both, broken: []*lan.Conn{broken}}, nil, 1)
	step("asked again", socketOrder{interfaces: both, broken: []*lan.Conn{broken}}, nil, 1)
	step("the loop has let go of it", socketOrder{interfaces: both, unused: []*lan.Conn{broken}}, []string{"close 2", "open 2"}, 2)

	gone := r.conns[0]
	if gone.Index != 3 {
		gone = r.conns[1]
	}
	step("an interface is gone", socketOrder{interfaces: []lan.Interface{eth0}}, nil, 1)
	step("and let go of", socketOrder{interfaces: []lan.Interface{eth0}, unused: []*lan.Conn{gone}}, []string{"close 3"}, 1)

	renamed := lan.Interface{Index: 2, Name: "lan0"}
	old := r.conns[0]
	step("renamed", socketOrder{interfaces: []lan.Interface{renamed}}, nil, 0)
	step("and let go of", socketOrder{interfaces: []lan.Interface{renamed}, unused: []*lan.Conn{old}}, []string{"close 2", "open 2"}, 1)
	step("another", socketOrder{interfaces: []lan.Interface{eth1}}, []string{"open 3"}, 1)

	// The end closes what the loop uses and what it has not let go of.
	ended, end := context.WithCancel(t.Context())
	end()
	if err := w.run(ended); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"close 3", "close 2"}, f.take()); diff != "" {
		t.Errorf("the end: -want +got\n%s", diff)
	}
}

// What one order wants closed is not lost when another replaces it.
func TestSocketWorkerPost(t *testing.T) {
	t.Parallel()
	a, b := &lan.Conn{}, &lan.Conn{}
	w := newSocketWorker(&fakeConns{}, nil)
	w.post(socketOrder{unused: []*lan.Conn{a}, broken: []*lan.Conn{b}})
	w.post(socketOrder{unused: []*lan.Conn{b}})
	if o, _ := w.take(); len(o.unused) != 2 || len(o.broken) != 1 {
		t.Errorf("%+v, want both orders' conns", o)
	}
}
