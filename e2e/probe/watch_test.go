package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestNetnsWatch has two hosts on a LAN with a client: one has two addresses, and then
// the other has them, too.
func TestNetnsWatch(t *testing.T) {
	client, _ := newNetNS(t)
	hosts := make([]string, 2)
	for _, line := range []string{
		"link add eth0 type bridge", "link set eth0 address 02:00:00:00:00:09 up",
		"addr add 192.0.2.9/24 dev eth0", "addr add 2001:db8::9/64 dev eth0 nodad",
	} {
		ip(t, client, line)
	}
	for i := range hosts {
		path, id := newNetNS(t)
		hosts[i] = path
		ip(t, client, fmt.Sprintf("link add p%d type veth peer name eth0 address 02:00:00:00:00:0%[1]d netns %d", i, id))
		ip(t, client, fmt.Sprintf("link set p%d master eth0 up", i))
		ip(t, path, fmt.Sprintf("addr add 192.0.2.%d/24 dev eth0", i+1))
		ip(t, path, fmt.Sprintf("addr add 2001:db8::%d/64 dev eth0 nodad", i+1))
		ip(t, path, "link set eth0 up")
	}
	targets := []netip.Addr{netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")}
	bind := func(host, what string) {
		ip(t, host, "addr "+what+" 192.0.2.100/32 dev eth0")
		ip(t, host, "addr "+what+" 2001:db8::100/128 dev eth0 nodad")
	}
	bind(hosts[0], "add")
	w, err := StartWatch(client, "eth0", 20*time.Millisecond, targets...)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	const first, second = "02:00:00:00:00:00", "02:00:00:00:00:01"
	seen := func(since time.Time, want ...string) {
		t.Helper()
		for _, target := range targets {
			last := []string{}
			for deadline := time.Now().Add(5 * time.Second); !slices.Equal(last, want); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("holders of %s: %v, want %v", target, last, want)
				}
				if spans := w.Spans(target, since); len(spans) > 0 {
					last = spans[len(spans)-1].Holders
				}
			}
		}
	}
	began := time.Now()
	seen(began, first)
	bind(hosts[1], "add")
	both := time.Now()
	seen(both, first, second)
	bind(hosts[0], "del")
	seen(time.Now(), second)
	for _, target := range targets {
		spans := w.Spans(target, both)
		if spans[0].From.Before(both) {
			t.Errorf("%s: the first span begins at %s, before %s", target, spans[0].From, both)
		}
		for i, s := range spans[1:] {
			if !s.From.Equal(spans[i].To) && s.From.Sub(spans[i].To) > slack {
				t.Errorf("%s: nothing between %s and %s", target, spans[i].To, s.From)
			}
		}
	}
}
