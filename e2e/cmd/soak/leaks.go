package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"kube-vrrp-vip/e2e/internal/scenario"
	"kube-vrrp-vip/e2e/internal/soak"
	"kube-vrrp-vip/pkg/netns"
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
				// Those of connections that clients have left when their VIP moved stay for
				// up to five minutes, two for each.
				Files:    int(m["process_open_fds"] - 2*m["kube_vrrp_vip_proxy_connections"]),
				MemoryMB: int(m["process_resident_memory_bytes"] / 1e6),
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

// leftLimit is how long what is left over may take to go away by itself: the kernel
// keeps a connection that got no answer for two minutes.
const leftLimit = 150 * time.Second

// countAgain compares what is on the nodes with what was there before. If it is more, it
// looks again: on a busy machine VIPs may just have moved.
func (r *runner) countAgain(ctx context.Context, before [counted]int) error {
	r.report.Leaks = append(r.report.Leaks, r.lives.Leaks()...)
	var after [counted]int
	err := until(ctx, func() (enough bool, err error) {
		after, err = r.count(ctx)
		return !slices.ContainsFunc(leaks(before, after), soak.Leak.Leaked), err
	})
	r.report.Leaks = append(r.report.Leaks, leaks(before, after)...)
	return err
}

func leaks(before, after [counted]int) []soak.Leak {
	var list []soak.Leak
	for i, name := range names {
		list = append(list, soak.Leak{What: name, Begin: before[i], End: after[i]})
	}
	return list
}

// until calls f until it is content, or too much time has passed.
func until(ctx context.Context, f func() (enough bool, err error)) error {
	for deadline := time.Now().Add(leftLimit); ; {
		enough, err := f()
		if enough || err != nil || time.Now().After(deadline) {
			return err
		}
		if err := rest(ctx, time.Second); err != nil {
			return err
		}
	}
}

const (
	// The conntrack zones of VIPs.
	firstZone, lastZone = 20000, 29999
	// connectionsLeft is how many entries may stay. An answered connection that lost its
	// node in the middle has one for days.
	connectionsLeft = 200
)

// countConnections ends the clients and counts the conntrack entries that stay.
func (r *runner) countConnections(ctx context.Context) error {
	r.stopClients()
	left := soak.Leak{What: "conntrack entries of VIPs without clients", Allowed: connectionsLeft}
	err := until(ctx, func() (enough bool, err error) {
		left.End = 0
		for _, node := range r.Nodes() {
			err := netns.Do(r.NetNS(node), func() error {
				f, err := os.Open("/proc/thread-self/net/nf_conntrack")
				if err != nil {
					return err
				}
				defer f.Close()
				n, err := countZones(f)
				left.End += n
				return err
			})
			if err != nil {
				return false, fmt.Errorf("count connections of %s: %w", node, err)
			}
		}
		return !left.Leaked(), nil
	})
	r.report.Leaks = append(r.report.Leaks, left)
	return err
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
