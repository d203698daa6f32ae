package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"kube-vrrp-vip/e2e/netns"
	"kube-vrrp-vip/e2e/scenario"
	"kube-vrrp-vip/e2e/soak"
)

// see notes the vitals of every daemon.
func (r *runner) see(ctx context.Context) error {
	for _, n := range r.Nodes() {
		// On a busy machine one question may get no answer in time.
		err := scenario.Eventually(ctx, "metrics of "+n, func(ctx context.Context) error {
			m, err := r.Metrics(ctx, n)
			if err != nil {
				return err
			}
			r.lives.See(n, time.Now(), soak.Vitals{
				Started:    time.UnixMilli(int64(m["process_start_time_seconds"] * 1000)),
				Goroutines: int(m["go_goroutines"]),
				Files:      int(m["process_open_fds"]),
				MemoryMB:   int(m["process_resident_memory_bytes"] / 1e6),
			})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// What is counted of the nodes, all together: VIPs are somewhere else at the end.
const (
	addresses = iota
	tables
	rules
	elements
	macvlans
	counted
)

var names = [counted]string{"addresses of the nodes", "our nftables tables", "their rules", "their elements", "macvlan links"}

// count counts on all nodes.
func (r *runner) count(ctx context.Context) (n [counted]int, err error) {
	for _, node := range r.Nodes() {
		out, err := r.Exec(ctx, node, "nft", "--json", "list", "ruleset")
		if err != nil {
			return n, err
		}
		if err := countRules(out, &n); err != nil {
			return n, fmt.Errorf("%s: %w", node, err)
		}
		if out, err = r.Exec(ctx, node, "ip", "-json", "-details", "address", "show"); err != nil {
			return n, err
		}
		if err := countLinks(out, &n); err != nil {
			return n, fmt.Errorf("%s: %w", node, err)
		}
	}
	return n, nil
}

// countRules adds what of kube-vrrp-vip's is in a ruleset of nft.
func countRules(ruleset string, n *[counted]int) error {
	type object struct {
		Table string
		Name  string
		Elem  []any
	}
	var list struct {
		Nftables []map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(ruleset), &list); err != nil {
		return fmt.Errorf("read ruleset: %w", err)
	}
	const own = "kube_vrrp_vip"
	for _, item := range list.Nftables {
		for kind, text := range item {
			if kind == "metainfo" {
				continue
			}
			var o object
			if err := json.Unmarshal(text, &o); err != nil {
				return fmt.Errorf("read %s of ruleset: %w", kind, err)
			}
			switch {
			case kind == "table" && o.Name == own:
				n[tables]++
			case kind == "rule" && o.Table == own:
				n[rules]++
			case (kind == "set" || kind == "map") && o.Table == own:
				n[elements] += len(o.Elem)
			}
		}
	}
	return nil
}

// countLinks adds the addresses, but for those of the pods' links, and the macvlan
// links of an output of ip(8).
func countLinks(out string, n *[counted]int) error {
	var links []struct {
		Ifname   string
		LinkInfo struct {
			Kind string `json:"info_kind"`
		} `json:"linkinfo"`
		Addrs []any `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return fmt.Errorf("read addresses: %w", err)
	}
	for _, l := range links {
		if l.LinkInfo.Kind == "macvlan" {
			n[macvlans]++
		}
		if l.LinkInfo.Kind == "bridge" || strings.HasPrefix(l.Ifname, "veth") {
			continue
		}
		n[addresses] += len(l.Addrs)
	}
	return nil
}

func leaks(before, after [counted]int) []soak.Leak {
	var list []soak.Leak
	for i, name := range names {
		list = append(list, soak.Leak{What: name, Begin: before[i], End: after[i]})
	}
	return list
}

const (
	// The conntrack zones of VIPs.
	firstZone, lastZone = 20000, 29999
	// connectionRest is how long entries of connections outlive them. Those that lost
	// their node in the middle stay for longer.
	connectionRest  = 12 * time.Second
	connectionsLeft = 200
)

// countConnections ends the clients and counts the conntrack entries that stay.
func (r *runner) countConnections(ctx context.Context) error {
	r.stopClients()
	if err := rest(ctx, connectionRest); err != nil {
		return err
	}
	left := 0
	for _, node := range r.Nodes() {
		err := netns.Do(r.NetNS(node), func() error {
			f, err := os.Open("/proc/thread-self/net/nf_conntrack")
			if err != nil {
				return err
			}
			defer f.Close()
			n, err := countZones(f)
			left += n
			return err
		})
		if err != nil {
			return fmt.Errorf("count connections of %s: %w", node, err)
		}
	}
	r.report.Leaks = append(r.report.Leaks, soak.Leak{What: "conntrack entries of VIPs without clients", End: left, Allowed: connectionsLeft})
	return nil
}

// countZones counts the entries of VIPs in a list of the kernel's.
func countZones(list io.Reader) (n int, err error) {
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		for f := range strings.FieldsSeq(lines.Text()) {
			name, value, _ := strings.Cut(f, "=")
			if name != "zone" && name != "zone-orig" {
				continue
			}
			if zone, err := strconv.Atoi(value); err == nil && zone >= firstZone && zone <= lastZone {
				n++
				break
			}
		}
	}
	return n, lines.Err()
}
