package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterConfigMap adds a VIP and removes it again, while another is in use.
func TestClusterConfigMap(t *testing.T) {
	s, master := install(t, &nftables)
	c, err := scenario.Connect(t.Context(), s.NetNS("client"), vipAll)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := probe.Start(s.NetNS("client"), netip.AddrPortFrom(vipAll, 80), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()

	var added []time.Duration
	for range 3 {
		added = append(added, addAndAsk(t, s))
		if _, err := s.Settled(t.Context(), append(baseVIPs(), vipOther)); err != nil {
			t.Fatal(err)
		}

		if err := s.RemoveEntry(t.Context(), vipOther.String()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Settled(t.Context(), baseVIPs()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "removed VIP has no holder", func(ctx context.Context) error {
			holders, err := s.Holders(ctx, vipOther)
			if err == nil && len(holders) > 0 {
				err = fmt.Errorf("holders %v", holders)
			}
			return err
		})
	}
	measuredAll(t, "config_edit_to_answer_ms", added, time.Second)

	stopProbe(t, p, "config_edit_outage_of_other_vip_ms", 0)
	if _, err := c.Ask(probe.Timeout); err != nil {
		t.Errorf("open connection to another VIP: %v", err)
	}
	checkSameMaster(t, s, master)

	// The first VIP of all takes an election.
	if err := s.SetConfig(t.Context(), map[string]string{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Settled(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	measured(t, "config_first_vip_to_answer_ms", addAndAsk(t, s), time.Second)
}

// addAndAsk adds a VIP and returns how long it took until it answered.
func addAndAsk(t *testing.T, s *scenario.Site) time.Duration {
	t.Helper()
	began := time.Now()
	if err := s.SetEntry(t.Context(), vipOther.String(), "e2e/all"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "new VIP answers", func(ctx context.Context) error {
		// Short, so that the time is not that of a connection begun too early.
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		_, err := probe.Get(ctx, s.NetNS("client"), netip.AddrPortFrom(vipOther, 80))
		return err
	})
	return time.Since(began)
}

// TestClusterBadEntries has entries that cannot be served beside good ones.
func TestClusterBadEntries(t *testing.T) {
	s, _ := install(t, &nftables)
	refusedVIPs := []netip.Addr{netip.MustParseAddr("10.89.0.211"), netip.MustParseAddr("10.89.0.212"), netip.MustParseAddr("10.89.0.213")}
	bad := []struct {
		key, value string
		right      []string // what every report of it names beside key and value
	}{
		{"10.89.0.300", "e2e/all", []string{"not an IP address", "192.168.1.99"}},
		{"10.89.0.211", "all", []string{"namespace/service", "refuses every port"}},
		{"10.89.0.212", "e2e/all:TUNNEL", []string{"TUNNEL", "NAT"}},
		{"10.89.0.213", "e2e/NotAName", []string{"NotAName"}},
		{s.Addr("n2").String(), "e2e/all", []string{"address of node n2", "free address"}},
		{"224.0.0.18", "e2e/all", []string{"cannot be a VIP", "free address"}},
	}
	for _, b := range bad {
		if err := s.SetEntry(t.Context(), b.key, b.value); err != nil {
			t.Fatal(err)
		}
	}
	// A good one that came after them.
	if err := s.SetEntry(t.Context(), vipOther.String(), "e2e/all"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Settled(t.Context(), append(append(baseVIPs(), vipOther), refusedVIPs...)); err != nil {
		t.Fatal(err)
	}
	for _, vip := range []netip.Addr{vipAll, vipOther} {
		if err := scenario.Answered(t.Context(), s.NetNS("client"), netip.AddrPortFrom(vip, 80), s.Nodes()); err != nil {
			t.Errorf("good entry: %v", err)
		}
	}
	for _, vip := range refusedVIPs {
		checkRefused(t, s, netip.AddrPortFrom(vip, 80))
	}
	for _, b := range bad {
		names := append([]string{b.key, b.value}, b.right...)
		for _, n := range s.Nodes() {
			pod, err := s.Pod(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "log of "+n, func(ctx context.Context) error {
				out, err := s.Kubectl(ctx, "", "--namespace="+scenario.Namespace, "logs", pod.Name)
				if err != nil {
					return err
				}
				return lineWith(strings.Split(out, "\n"), names)
			})
		}
		eventually(t, "Events", func(ctx context.Context) error {
			messages, err := eventsOfConfigMap(ctx, s)
			if err != nil {
				return err
			}
			return lineWith(messages, names)
		})
	}
	// What is right again is quiet again, and served.
	if err := s.SetConfig(t.Context(), baseConfig()); err != nil {
		t.Fatal(err)
	}
	settle(t, s)
	for _, n := range s.Nodes() {
		if st, err := s.Status(t.Context(), n); err != nil || len(st.Problems) > 0 {
			t.Errorf("problems of %s without bad entries: %v, %v", n, st.Problems, err)
		}
	}
}

// lineWith requires a line that has all those words.
func lineWith(lines, words []string) error {
	for _, line := range lines {
		missing := false
		for _, w := range words {
			missing = missing || !strings.Contains(line, w)
		}
		if !missing {
			return nil
		}
	}
	return fmt.Errorf("no line has all of %q", words)
}

func eventsOfConfigMap(ctx context.Context, s *scenario.Site) (messages []string, err error) {
	out, err := s.Kubectl(ctx, "", "--namespace="+scenario.Namespace, "get", "events", "--output=json",
		"--field-selector=involvedObject.kind=ConfigMap,involvedObject.name="+scenario.ConfigMap)
	if err != nil {
		return nil, err
	}
	var list struct{ Items []struct{ Message string } }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	for _, e := range list.Items {
		messages = append(messages, e.Message)
	}
	return messages, nil
}

// TestClusterMissingService has a VIP for a Service that does not exist, comes, and
// goes again.
func TestClusterMissingService(t *testing.T) {
	s, master := install(t, &nftables)
	target := netip.AddrPortFrom(vipOther, 80)
	if err := s.SetEntry(t.Context(), vipOther.String(), scenario.EchoNamespace+"/later"); err != nil {
		t.Fatal(err)
	}
	kept := func() {
		t.Helper()
		if _, err := s.Settled(t.Context(), append(baseVIPs(), vipOther)); err != nil {
			t.Fatal(err)
		}
		if holders, err := s.Holders(t.Context(), vipOther); err != nil || len(holders) != 1 {
			t.Errorf("holders %v, %v; want one", holders, err)
		}
	}
	kept()
	checkRefused(t, s, target)
	checkRefused(t, s, netip.AddrPortFrom(vipOther, 8080))

	const service = `
apiVersion: v1
kind: Service
metadata: {name: later, namespace: e2e}
spec:
  selector: {app: echo}
  ports: [{port: 80, targetPort: 8080}]
`
	if _, err := s.Kubectl(t.Context(), service, "apply", "--filename=-"); err != nil {
		t.Fatal(err)
	}
	if err := scenario.Answered(t.Context(), s.NetNS("client"), target, s.Nodes()); err != nil {
		t.Error(err)
	}
	if _, err := s.Kubectl(t.Context(), "", "--namespace="+scenario.EchoNamespace, "delete", "service", "later"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "VIP without its Service refuses", func(ctx context.Context) error {
		return refused(ctx, s, target)
	})
	kept()
	if err := scenario.Answered(t.Context(), s.NetNS("client"), netip.AddrPortFrom(vipAll, 80), s.Nodes()); err != nil {
		t.Errorf("another VIP: %v", err)
	}
	checkSameMaster(t, s, master)
}
