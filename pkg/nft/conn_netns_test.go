package nft

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/netnstest"
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
		defer c.Close()
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
		messages := small.changes(&view{}, smallContents())
		if err := c.commit(generation, messages); !errors.Is(err, errGeneration) {
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
// depends whether a view is known after a transaction without another look.
func TestNetnsGeneration(t *testing.T) {
	inNamespace(t, func(_ *netnstest.NS, c *conn) {
		before, err := c.generation()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.commit(before, small.changes(&view{}, smallContents())); err != nil {
			t.Fatal(err)
		}
		after, err := c.generation()
		if err != nil {
			t.Fatal(err)
		}
		if want := (&view{generation: before}).written(small, nil).generation; after != want {
			t.Errorf("generation %d was followed by %d, want %d", before, after, want)
		}
	})
}

// TestNetnsRefusedTransaction says which step the kernel refused, and leaves
// nothing of the others.
func TestNetnsRefusedTransaction(t *testing.T) {
	broken := spec{
		family: unix.NFPROTO_INET,
		name:   "broken",
		chains: []chain{
			{name: "good", rules: []rule{{"count", []expr{counter()}}}},
			{name: "bad", rules: []rule{{"nowhere", []expr{in("missing", reg0)}}}},
		},
	}
	inNamespace(t, func(ns *netnstest.NS, c *conn) {
		generation, err := c.generation()
		if err != nil {
			t.Fatal(err)
		}
		err = c.commit(generation, broken.changes(&view{}, nil))
		if !errors.Is(err, unix.ENOENT) || !strings.HasPrefix(err.Error(), "add rule to bad: ") {
			t.Errorf("commit returned %v", err)
		}
		if got := ns.Run("nft", "list", "ruleset"); got != "" {
			t.Errorf("the ruleset is\n%s", got)
		}
		if err := supported(broken); !errors.Is(err, unix.ENOENT) {
			t.Errorf("supported returned %v", err)
		}
	})
}
