package nft

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

// inNamespace runs f with a connection to an empty ruleset.
func inNamespace(t *testing.T, f func(ns *netnstest.NS, c *conn)) {
	t.Helper()
	ns := netnstest.New(t, "node")
	ns.Do(func() {
		c, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		f(ns, c)
	})
}

// TestNetnsStaleTransaction has somebody change the ruleset between our look
// at it and our transaction.
func TestNetnsStaleTransaction(t *testing.T) {
	inNamespace(t, func(ns *netnstest.NS, c *conn) {
		generation, err := c.generation()
		if err != nil {
			t.Fatal(err)
		}
		ns.Run("nft", "add", "table", "ip", "foreign")
		if err := c.commit(generation, small.static(&snapshot{})); !errors.Is(err, errGeneration) {
			t.Errorf("commit returned %v, want %v", err, errGeneration)
		}
		if _, err := c.read(small, generation); !errors.Is(err, errGeneration) {
			t.Errorf("read returned %v, want %v", err, errGeneration)
		}
		if got := ns.Run("nft", "list", "tables"); got != "table ip foreign" {
			t.Errorf("tables are\n%s", got)
		}
	})
}

// TestNetnsGeneration is the rule by which the kernel counts, and on which it
// depends whether a snapshot is known after a transaction without another look.
func TestNetnsGeneration(t *testing.T) {
	inNamespace(t, func(_ *netnstest.NS, c *conn) {
		known := &snapshot{}
		expect := func() {
			t.Helper()
			now, err := c.generation()
			if err != nil {
				t.Fatal(err)
			}
			if known.generation != 0 && now != known.generation {
				t.Errorf("generation %d, want %d", now, known.generation)
			}
			known.generation = now
		}
		expect()
		if err := c.commit(known.generation, small.static(known)); err != nil {
			t.Fatal(err)
		}
		known = known.afterStatic(small)
		expect()
		if changed, err := c.change(small, known.elements, smallContents()); !changed || err != nil {
			t.Fatalf("change returned %t, %v", changed, err)
		}
		known = known.afterElements(known.elements, smallContents())
		expect()
		got, err := c.read(small, known.generation)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(known.elements, got.elements); diff != "" || !got.specified {
			t.Errorf("specified %t, -known +read:\n%s", got.specified, diff)
		}
	})
}

// TestNetnsOvertaken has somebody change the elements between our look at them
// and our transaction, for which the library asks no generation.
func TestNetnsOvertaken(t *testing.T) {
	for _, test := range []struct{ name, nft string }{
		{"deleted what is to be deleted", "delete element inet small a { 9.9.9.9 }"},
		{"deleted what is to stay", "delete element inet small a { 1.1.1.1 }"},
		{"added what is to be added", "add element inet small m { 1.1.1.1 : 3.3.3.3 }"},
		{"added another", "add element inet small m { 3.3.3.3 : 3.3.3.3 }"},
		{"removed the table", "delete table inet small"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inNamespace(t, func(ns *netnstest.NS, c *conn) {
				small := Table{spec: small}
				calls := 0
				for _, update := range []struct {
					name string
					run  func() error
					want error
				}{
					{"Replace", func() error { return small.Replace(smallContents()) }, nil},
					{"Change", func() error { return small.Change(overtakenContents(), smallContents()) }, ErrChanged},
				} {
					small.looked, calls = nil, 0
					if err := small.Replace(overtakenContents()); err != nil {
						t.Fatal(err)
					}
					small.looked = func() {
						if calls++; calls == 1 {
							ns.RunInput(test.nft, "nft", "-f", "-")
						}
					}
					if err := update.run(); !errors.Is(err, update.want) {
						t.Fatalf("%s returned %v, want %v", update.name, err, update.want)
					}
					if update.want != nil {
						if err := small.Replace(smallContents()); err != nil {
							t.Fatal(err)
						}
					}
					got, err := c.read(small.spec, small.snapshot.generation)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(smallContents(), got.elements); diff != "" {
						t.Errorf("%s: -want +got:\n%s", update.name, diff)
					}
					if calls != 2 {
						t.Errorf("%s: planned %d times, want 2", update.name, calls)
					}
				}
			})
		})
	}
}

// overtakenContents are what smallContents replaces there.
func overtakenContents() Elements {
	return Elements{"a": {"\x01\x01\x01\x01": "", "\x09\x09\x09\x09": ""}}
}

// TestNetnsUnreadableSet lives with a set that the library cannot read.
func TestNetnsUnreadableSet(t *testing.T) {
	inNamespace(t, func(ns *netnstest.NS, _ *conn) {
		small := Table{spec: small}
		update := func() {
			t.Helper()
			if err := small.Replace(smallContents()); err != nil {
				t.Fatal(err)
			}
		}
		update()
		want := ns.Run("nft", "list", "set", "inet", "small", "a") + ns.Run("nft", "list", "map", "inet", "small", "m")
		ns.RunInput(`
			add set inet small six { type ipv4_addr . ipv4_addr . inet_service . inet_service . mark . ifname; }
			delete element inet small a { 1.1.1.1 }
			delete map inet small m
		`, "nft", "-f", "-")
		update()
		got := ns.Run("nft", "list", "set", "inet", "small", "a") + ns.Run("nft", "list", "map", "inet", "small", "m")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// TestNetnsRefusedElements tries only once what the kernel refuses for another
// reason, and says why in one line.
func TestNetnsRefusedElements(t *testing.T) {
	inNamespace(t, func(*netnstest.NS, *conn) {
		calls := 0
		small := &Table{spec: small, looked: func() { calls++ }}
		err := small.Replace(Elements{"a": {"short": ""}, "m": {"short": "long"}})
		if !errors.Is(err, unix.EINVAL) || !strings.HasPrefix(err.Error(), "update table inet small: change elements: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("update returned %v", err)
		}
		if calls != 1 {
			t.Errorf("planned %d times, want 1", calls)
		}
	})
}

// TestNetnsRefusedTransaction says which step the kernel refused, and leaves
// nothing of the others.
func TestNetnsRefusedTransaction(t *testing.T) {
	broken := Spec{
		Family: nftables.TableFamilyINet,
		Name:   "broken",
		Chains: []Chain{
			{Name: "good", Rules: []Rule{{"count", []Expr{Counter()}}}},
			{Name: "bad", Rules: []Rule{{"nowhere", []Expr{In("missing")}}}},
		},
	}
	inNamespace(t, func(ns *netnstest.NS, c *conn) {
		generation, err := c.generation()
		if err != nil {
			t.Fatal(err)
		}
		err = c.commit(generation, broken.static(&snapshot{}))
		if !errors.Is(err, unix.ENOENT) || !strings.HasPrefix(err.Error(), "add rule to bad: ") {
			t.Errorf("commit returned %v", err)
		}
		if got := ns.Run("nft", "list", "ruleset"); got != "" {
			t.Errorf("the ruleset is\n%s", got)
		}
		if err := Check(broken); !errors.Is(err, unix.ENOENT) {
			t.Errorf("check returned %v", err)
		}
	})
}
