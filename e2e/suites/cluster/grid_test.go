package cluster

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// TestClusterGrid uses VIPs from everywhere, to endpoints everywhere.
func TestClusterGrid(t *testing.T) {
	t.Parallel()
	checkGrid(t, &nftables, "nftables")
}

// TestClusterGridIPTables is TestClusterGrid where kube-proxy writes iptables.
func TestClusterGridIPTables(t *testing.T) {
	t.Parallel()
	checkGrid(t, &iptables, "iptables")
}

// vip4 and vip6 are VIPs of the two families: the last byte is written in the same
// way, as a decimal number and as a group of hexadecimal digits.
func vip4(last int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("10.89.0.%d", last)) }
func vip6(last int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd89::%d", last)) }

// entryKey is an address as a key of the ConfigMap.
func entryKey(vip netip.Addr) string { return strings.ReplaceAll(vip.String(), ":", "-") }

// serve replaces the configuration, waits until each VIP has a Master, and returns
// the nodes that are.
func serve(t *testing.T, s *scenario.Site, config map[string]string, vips []netip.Addr) (holders map[netip.Addr]string) {
	t.Helper()
	if err := s.SetConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	return spread(t, s, vips)
}

// spread waits until all daemons agree on who holds these VIPs, and no others.
func spread(t *testing.T, s *scenario.Site, vips []netip.Addr) (holders map[netip.Addr]string) {
	t.Helper()
	eventually(t, "VIPs are held", func(ctx context.Context) (err error) {
		holders, err = s.Spread(ctx, vips)
		return err
	})
	return holders
}

// families are 4, and 6 on a machine that has it.
func families(s *scenario.Site) []int {
	if s.Addr6("client").IsValid() {
		return []int{4, 6}
	}
	return []int{4}
}

func vipOf(family, last int) netip.Addr {
	if family == 6 {
		return vip6(last)
	}
	return vip4(last)
}

// ask makes one request from a client: over TCP of port 80, over UDP of port 81.
func ask(ctx context.Context, path, protocol string, vip netip.Addr) (string, error) {
	return askPort(ctx, path, protocol, netip.AddrPortFrom(vip, portOf[protocol]))
}

var portOf = map[string]uint16{"TCP": 80, "UDP": 81}

func askPort(ctx context.Context, path, protocol string, target netip.AddrPort) (string, error) {
	if protocol == "UDP" {
		return probe.UDP(ctx, path, target, "who?")
	}
	return probe.Get(ctx, path, target)
}

// cell is one request of the grid and what became of it.
type cell struct {
	endpoint string // the node of the only endpoint
	client   scenario.Client
	protocol string
	vip      netip.Addr
	holder   string // the VIP's Master

	seen string // the client's address in the answer
	err  error
}

// column is the cell's column of the table.
func (c *cell) column() string {
	if c.vip.Is4() {
		return c.protocol + " IPv4"
	}
	return c.protocol + " IPv6"
}

// run makes the request. The answer must come from the endpoint, which must see a pod
// by its own address, and everybody else by one of the node that was asked.
func (c *cell) run(ctx context.Context, s *scenario.Site) {
	body, err := ask(ctx, c.client.NetNS, c.protocol, c.vip)
	if err != nil {
		c.err = err
		return
	}
	client, err := netip.ParseAddrPort(probe.Field(body, "client"))
	if err != nil {
		c.err = fmt.Errorf("%q: %w", body, err)
		return
	}
	c.seen = client.Addr().String()
	if node := probe.Field(body, "node"); node != c.endpoint || !strings.HasPrefix(probe.Field(body, "host"), "echo-"+node+"-") {
		c.err = fmt.Errorf("%q: the answer is not that of the pod on %s", body, c.endpoint)
		return
	}
	want := []netip.Addr{c.client.Addr(c.vip)}
	if !c.client.IsPod {
		asked := c.client.Node
		if asked == "" {
			asked = c.holder
		}
		want = s.NodeAddrs(asked, c.vip)
	}
	if !slices.Contains(want, client.Addr()) {
		c.err = fmt.Errorf("%q: the client's address is to be one of %s", body, want)
	}
}

// checkGrid asks a VIP of each node, whose only endpoint is there, from everywhere,
// over TCP and UDP, IPv4 and IPv6.
func checkGrid(t *testing.T, f *fixture, mode string) {
	s, _ := install(t, f)
	config, vips := map[string]string{}, []netip.Addr{}
	var cells []*cell
	clients := clients(t, s)
	for i, n := range s.Nodes() {
		if err := s.EchoSettled(t.Context(), "on-"+n); err != nil {
			t.Fatal(err)
		}
		for _, family := range families(s) {
			vip := vipOf(family, 221+i)
			config[entryKey(vip)] = "e2e/on-" + n
			vips = append(vips, vip)
			for _, c := range clients {
				for protocol := range portOf {
					cells = append(cells, &cell{endpoint: n, client: c, protocol: protocol, vip: vip})
				}
			}
		}
	}
	holders := serve(t, s, config, vips)
	for _, c := range cells {
		c.holder = holders[c.vip]
	}
	written(t, s, vips)

	began := time.Now()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, c := range cells {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			c.run(t.Context(), s)
		})
	}
	wg.Wait()
	t.Logf("%d requests in %s\n%s", len(cells), time.Since(began).Round(time.Millisecond), table(cells))
	var failed []string
	for _, c := range cells {
		if c.err != nil {
			failed = append(failed, fmt.Sprintf("%s to %s, endpoint on %s, Master %s, %s: %v",
				c.client.Name, c.vip, c.endpoint, c.holder, c.column(), c.err))
		}
	}
	t.Logf("measured: grid_%s_cells_right=%d target=%d", mode, len(cells)-len(failed), len(cells))
	if len(failed) > 0 {
		t.Errorf("%d of %d cells are wrong:\n%s", len(failed), len(cells), strings.Join(failed, "\n"))
	}
}

// written waits until VIPs are answered from the LAN and from each node, whose tables
// are written by a daemon each. Those that never are will be missed by who asks next.
func written(t *testing.T, s *scenario.Site, vips []netip.Addr) {
	t.Helper()
	writtenAt(t, s, vips, portOf["TCP"])
}

// writtenAt is written for another TCP port than that of Echo.
func writtenAt(t *testing.T, s *scenario.Site, vips []netip.Addr, port uint16) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, host := range append(s.Nodes(), "client") {
		wg.Go(func() {
			for _, vip := range vips {
				_ = scenario.Eventually(ctx, "first answer", func(ctx context.Context) error {
					_, err := askPort(ctx, s.NetNS(host), "TCP", netip.AddrPortFrom(vip, port))
					return err
				})
			}
		})
	}
	wg.Wait()
}

// table shows the cells, with what the endpoint took the client for.
func table(cells []*cell) string {
	columns := map[string]bool{}
	rows := map[string]map[string]*cell{}
	for _, c := range cells {
		columns[c.column()] = true
		row := c.endpoint + "\t" + c.client.Name
		if rows[row] == nil {
			rows[row] = map[string]*cell{}
		}
		rows[row][c.column()] = c
	}
	heads := slices.Sorted(maps.Keys(columns))
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "endpoint\tclient\t%s\n", strings.Join(heads, "\t"))
	masters := map[string]string{}
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprint(w, row)
		for _, head := range heads {
			c := rows[row][head]
			masters[head] = c.holder
			if c.err != nil {
				fmt.Fprint(w, "\tWRONG")
			} else {
				fmt.Fprintf(w, "\t%s", c.seen)
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "Master\t")
	for _, head := range heads {
		fmt.Fprintf(w, "\t%s", masters[head])
	}
	fmt.Fprintln(w)
	w.Flush()
	return b.String()
}
