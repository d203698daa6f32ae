package inspect_test

import (
	"net/netip"
	"testing"

	"kube-vrrp-vip/pkg/datapath"
	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/neighbor"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// forward leads port 80 of a VIP to a ClusterIP.
func forward(vip string) desired.Forward {
	return desired.Forward{VIP: netip.MustParseAddr(vip), Ports: []desired.Port{
		{Protocol: desired.TCP, Port: 80, Target: netip.MustParseAddrPort("10.96.0.10:80")},
	}}
}

// TestNetnsRepairs counts what others changed in the tables, and nothing else.
func TestNetnsRepairs(t *testing.T) {
	ns := netnstest.New(t, "node")
	var d *datapath.Rules
	var n *neighbor.Tables
	const arp, inet, netdev = "arp kube_vrrp_vip", "inet kube_vrrp_vip", "netdev kube_vrrp_vip"
	answers := map[netip.Addr]desired.Answer{netip.MustParseAddr("192.0.2.100"): {Interface: "lo", Pulse: desired.NewPulse(1, false, 50)}}
	forwards := []desired.Forward{forward("192.0.2.100"), forward("192.0.2.101")}
	for _, step := range []struct {
		name               string
		before             string
		restart            bool
		forwards           []desired.Forward
		inet, arpSum, gate uint64
	}{
		{"first start", "", true, forwards, 0, 0, 0},
		{"nothing", "", false, forwards, 0, 0, 0},
		{"update", "", false, forwards[:1], 0, 0, 0},
		{"somebody else's table", "add table ip other", false, forwards, 0, 0, 0},
		{"element and update", "delete element " + inet + " vip4 { 192.0.2.100 }", false, forwards[:1], 1, 0, 0},
		{"nothing again", "", false, forwards, 1, 0, 0},
		{"rules", "flush chain " + inet + " guard", false, forwards, 2, 0, 0},
		{"arp", "flush set " + arp + " bound4", false, forwards, 2, 1, 0},
		{"gate", "flush chain " + netdev + " pulse", false, forwards, 2, 1, 1},
		{"map of the gate", "flush map " + netdev + " router4", false, forwards, 2, 1, 2},
		{"what pulses do", "add element " + netdev + " alive { 0x232 }", false, forwards, 2, 1, 2},
		{"all", "flush ruleset", false, forwards, 3, 2, 3},
		{"adoption of what was changed", "delete element " + inet + " vip4 { 192.0.2.100 }\nflush set " + arp + " bound4", true, forwards, 0, 0, 0},
		{"adoption of other rules", "flush chain " + inet + " guard", true, forwards, 0, 0, 0},
	} {
		ns.RunInput(step.before, "nft", "-f", "-")
		ns.Do(func() {
			if step.restart {
				d, n = datapath.NewRules(), neighbor.New(true)
			}
			if err := d.Sync(desired.Datapath{Forwards: step.forwards}); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			if err := n.Set(answers); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
		})
		if got := d.Repairs(); got != step.inet {
			t.Errorf("%s: %d repairs of %s, want %d", step.name, got, inet, step.inet)
		}
		if got := n.Repairs(); got != step.arpSum {
			t.Errorf("%s: %d repairs of %s, want %d", step.name, got, arp, step.arpSum)
		}
		if got := n.GateRepairs(); got != step.gate {
			t.Errorf("%s: %d repairs of %s, want %d", step.name, got, netdev, step.gate)
		}
	}
}
