package controller

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

func TestParsePriority(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]uint8{"1": 1, "150": 150, "254": 254} {
		if got, err := parsePriority(s); got != want || err != nil {
			t.Errorf("parsePriority(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "255", "256", "-1", "+1", " 1", "1.5", "high", "0x10"} {
		if got, err := parsePriority(s); err == nil {
			t.Errorf("parsePriority(%q) = %d, want an error", s, got)
		}
	}
}

func TestHashPriority(t *testing.T) {
	t.Parallel()
	// Other versions of the daemon must compute the same numbers.
	for node, want := range map[string]uint8{"worker-1": 189, "worker-2": 228, "worker-3": 247} {
		if got := hashPriority(node, 50); got != want {
			t.Errorf("hashPriority(%q, 50) = %d, want %d", node, got, want)
		}
	}
	seen := map[uint8]bool{}
	for i := range 4000 {
		p := hashPriority(fmt.Sprintf("node-%d", i), 50)
		if p < 150 || p > 250 {
			t.Fatalf("priority %d", p)
		}
		seen[p] = true
	}
	if len(seen) != 101 {
		t.Errorf("4000 nodes use %d of 101 priorities", len(seen))
	}
}

func TestTakeoverDelay(t *testing.T) {
	t.Parallel()
	m := func(last byte, priority uint8) member {
		return member{fmt.Sprintf("worker-%d", last), []netip.Addr{netip.AddrFrom4([4]byte{10, 4, 0, last})}, priority}
	}
	tests := []struct {
		name     string
		self     member
		peers    []member
		interval time.Duration
		want     time.Duration
	}{
		{"highest priority", m(1, 200), []member{m(2, 199), m(3, 150)}, time.Second, 0},
		{"second", m(1, 199), []member{m(2, 200), m(3, 150)}, time.Second, time.Second / 16},
		{"the higher address wins a tie", m(1, 200), []member{m(2, 200)}, time.Second, time.Second / 16},
		{"and goes first", m(2, 200), []member{m(1, 200)}, time.Second, 0},
		{"a step is no shorter than 1.25 ms", m(1, 150), []member{m(2, 200), m(3, 250)}, 10 * time.Millisecond, 2500 * time.Microsecond},
		{"the ninth and all after it", m(1, 1), []member{m(2, 9), m(3, 9), m(4, 9), m(5, 9), m(6, 9), m(7, 9), m(8, 9), m(9, 9), m(10, 9), m(11, 9)}, 160 * time.Millisecond, 80 * time.Millisecond},
		{"no longer than a virtual router takes", m(1, 1), []member{m(2, 9), m(3, 9), m(4, 9), m(5, 9)}, 255 * time.Second, time.Minute},
		{"nor alone", m(3, 1), nil, 4096 * time.Second, time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, step := takeoverDelay(tt.self, tt.peers, vrrp.IPv4, 50, tt.interval)
			if got != tt.want {
				t.Errorf("takeoverDelay = %v, want %v", got, tt.want)
			}
			want := max(1250*time.Microsecond, tt.interval/16)
			if len(tt.peers) == 0 {
				want = 0
			}
			if step != want {
				t.Errorf("step = %v, want %v", step, want)
			}
		})
	}
}

func TestTakeoverDelayWithoutPeers(t *testing.T) {
	t.Parallel()
	const interval = 100 * time.Millisecond
	seen := map[time.Duration]bool{}
	for i := range 100 {
		d, _ := takeoverDelay(member{node: fmt.Sprintf("node-%d", i)}, nil, vrrp.IPv4, 50, interval)
		if d < 0 || d >= interval/4 {
			t.Fatalf("delay %v", d)
		}
		seen[d] = true
	}
	if len(seen) < 99 {
		t.Errorf("100 nodes have %d different delays", len(seen))
	}
}
