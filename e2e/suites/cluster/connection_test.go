package cluster

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterOpenConnections keeps connections open while daemons are restarted.
func TestClusterOpenConnections(t *testing.T) {
	s, master := install(t, &nftables)
	restarts := map[string]func(node string, pod scenario.Pod) error{
		"killed": func(node string, pod scenario.Pod) error {
			return s.KillContainer(t.Context(), node, scenario.Namespace, pod.Name, pod.Container, syscall.SIGKILL)
		},
		"replaced": func(_ string, pod scenario.Pod) error {
			_, err := s.Kubectl(t.Context(), "", "--namespace="+scenario.Namespace, "delete", "pod", pod.Name, "--wait=false")
			return err
		},
	}

	for how, restart := range restarts {
		// The node whose pod is the other end of the connection.
		t.Run("Backup "+how, func(t *testing.T) {
			c := connect(t, s, s.NetNS("client"), func(node string) bool { return node != master })
			restarted(t, s, c.Node(), restart)
			checkAnswers(t, c)
			checkSameMaster(t, s, master)
		})
	}

	for how, restart := range restarts {
		// Nodes and pods reach a VIP through their own node, whoever is Master. A node
		// that is Master is left out: it uses the VIP as the source, too, as any host
		// does that talks to an address of its own.
		t.Run("Master "+how+", from inside", func(t *testing.T) {
			var cs []*scenario.Connection
			for _, n := range s.Nodes() {
				pod, err := s.EchoPodNetNS(t.Context(), n)
				if err != nil {
					t.Fatal(err)
				}
				cs = append(cs, connect(t, s, pod, anyNode))
				if n != master {
					cs = append(cs, connect(t, s, s.NetNS(n), anyNode))
				}
			}
			master = restarted(t, s, master, restart)
			for _, c := range cs {
				checkAnswers(t, c)
			}
		})
	}

	for how, restart := range restarts {
		// The connection is known to the connection tracking of the node it came in
		// by. The next Master does not know it and, asked on it, says so at once.
		t.Run("Master "+how, func(t *testing.T) {
			c := connect(t, s, s.NetNS("client"), anyNode)
			master = restarted(t, s, master, restart)
			began := time.Now()
			body, err := c.Ask(patience)
			if took := time.Since(began); !errors.Is(err, syscall.ECONNRESET) || took > scenario.Bound(refusal) {
				t.Errorf("%q, %v after %s; want a reset at once", body, err, took)
			}
		})
	}
}

func anyNode(string) bool { return true }

func checkAnswers(t *testing.T, c *scenario.Connection) {
	t.Helper()
	if _, err := c.Ask(patience); err != nil {
		t.Errorf("open connection: %v", err)
	}
}

// patience is how long an answer on an open connection may take: TCP sends what was
// lost again after 0.2, 0.6, 1.4, 3, 6.2 and 12.6 seconds.
const patience = 20 * time.Second

// connect opens a connection from the namespace at path to a node that is wanted as
// its other end.
func connect(t *testing.T, s *scenario.Site, path string, wanted func(node string) bool) *scenario.Connection {
	t.Helper()
	var c *scenario.Connection
	eventually(t, "connection to such a node", func(ctx context.Context) error {
		var err error
		if c, err = scenario.Connect(ctx, path, vipAll); err != nil {
			return err
		}
		if !wanted(c.Node()) {
			return errors.Join(fmt.Errorf("it is to %s", c.Node()), c.Close())
		}
		return nil
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// restarted makes the daemon on a node restart, waits until all have settled, and
// returns the Master's node.
func restarted(t *testing.T, s *scenario.Site, node string, restart func(string, scenario.Pod) error) (master string) {
	t.Helper()
	before, err := s.Pod(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	if err := restart(node, before); err != nil {
		t.Fatal(err)
	}
	eventually(t, "restart on "+node, func(ctx context.Context) error {
		now, err := s.Pod(ctx, node)
		if err == nil && (!now.Ready || now.UID == before.UID && now.Restarts == before.Restarts) {
			err = fmt.Errorf("not yet: %+v", now)
		}
		return err
	})
	master, err = s.Settled(t.Context(), baseVIPs())
	if err != nil {
		t.Fatal(err)
	}
	return master
}

// TestClusterOpenConnectionsOneNode is for a node that has no other to take over: its
// daemon comes back, and the connections through it go on.
func TestClusterOpenConnectionsOneNode(t *testing.T) {
	s, master := install(t, &nftables)
	alone(t, s, master)
	c := connect(t, s, s.NetNS("client"), anyNode)
	before, err := s.Pod(t.Context(), master)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.KillContainer(t.Context(), master, scenario.Namespace, before.Name, before.Container, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Asked all the while: what is lost is sent again.
	eventually(t, "daemon is back", func(ctx context.Context) error {
		if _, err := c.Ask(patience); err != nil {
			t.Fatal(err)
		}
		now, err := s.Pod(ctx, master)
		if err == nil && (!now.Ready || now.Restarts == before.Restarts) {
			err = fmt.Errorf("not yet: %+v", now)
		}
		return err
	})
	if _, err := s.Settled(t.Context(), baseVIPs(), master); err != nil {
		t.Fatal(err)
	}
	checkAnswers(t, c)
}
