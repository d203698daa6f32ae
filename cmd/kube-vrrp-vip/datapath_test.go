package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/proxy"
)

// rules is a table that the test writes by hand.
type rules struct {
	taken chan desired.Datapath
	wrote chan error
}

func (r rules) Run(ctx context.Context, states <-chan desired.Datapath, report func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-states:
			r.taken <- s
			report(<-r.wrote)
		case err := <-r.wrote:
			report(err)
		}
	}
}

func proxied(address string, ports ...uint16) desired.State {
	s := desired.State{Datapath: desired.Datapath{Forwards: []desired.Forward{{VIP: netip.MustParseAddr("192.0.2.99")}}}}
	if address != "" {
		s.NodeAddresses = []netip.Addr{netip.MustParseAddr(address)}
	}
	f := &s.Datapath.Forwards[0]
	f.Ports = append(f.Ports, desired.Port{Protocol: desired.TCP, Port: 80, Target: netip.MustParseAddrPort("10.96.0.10:80")})
	for _, p := range ports {
		f.Ports = append(f.Ports, desired.Port{Protocol: desired.TCP, Port: p, Target: netip.MustParseAddrPort("127.0.0.3:1"), Proxy: desired.ProxyV2})
	}
	return s
}

// TestDatapathOrder: a listener is there before the rules that lead to it, and
// until those that do not have been written.
func TestDatapathOrder(t *testing.T) {
	t.Parallel()
	r := rules{make(chan desired.Datapath), make(chan error)}
	d := newDatapath(proxy.New(), r)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); d.run(ctx) }()
	defer func() { cancel(); <-ended }()

	listens := func(p desired.Port) bool {
		c, err := net.Dial("tcp", p.Target.String())
		if err == nil {
			c.Close()
		}
		// It was accepted, though there is nothing behind it.
		return err == nil || errors.Is(err, syscall.ECONNRESET)
	}
	closes := func(p desired.Port) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); listens(p); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is not closed", p.Target)
			}
		}
	}

	d.apply(proxied("127.0.0.2", 443, 444))
	first := (<-r.taken).Forwards[0].Ports
	plain, a, b := first[0], first[1], first[2]
	if d := cmp.Diff(proxied("").Datapath.Forwards[0].Ports[0], plain, compareValues); d != "" {
		t.Errorf("a port without proxy: %s", d)
	}
	for _, p := range []desired.Port{a, b} {
		if p.Target.Addr() != netip.MustParseAddr("127.0.0.2") || !p.KeepSource || p.Proxy != desired.ProxyV2 || !listens(p) {
			t.Errorf("leads to %+v", p)
		}
	}
	r.wrote <- nil

	// The state after the next one comes while the rules of the next one are
	// being written: what these lead to stays.
	d.apply(proxied("127.0.0.2", 443))
	second := (<-r.taken).Forwards[0].Ports
	if len(second) != 2 || second[1].Target != a.Target || !listens(b) {
		t.Errorf("before the rules were written: %+v", second)
	}
	d.apply(proxied("127.0.0.2"))
	for deadline := time.Now().Add(10 * time.Second); len(d.proxy.Status()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the state was not taken")
		}
	}
	r.wrote <- nil
	<-r.taken
	if !listens(a) {
		t.Error("closed while rules lead to it")
	}
	r.wrote <- errors.New("busy")
	closes(a)
	closes(b)
}

// TestDatapathUnheard: a port without listener is left out, said, and tried
// again as often as the rules are looked at.
func TestDatapathUnheard(t *testing.T) {
	t.Parallel()
	r := rules{make(chan desired.Datapath), make(chan error)}
	d := newDatapath(proxy.New(), r)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); d.run(ctx) }()
	defer func() { cancel(); <-ended }()

	status := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(d.status().ProxyErr, want) || (want == "") != (d.status().ProxyErr == ""); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("status %q, want %q", d.status().ProxyErr, want)
			}
		}
		if s := d.status(); s.Err != "" || s.LastSync.IsZero() {
			t.Errorf("status %+v of rules that were written", s)
		}
	}
	d.apply(proxied("", 443))
	if got := (<-r.taken).Forwards[0].Ports; len(got) != 1 || got[0].Port != 80 {
		t.Errorf("without a node's address: %+v", got)
	}
	r.wrote <- nil
	status("proxy 192.0.2.99:443: the node's own address of this family is not known")
	r.wrote <- nil // Nothing has changed: no rules are given.

	// What is left out would be answered by the host.
	open := proxied("", 443)
	open.Datapath.Forwards[0].Open = true
	d.apply(open)
	nobody := desired.Port{Protocol: desired.TCP, Port: 443, Target: netip.MustParseAddrPort("192.0.2.99:0"), KeepSource: true}
	if got := (<-r.taken).Forwards[0].Ports; len(got) != 2 || cmp.Diff(nobody, got[1], compareValues) != "" {
		t.Errorf("without a node's address and without guard: %+v", got)
	}
	r.wrote <- nil
	status("proxy 192.0.2.99:443: the node's own address of this family is not known")

	d.apply(proxied("127.0.0.2", 443))
	if got := (<-r.taken).Forwards[0].Ports; len(got) != 2 || got[1].Target.Addr() != netip.MustParseAddr("127.0.0.2") {
		t.Errorf("with a node's address: %+v", got)
	}
	r.wrote <- nil
	status("")
}

var compareValues = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
