package engine

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
)

// A healthy Master never loses an address, not for a moment, beside large
// nftables transactions, a busy network configuration, and programs that take
// every processor.
func TestNetnsNoGapUnderLoad(t *testing.T) {
	for _, tt := range []struct {
		name  string
		vips  int
		loads []func(segment)
	}{
		{"nftables", 1000, []func(segment){loadNftables}},
		{"links", 1000, []func(segment){loadLinks}},
		{"processors", 1000, []func(segment){loadProcessors}},
		{"all", 255, []func(segment){loadNftables, loadLinks, loadProcessors}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSegment(t, 1)
			for i, h := range s.Hosts {
				h.Run("ip", "addr", "add", fmt.Sprintf("10.4.255.%d/16", i+1), "dev", "eth0")
			}
			vips, state := numbered(tt.vips), desired.State{}
			for chunk := range slices.Chunk(vips, 250) {
				router := routerOf(uint8(50+len(state.Routers)), chunk...)
				// A loop that is late on such a machine is not to decide: this is
				// about what renews the leases.
				router.AdvertisementInterval = time.Second
				state.Routers = append(state.Routers, router)
			}
			p, _ := s.start(0, state)
			bound := func() int {
				return strings.Count(s.Hosts[0].Run("ip", "-4", "-o", "addr", "show", "dev", "eth0"), "/32 ")
			}
			s.eventually(func() bool { return bound() == tt.vips }, "not all addresses are bound")
			r := s.record(0)
			for _, load := range tt.loads {
				load(s)
			}
			const long = 10 * time.Second
			<-time.After(long)
			if gone := r.gone(t); len(gone) > 0 {
				t.Errorf("%d of %d addresses went within %v", len(gone), tt.vips, long)
			}
			if n := bound(); n != tt.vips {
				t.Errorf("%d addresses are bound, want %d", n, tt.vips)
			}
			if n := strings.Count(p.Output(), "Master ->"); n > 0 {
				t.Errorf("no Master any more:\n%s", p.Output())
			}
			t.Logf("measured: renewals_per_address_under_%s=%.1f target=%d", tt.name,
				float64(r.renewals())/float64(tt.vips), long/leaseRefresh)
		})
	}
}

// renewals counts the events that say that an address is there.
func (r *addressRecorder) renewals() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.added {
			n++
		}
	}
	return n
}

// loadNftables makes a program replace a set of 10 000 elements again and again.
func loadNftables(s segment) {
	var b strings.Builder
	b.WriteString("add table ip load\nadd set ip load big { type ipv4_addr; }\nflush set ip load big\nadd element ip load big {\n")
	address := netip.MustParseAddr("10.8.0.0")
	for range 10_000 {
		fmt.Fprintf(&b, "%s,\n", address)
		address = address.Next()
	}
	b.WriteString("}\n")
	s.again(b.String(), "nft -f")
}

// loadLinks makes a program add and delete links again and again.
func loadLinks(s segment) {
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, "link add load%d type veth peer name peer%d\n", i, i)
	}
	for i := range 20 {
		fmt.Fprintf(&b, "link del load%d\n", i)
	}
	s.again(b.String(), "ip -batch")
}

// again runs a command with a file on host 0 until the test ends.
func (s segment) again(text, command string) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "load")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	p := s.Hosts[0].Start("sh", "-c", "while "+command+" "+file+"; do echo again; done")
	s.eventually(func() bool { return strings.Contains(p.Output(), "again") }, "%s does not work", command)
}

// loadProcessors runs eight busy programs.
func loadProcessors(s segment) {
	for range 8 {
		s.Hosts[0].Start("sh", "-c", "while :; do :; done")
	}
}
