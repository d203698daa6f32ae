package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

// TestNetnsWatch has two hosts on a LAN with a client: one has two addresses, and then
// the other has them, too.
func TestNetnsWatch(t *testing.T) {
	lan := netnstest.New(t, "switch")
	ip(lan, "link add br0 type bridge mcast_snooping 0")
	ip(lan, "link set br0 up")
	connect := func(last int) *netnstest.NS {
		host := netnstest.New(t, fmt.Sprintf("host%d", last))
		ip(lan, fmt.Sprintf("link add p%d type veth peer name eth0 address 02:00:00:00:00:0%[1]d netns %[2]s", last, host.Path()))
		ip(lan, fmt.Sprintf("link set p%d master br0 up", last))
		ip(host, fmt.Sprintf("addr add 192.0.2.%d/24 dev eth0", last))
		ip(host, fmt.Sprintf("addr add 2001:db8::%d/64 dev eth0 nodad", last))
		ip(host, "link set eth0 up")
		return host
	}
	hosts, client := []*netnstest.NS{connect(1), connect(2)}, connect(8)
	targets := []netip.Addr{netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")}
	bind := func(host *netnstest.NS, what string) {
		ip(host, "addr "+what+" 192.0.2.100/32 dev eth0")
		ip(host, "addr "+what+" 2001:db8::100/128 dev eth0 nodad")
	}
	bind(hosts[0], "add")
	w, err := StartWatch(client.Path(), "eth0", 20*time.Millisecond, targets...)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	const first, second = "02:00:00:00:00:01", "02:00:00:00:00:02"
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
	table := client.Run("ip", "neigh", "show", "dev", "eth0")
	for _, target := range targets {
		if strings.Contains(table, target.String()+" ") {
			t.Errorf("%s is in the client's neighbor table:\n%s", target, table)
		}
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
