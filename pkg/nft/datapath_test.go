package nft

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kube-vrrp-vip/pkg/desired"
)

func TestContents(t *testing.T) {
	t.Parallel()
	d := &Datapath{zones: *newZones()}
	target, v6 := netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd10:96::10")
	key6 := "\xfd\x10\x00\x96\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10"
	got, problems := d.contents([]desired.Forward{
		{VIP: vipA, Ports: []desired.Port{{Protocol: desired.TCP, Port: 80, Target: netip.AddrPortFrom(target, 80)}, {Protocol: desired.UDP, Port: 258, Target: netip.AddrPortFrom(target, 258)}}},
		{VIP: vipB, NodePorts: []desired.NodePort{{Protocol: desired.TCP, Port: 30080}, {Protocol: desired.UDP, Port: 30080}, {Protocol: 132, Port: 30081}}},
		{VIP: v6, Ports: []desired.Port{{Protocol: desired.TCP, Port: 80, Target: netip.AddrPortFrom(v6, 80)}}, NodePorts: []desired.NodePort{{Protocol: desired.TCP, Port: 30080}}},
		{VIP: v6},
		{},
		{VIP: netip.MustParseAddr("::ffff:192.0.2.100")},
		{VIP: vipC, Ports: []desired.Port{{Protocol: desired.TCP, Port: 80, Target: netip.AddrPortFrom(v6, 80)}, {Protocol: desired.TCP, Port: 81, Target: netip.AddrPortFrom(netip.Addr{}, 81)}, {Protocol: 132, Port: 82, Target: netip.AddrPortFrom(target, 82)}, {Protocol: desired.TCP, Port: 83, Target: netip.AddrPortFrom(target, 83)}}},
		{VIP: vipA},
	}, nil)
	zone := func(id uint16) string { return zoneMap(map[netip.Addr]uint16{vipA: id})["\xc0\x00\x02\x64"] }
	want := contents{
		"vip4": {"\xc0\x00\x02\x64": "", "\xc0\x00\x02\x65": "", "\xc0\x00\x02\x66": ""},
		"svc4": {
			"\xc0\x00\x02\x64\x06\x00\x00\x00\x00\x50\x00\x00": "\x0a\x60\x00\x0a",
			"\xc0\x00\x02\x64\x11\x00\x00\x00\x01\x02\x00\x00": "\x0a\x60\x00\x0a",
			"\xc0\x00\x02\x66\x06\x00\x00\x00\x00\x53\x00\x00": "\x0a\x60\x00\x0a",
		},
		"nodeport4": {
			"\xc0\x00\x02\x65\x06\x00\x00\x00\x75\x80\x00\x00": "",
			"\xc0\x00\x02\x65\x11\x00\x00\x00\x75\x80\x00\x00": "",
		},
		"vip6":        {key6: ""},
		"nodeport6":   {key6 + "\x06\x00\x00\x00\x75\x80\x00\x00": ""},
		"zone4":       {"\xc0\x00\x02\x64": zone(20000), "\xc0\x00\x02\x65": zone(20001), "\xc0\x00\x02\x66": zone(20002)},
		"back4":       {zone(20000): "\xc0\x00\x02\x64", zone(20001): "\xc0\x00\x02\x65", zone(20002): "\xc0\x00\x02\x66"},
		"icmp_error4": {"\x03": "", "\x0b": "", "\x0c": ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	wantProblems := []string{
		"forward 192.0.2.101 SCTP NodePort 30081: not TCP or UDP",
		"forward fd10:96::10 TCP port 80 to [fd10:96::10]:80: no ports of an IPv6 VIP are forwarded, they are refused",
		"forward invalid IP: neither an IPv4 nor an IPv6 address",
		"forward ::ffff:192.0.2.100: neither an IPv4 nor an IPv6 address",
		"forward 192.0.2.102 TCP port 80 to [fd10:96::10]:80: not TCP or UDP over IPv4",
		"forward 192.0.2.102 TCP port 81 to invalid AddrPort: not TCP or UDP over IPv4",
		"forward 192.0.2.102 SCTP port 82 to 10.96.0.10:82: not TCP or UDP over IPv4",
	}
	if diff := cmp.Diff(strings.Join(wantProblems, "\n"), errors.Join(problems...).Error()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type call struct {
			At  time.Duration
			VIP netip.Addr
		}
		var calls []call
		var reports []error
		start := time.Now()
		var result error
		sync := func(d desired.Datapath) error {
			calls = append(calls, call{time.Since(start), d.Forwards[0].VIP})
			return result
		}
		states := make(chan desired.Datapath, 2)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			run(ctx, states, sync, func(err error) { reports = append(reports, err) })
			close(done)
		}()
		expect := func(wait time.Duration, want ...call) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if diff := cmp.Diff(want, calls, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, err := range reports {
				if !errors.Is(err, result) {
					t.Errorf("reported %v, want %v", err, result)
				}
			}
			if len(reports) != len(calls) {
				t.Errorf("%d reports of %d calls", len(reports), len(calls))
			}
			calls, reports, start = nil, nil, time.Now()
		}

		expect(time.Hour) // Nothing is known that could be synced.
		states <- desired.Datapath{Forwards: []desired.Forward{{VIP: vipA}}}
		expect(12*time.Second, call{0, vipA}, call{5 * time.Second, vipA}, call{10 * time.Second, vipA})

		result = errors.New("not today")
		states <- desired.Datapath{Forwards: []desired.Forward{{VIP: vipB}}}
		expect(1600*time.Millisecond, call{0, vipB}, call{100 * time.Millisecond, vipB}, call{300 * time.Millisecond, vipB},
			call{700 * time.Millisecond, vipB}, call{1500 * time.Millisecond, vipB})

		result = nil
		states <- desired.Datapath{Forwards: []desired.Forward{{VIP: vipA}}}
		states <- desired.Datapath{Forwards: []desired.Forward{{VIP: vipC}}}
		expect(6*time.Second, call{0, vipC}, call{5 * time.Second, vipC})
		result = errors.New("again")
		states <- desired.Datapath{Forwards: []desired.Forward{{VIP: vipA}}}
		expect(200*time.Millisecond, call{0, vipA}, call{100 * time.Millisecond, vipA})

		close(states)
		expect(300*time.Millisecond, call{100 * time.Millisecond, vipA})
		cancel()
		<-done
	})
}
