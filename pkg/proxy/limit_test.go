package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAdmit: a word is a connection, of the client that its letter names, to the
// port that its number names. Ports have 4 places, and all together 6.
func TestAdmit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ come, want string }{
		{"a1 a1 a1 a1", "a1 a1 a1 a1"},
		{"a1 a1 a1 a1 a1", "a1 a1 a1 a1 -"},
		// In the end b has as many as a.
		{"a1 a1 a1 a1 b1 b1 b1", "a1 a1 x x b1 b1 -"},
		{"a1 a1 a1 a1 b1 c1 c1", "a1 a1 x x b1 c1 -"},
		// The port's own clients give way if the port is full, whatever others have.
		{"a1 a1 a1 b1 c2 c2 d1", "a1 a1 x b1 c2 c2 d1"},
		{"a1 b1 c1 d1 e1", "a1 b1 c1 d1 -"},
		// Where all is full and the port is not, the client with the most in all.
		{"a1 a1 a1 a2 b2 b2 c3", "a1 a1 a1 x b2 b2 c3"},
		{"a1 a1 a1 a1 a2 a2 b1", "a1 a1 a1 x a2 a2 b1"},
		{"a1 b1 c2 d2 e3 f3 g4", "a1 b1 c2 d2 e3 f3 -"},
	} {
		p := places{all: limit{max: 6}}
		listeners := map[string]*listener{}
		var outcome []string
		index := map[*connection]int{}
		for i, word := range strings.Fields(tt.come) {
			l := listeners[word[1:]]
			if l == nil {
				l = &listener{limit: limit{max: 4}}
				listeners[word[1:]] = l
			}
			c := &connection{listener: l, source: clientOf(netip.AddrFrom4([4]byte{192, 0, 2, word[0]}))}
			index[c] = i
			evicted, ok := p.admit(c)
			if evicted != nil {
				outcome[index[evicted]] = "x"
			}
			if !ok {
				word = "-"
			}
			outcome = append(outcome, word)
		}
		if d := cmp.Diff(tt.want, strings.Join(outcome, " ")); d != "" {
			t.Errorf("%s: %s", tt.come, d)
		}
		for c := range index {
			p.leave(c)
		}
		if p.all.open != 0 || len(p.all.clients) != 0 {
			t.Errorf("%s: %d places are taken after all have left", tt.come, p.all.open)
		}
	}
}

func TestClientOf(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.7":            "192.0.2.7/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2::9":      "2001:db8:1:2::/64",
		"fe80::1%eth0":         "fe80::/64",
	} {
		if got := fmt.Sprint(clientOf(netip.MustParseAddr(address))); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
