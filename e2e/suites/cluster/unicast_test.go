package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
	"kube-vrrp-vip/pkg/netns"
)

// TestClusterUnicast has advertisements go from node to node: a crash of the Master,
// and a node that is left out for a while.
func TestClusterUnicast(t *testing.T) {
	s, _ := install(t, &nftables)
	// That nothing is heard later says something only of one who hears.
	multicast := countMulticast(t, s)
	eventually(t, "advertisements by multicast", func(context.Context) error {
		if multicast.Load() == 0 {
			return errors.New("none")
		}
		return nil
	})
	reinstall(t, &nftables, "Unicast")
	master := settle(t, s)
	checkPeers(t, s, s.Nodes()...)
	multicast = countMulticast(t, s)

	f, err := s.CrashMasterAndPowerOn(t.Context(), notOn[master], master, baseVIPs())
	if err != nil {
		t.Fatal(err)
	}
	report(t, "crash with unicast", 0, 1, f)
	measured(t, "unicast_crash_failover_ms", f.Outage, scenario.CrashTarget)
	measured(t, "unicast_crash_return_ms", f.Return, scenario.GracefulTarget)
	checkHolder(t, s, f.To)
	if master = settle(t, s); master != f.To {
		t.Fatalf("Master went from %s on to %s", f.To, master)
	}
	checkPeers(t, s, s.Nodes()...)

	left := slices.DeleteFunc(s.Nodes(), func(n string) bool { return n == master })[0]
	others := slices.DeleteFunc(s.Nodes(), func(n string) bool { return n == left })
	before := states(t, s, others)
	p, err := probe.Start(s.NetNS("client"), netip.AddrPortFrom(vipAll, 80), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	unlabel(t, s, left)
	checkPeers(t, s, others...)
	if err := s.Label(t.Context(), left, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Settled(t.Context(), baseVIPs()); err != nil {
		t.Fatal(err)
	}
	checkPeers(t, s, s.Nodes()...)
	stopProbe(t, p, "unicast_member_outage_ms", 0)
	checkSameMaster(t, s, master)
	for n, after := range states(t, s, others) {
		// Or the machine was too busy to run its daemon.
		if !after.Since.Equal(before[n].Since) && after.Reason != "stalled" {
			t.Errorf("%s went from %+v to %+v", n, before[n], after)
		}
	}

	if n := multicast.Load(); n > 0 {
		t.Errorf("%d advertisements by multicast, with unicast", n)
	}
}

// checkPeers waits until the daemons on these nodes send to each other, and to nobody
// else.
func checkPeers(t *testing.T, s *scenario.Site, nodes ...string) {
	t.Helper()
	for _, n := range nodes {
		var want []netip.Addr
		for _, other := range nodes {
			if other != n {
				want = append(want, s.Addr(other))
			}
		}
		eventually(t, "peers of "+n, func(ctx context.Context) error {
			st, err := s.Status(ctx, n)
			if err != nil {
				return err
			}
			for _, r := range st.Engine.Routers {
				if !slices.Equal(r.Unicast, want) {
					return fmt.Errorf("VRID %d has %v, not %v", r.VRID, r.Unicast, want)
				}
			}
			return nil
		})
	}
}

// states returns the one virtual router of each node.
func states(t *testing.T, s *scenario.Site, nodes []string) map[string]scenario.Router {
	t.Helper()
	routers := map[string]scenario.Router{}
	for _, n := range nodes {
		st, err := s.Status(t.Context(), n)
		if err != nil || len(st.Engine.Routers) != 1 {
			t.Fatalf("%s: %+v, %v", n, st, err)
		}
		routers[n] = st.Engine.Routers[0]
	}
	return routers
}

// countMulticast counts the VRRP packets to the multicast group that reach the client,
// until the test ends: the switch floods them to every port.
func countMulticast(t *testing.T, s *scenario.Site) *atomic.Int64 {
	t.Helper()
	var c net.PacketConn
	err := netns.Do(s.NetNS("client"), func() (err error) {
		if c, err = net.ListenPacket("ip4:112", "0.0.0.0"); err != nil {
			return err
		}
		raw, err := c.(*net.IPConn).SyscallConn()
		if err != nil {
			return err
		}
		var joined error
		err = raw.Control(func(fd uintptr) {
			joined = syscall.SetsockoptIPMreq(int(fd), syscall.IPPROTO_IP, syscall.IP_ADD_MEMBERSHIP,
				&syscall.IPMreq{Multiaddr: [4]byte{224, 0, 0, 18}, Interface: s.Addr("client").As4()})
		})
		return errors.Join(err, joined)
	})
	if err != nil {
		t.Fatalf("listen to multicast: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	var n atomic.Int64
	go func() {
		var buf [1500]byte
		for {
			if _, _, err := c.ReadFrom(buf[:]); err != nil {
				return
			}
			n.Add(1)
		}
	}()
	return &n
}
