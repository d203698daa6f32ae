package inspect

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

func TestNetnsConflicts(t *testing.T) {
	for _, test := range []struct {
		name    string
		rules   string
		command []string
		want    []string // If there are proxied ports.
	}{
		{"nothing", "", []string{"nft", "-f", "-"}, nil},
		{"harmless", `
			table inet firewall {
				chain forward { type filter hook forward priority 0; policy drop; }
				chain output { type filter hook output priority 0; policy drop; }
				chain input { type filter hook input priority 0; policy accept; drop; }
			}
			table arp firewall { chain input { type filter hook input priority 0; policy drop; }; }
		`, []string{"nft", "-f", "-"}, nil},
		{"nft", `
			table ip6 b { chain in { type filter hook input priority 0; policy drop; }; }
			table inet a { chain in { type filter hook input priority 0; policy drop; }; }
		`, []string{"nft", "-f", "-"}, []string{
			`chain in of table inet a: its policy drops connections to VIPs that the built-in proxy serves, unless a rule accepts them; accept "ct original zone 20000-29999" there`,
			`chain in of table ip6 b: its policy drops connections to VIPs that the built-in proxy serves, unless a rule accepts them; accept "ct original zone 20000-29999" there`,
		}},
		{"iptables", "*filter\n:INPUT DROP\n:FORWARD DROP\nCOMMIT\n", []string{"iptables-nft-restore"}, []string{
			`chain INPUT of table ip filter: its policy drops connections to VIPs that the built-in proxy serves, unless a rule accepts them; accept "ct original zone 20000-29999" there`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ns := netnstest.New(t, "node")
			ns.RunInput(test.rules, test.command[0], test.command[1:]...)
			ns.Do(func() {
				got, err := Conflicts(true)
				if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
					t.Errorf("%v, -want +got:\n%s", err, diff)
				}
				if got, err := Conflicts(false); err != nil || got != nil {
					t.Errorf("without proxied ports: got %q, %v", got, err)
				}
			})
		})
	}
}

// TestFlowtableConflict has the message as the kernel writes it: not every
// kernel has flowtables.
func TestFlowtableConflict(t *testing.T) {
	t.Parallel()
	m := netlink.Message{Data: append(nfnetlink.Header(unix.NFPROTO_INET, 7), nfnetlink.Encode(func(ae *netlink.AttributeEncoder) {
		ae.String(nftables.NFTA_FLOWTABLE_TABLE, "firewall")
		ae.String(nftables.NFTA_FLOWTABLE_NAME, "fast")
	})...)}
	want := `flowtable fast of table inet firewall: a reply of a VIP that takes its fast path reaches the client from the ClusterIP; add flows to it by rules with "ct original zone != 20000-29999" only`
	if got, err := flowtableConflict(m); err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, err := flowtableConflict(netlink.Message{Data: []byte{1}}); err == nil {
		t.Errorf("junk: got %q", got)
	}
}
