package probe

import (
	"net/netip"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

// An address that is taken away and given back has an outage of that time, and
// another one none.
func TestNetnsPingMeasuresAnOutage(t *testing.T) {
	ns := netnstest.New(t, "host")
	gone, stays := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	ip(ns, "addr add 192.0.2.1/32 dev lo")
	ip(ns, "addr add 192.0.2.2/32 dev lo")
	p, err := StartPing(ns.Path(), 2*time.Millisecond, gone, stays)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	until("no answers", func() bool { return p.Steady(100 * time.Millisecond) })

	begin := time.Now()
	ip(ns, "addr del 192.0.2.1/32 dev lo")
	until("still answers", func() bool { return !p.Steady(50 * time.Millisecond) })
	given := time.Now()
	ip(ns, "addr add 192.0.2.1/32 dev lo")
	until("no answers again", func() bool { return p.Steady(100 * time.Millisecond) })
	back, ok := p.First(gone, given)
	if !ok || back.Sub(given) > slack+time.Second {
		t.Errorf("answers again after %v, %v", back.Sub(given), ok)
	}
	if got, least, most := p.Outage(gone, begin), 20*time.Millisecond, back.Sub(begin)+slack; got < least || got > most {
		t.Errorf("outage %v, want %v to %v", got, least, most)
	}
	if got := p.Outage(stays, begin); got > 10*2*time.Millisecond+p.Lag() {
		t.Errorf("outage %v of the address that stays, lag %v", got, p.Lag())
	}
}
