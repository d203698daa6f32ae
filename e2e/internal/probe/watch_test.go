package probe

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/netns"
)

// TestNetnsWatch has two hosts on a LAN with a client: one has two addresses, and then
// the other has them, too.
func TestNetnsWatch(t *testing.T) {
	lan, _ := newNetNS(t)
	ip(t, lan, "link add br0 type bridge mcast_snooping 0")
	ip(t, lan, "link set br0 up")
	connect := func(last int) (path string) {
		path, id := newNetNS(t)
		ip(t, lan, fmt.Sprintf("link add p%d type veth peer name eth0 address 02:00:00:00:00:0%[1]d netns %d", last, id))
		ip(t, lan, fmt.Sprintf("link set p%d master br0 up", last))
		ip(t, path, fmt.Sprintf("addr add 192.0.2.%d/24 dev eth0", last))
		ip(t, path, fmt.Sprintf("addr add 2001:db8::%d/64 dev eth0 nodad", last))
		ip(t, path, "link set eth0 up")
		return path
	}
	hosts, client := []string{connect(1), connect(2)}, connect(8)
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
	table, err := output(client, "ip", "neigh", "show", "dev", "eth0")
	if err != nil {
		t.Fatal(err)
	}
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

// output returns what a command prints in a namespace.
func output(path string, argv ...string) (text string, err error) {
	err = netns.Do(path, func() error {
		b, err := exec.Command(argv[0], argv[1:]...).Output()
		text = string(b)
		return err
	})
	return text, err
}
