package main

import (
	"strings"
	"testing"
)

func TestCountRules(t *testing.T) {
	t.Parallel()
	const ruleset = `{"nftables": [{"metainfo": {"version": "1.0.6"}},
		{"table": {"family": "ip", "name": "kube-proxy"}},
		{"set": {"table": "kube-proxy", "name": "s", "elem": ["10.0.0.1"]}},
		{"rule": {"table": "kube-proxy", "chain": "c", "expr": []}},
		{"table": {"family": "inet", "name": "kube_vrrp_vip"}},
		{"map": {"table": "kube_vrrp_vip", "name": "m", "elem": [["10.0.0.1", 1], ["10.0.0.2", 2]]}},
		{"set": {"table": "kube_vrrp_vip", "name": "s", "elem": [{"elem": {"val": 1, "timeout": 2}}]}},
		{"set": {"table": "kube_vrrp_vip", "name": "empty"}},
		{"chain": {"table": "kube_vrrp_vip", "name": "c"}},
		{"rule": {"table": "kube_vrrp_vip", "chain": "c", "expr": []}}]}`
	var n [counted]int
	if err := countRules(ruleset, &n); err != nil {
		t.Fatal(err)
	}
	if want := [counted]int{tables: 1, rules: 1, elements: 3}; n != want {
		t.Errorf("got %v, want %v", n, want)
	}
}

func TestCountLinks(t *testing.T) {
	t.Parallel()
	const links = `[{"ifname": "lo", "addr_info": [{}, {}]},
		{"ifname": "eth0", "linkinfo": {"info_kind": "veth"}, "addr_info": [{}, {}, {}]},
		{"ifname": "vrrp4-50", "linkinfo": {"info_kind": "macvlan"}, "addr_info": [{}]},
		{"ifname": "veth1234", "linkinfo": {"info_kind": "veth"}, "addr_info": [{}]},
		{"ifname": "cni0", "linkinfo": {"info_kind": "bridge"}, "addr_info": [{}]}]`
	var n [counted]int
	if err := countLinks(links, &n); err != nil {
		t.Fatal(err)
	}
	if want := [counted]int{addresses: 6, macvlans: 1}; n != want {
		t.Errorf("got %v, want %v", n, want)
	}
}

func TestCountZones(t *testing.T) {
	t.Parallel()
	const list = `ipv4     2 tcp      6 9 CLOSE src=10.89.0.100 dst=10.96.0.7 sport=1 dport=80 src=10.89.0.10 dst=10.89.0.11 sport=9080 dport=2 mark=0 zone-orig=20003 use=2
ipv4     2 tcp      6 9 CLOSE src=10.89.0.100 dst=10.96.0.7 sport=1 dport=80 src=10.89.0.10 dst=10.89.0.11 sport=9080 dport=2 mark=0 zone=29999 use=2
ipv4     2 tcp      6 9 ESTABLISHED src=10.89.0.11 dst=10.89.0.10 sport=1 dport=6443 mark=0 zone=0 use=2
ipv4     2 tcp      6 9 ESTABLISHED src=10.89.0.11 dst=10.89.0.10 sport=1 dport=6443 mark=0 zone-orig=30000 use=2
`
	if n, err := countZones(strings.NewReader(list)); n != 2 || err != nil {
		t.Errorf("got %d, %v, want 2", n, err)
	}
}

// TestFaults checks that each kind has a name of its own and a bound.
func TestFaults(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{}
	for _, f := range faults {
		if f.kind == "" || kinds[f.kind] || f.bound < usual || f.run == nil {
			t.Errorf("fault %q: bound %s", f.kind, f.bound)
		}
		kinds[f.kind] = true
	}
}
