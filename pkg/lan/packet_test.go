package lan

import (
	"encoding/hex"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppendPacket(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, source, destination, message, want string }{
		{
			"IPv4", "192.0.2.1", "224.0.0.18", "31359602000a115a c0000235 c0000299",
			"45c00024 00000000 ff700000 c0000201 e0000012 31359602000a115a c0000235 c0000299",
		},
		{
			"IPv4 unicast", "192.0.2.1", "192.0.2.2", "31389601000af202 c0000238",
			"45c00020 00000000 ff700000 c0000201 c0000202 31389601000af202 c0000238",
		},
		{
			"IPv6", "fe80::1", "ff02::12", "31399601000a3c56 fe800000000000000000000000000057",
			`6c000000 0018 70 ff fe800000000000000000000000000001 ff020000000000000000000000000012
			31399601000a3c56 fe800000000000000000000000000057`,
		},
	}
	for _, tt := range tests {
		got := appendPacket(nil, netip.MustParseAddr(tt.source), netip.MustParseAddr(tt.destination), unhex(t, tt.message))
		if d := cmp.Diff(hex.Dump(unhex(t, tt.want)), hex.Dump(got)); d != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, d)
		}
	}
}

func TestArrival(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name            string
		now, age, empty int64
		want            int64
	}{
		{"at once", 1000, 0, 500, 1000},
		{"waited", 1000, 300, 500, 700},
		{"as long as possible", 1000, 500, 500, 500},
		{"the wall clock was set forward", 1000, math.MaxInt64, 500, 500},
		{"the wall clock was set back", 1000, math.MinInt64, 500, 1000},
	}
	for _, tt := range tests {
		if got := arrival(tt.now, tt.age, tt.empty); got != tt.want {
			t.Errorf("%s: arrival(%d, %d, %d) = %d, want %d", tt.name, tt.now, tt.age, tt.empty, got, tt.want)
		}
	}
}

// A Receive without a packet bounds the age of a later packet.
func TestReceiveNothing(t *testing.T) {
	t.Parallel()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	before := p.Now()
	if p.Receive(&Packet{}) {
		t.Error("received something without an interface")
	}
	if p.empty < before || p.empty > p.Now() {
		t.Errorf("empty at %d, want %d to %d", p.empty, before, p.Now())
	}
}

// A Conn that fails for good does not end every Wait.
func TestBrokenConn(t *testing.T) {
	t.Parallel()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// An eventfd that is readable at once and is not a socket.
	fd, err := unix.Eventfd(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	conns := []*Conn{{Interface: Interface{Index: 7}, receive: fd}}
	p.Use(conns)
	if err := p.Wait(math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	if p.Receive(&Packet{}) {
		t.Error("received something")
	}
	for range 2 {
		deadline := p.Now() + int64(20*time.Millisecond)
		if err := p.Wait(deadline); err != nil {
			t.Fatal(err)
		}
		if p.Now() < deadline {
			t.Error("Wait returned for a broken Conn")
		}
		if broken := p.Broken(); !slices.Equal(broken, conns) {
			t.Errorf("broken are %v, want %v", broken, conns)
		}
		p.Use(conns)
	}
}
