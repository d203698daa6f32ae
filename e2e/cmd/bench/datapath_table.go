package main

import (
	"fmt"
	"strings"

	"kube-vrrp-vip/e2e/internal/load"
)

const (
	datapathTitle = "Datapath"
	datapathText  = `A client, a node and four endpoints of a Service (one program) in network namespaces, connected by links of their own. The node
runs kube-vrrp-vip, the table that kube-proxy's nftables mode gives a node (clients are masqueraded), and HAProxy in TCP mode with 2
threads and the same endpoints. "ClusterIP" is the client straight at the ClusterIP, "VIP" the same through kube-vrrp-vip, "HAProxy" the
same through HAProxy on the node. "Without kube-vrrp-vip" is a node that has only the rest.

1 forward is a VIP with a Service of one port, 100 are 10 VIPs with 10 ports each, 10 000 are 100 VIPs with 100 ports each. kube-proxy's
table has as many Services and ports, and the last port of the last VIP is asked.

A question has 100 bytes, an answer 1000. Client and endpoints are a thread each, on a processor of its own, and do next to nothing with
either, so that what lies between them weighs more than in practice. Every path is measured for %v in each of %d rounds, in an order by chance. Figures are the
median [range] of the rounds; ratios are those of one round. CPU is the time that all processors of the machine were busy, client and
endpoints included: they are in both sides of a ratio. Memory is that of the process: kube-vrrp-vip's is the whole daemon. The node has the sysctls of
the kernel. Where the client ends its connections first, TIME_WAIT is the proxy's.
`
)

// String returns the section as Markdown.
func (d *datapath) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n%s\n\n", datapathTitle, strings.TrimSpace(d.text), d.measured)
	d.aims(&b)
	for _, t := range []struct {
		title   string
		pattern load.Pattern
	}{
		{fmt.Sprintf("Requests, %d connections kept open", connections), load.KeepAlive},
		{fmt.Sprintf("A connection per request, %d at a time", connections), load.PerConnection},
		{fmt.Sprintf("Download, %d streams", streams), load.Download},
	} {
		fmt.Fprintf(&b, "\n### %s\n\n", t.title)
		if t.pattern == load.Download {
			b.WriteString("| | Gbit/s | CPU, s per GB |\n|---|---|---|\n")
		} else {
			b.WriteString("| | requests/s | p50, µs | p99, µs | CPU, µs per request |\n|---|---|---|---|---|\n")
		}
		line := func(name string, p *path) {
			fmt.Fprintf(&b, "| %s | %s |", name, spread(p.values(t.pattern, rate)))
			if t.pattern != load.Download {
				fmt.Fprintf(&b, " %s | %s |", spread(p.values(t.pattern, p50)), spread(p.values(t.pattern, p99)))
			}
			fmt.Fprintf(&b, " %s |\n", spread(p.values(t.pattern, cpu)))
		}
		line(clusterIPName+", without kube-vrrp-vip", d.bare)
		for _, p := range d.plain {
			name := p.name
			if name != haproxyName {
				name += ", " + count(p.forwards())
			}
			line(name, p)
		}
		for _, p := range d.proxied {
			line(p.name+", with a PROXY header", p)
		}
		if t.pattern == load.PerConnection {
			t.pattern = load.ClientEnds
			line(vipName+", with a PROXY header, the client ends first", d.proxied[0])
		}
	}
	fmt.Fprintf(&b, "\n### Memory (RSS), with a PROXY header\n\n| | kube-vrrp-vip | HAProxy |\n|---|---|---|\n")
	fmt.Fprintf(&b, "| without connections, MB | %s | %s |\n", number(d.memory[0][0]), number(d.memory[1][0]))
	fmt.Fprintf(&b, "| %d idle connections, MB | %s | %s |\n", idle, number(d.memory[0][1]), number(d.memory[1][1]))
	fmt.Fprintf(&b, "| per connection, kB | %s | %s |\n", number(perConnection(d.memory[0])), number(perConnection(d.memory[1])))
	fmt.Fprintf(&b, "\n### Writing the rules\n\nThe daemon's code alone, from the wanted state to the kernel's answer. A ConfigMap has 4096 VIPs at most.\n\n| | ms |\n|---|---|\n")
	for _, r := range d.rules {
		fmt.Fprintf(&b, "| %s | %s |\n", words(r.name), spread(r.ms))
	}
	return b.String()
}

// aim is a figure and what it is to be.
type aim struct {
	name    string
	values  []float64
	limit   float64
	atLeast bool
}

func (a aim) met() bool {
	if a.atLeast {
		return median(a.values) >= a.limit
	}
	return median(a.values) <= a.limit
}

// aims writes the table of what was aimed at.
func (d *datapath) aims(b *strings.Builder) {
	b.WriteString("### Aims\n\n| | aim | reached | |\n|---|---|---|---|\n")
	for _, a := range d.judged() {
		word, verdict := "at most", "**missed**"
		if a.atLeast {
			word = "at least"
		}
		if a.met() {
			verdict = "met"
		}
		fmt.Fprintf(b, "| %s | %s %g | %s | %s |\n", a.name, word, a.limit, spread(a.values), verdict)
	}
}

func (d *datapath) judged() []aim {
	names := []struct {
		pattern load.Pattern
		name    string
	}{{load.KeepAlive, "requests/s"}, {load.PerConnection, "connections/s"}, {load.Download, "download"}}
	cluster1, vip1, haproxy := d.plain[0], d.plain[1], d.plain[2]
	vip10000 := d.plain[6]
	var all []aim
	for _, pair := range [][2]*path{{vip1, cluster1}, {d.plain[4], d.plain[3]}, {vip10000, d.plain[5]}} {
		for _, n := range names {
			all = append(all, aim{
				"VIP / ClusterIP, " + n.name + ", " + count(pair[0].forwards()),
				ratios(pair[0], pair[1], n.pattern, rate), 0.97, true,
			})
		}
	}
	for _, n := range names {
		all = append(all, aim{"ClusterIP beside kube-vrrp-vip / without it, " + n.name, ratios(cluster1, d.bare, n.pattern, rate), 0.97, true})
	}
	for _, n := range names {
		all = append(all, aim{"VIP with 10 000 / with 1, " + n.name, ratios(vip10000, vip1, n.pattern, rate), 0.95, true})
	}
	all = append(
		all,
		aim{"VIP / HAProxy, requests/s", ratios(vip1, haproxy, load.KeepAlive, rate), 1.7, true},
		aim{"VIP / HAProxy, download", ratios(vip1, haproxy, load.Download, rate), 1.7, true},
		aim{"VIP / HAProxy, CPU per connection", ratios(vip1, haproxy, load.PerConnection, cpu), 0.75, false},
	)
	for _, n := range names {
		all = append(all, aim{"PROXY header: VIP / HAProxy, " + n.name, ratios(d.proxied[0], d.proxied[1], n.pattern, rate), 1, true})
	}
	all = append(
		all,
		aim{fmt.Sprintf("PROXY header: VIP / HAProxy, memory with %d idle connections", idle), []float64{d.memory[0][1] / d.memory[1][1]}, 1, false},
		aim{"PROXY header: VIP / HAProxy, memory per idle connection", []float64{perConnection(d.memory[0]) / perConnection(d.memory[1])}, 1, false},
	)
	ends := d.proxied[0].values(load.ClientEnds, rate)
	for i, other := range d.proxied[0].values(load.PerConnection, rate) {
		ends[i] /= other
	}
	all = append(all, aim{"PROXY header: VIP, connections/s, client ends first / endpoint ends first", ends, 0.7, true})
	for _, name := range addRule {
		all = append(all, aim{words(name) + ", ms", d.rules.of(name), 5, false})
	}
	for _, name := range loadRules {
		all = append(all, aim{words(name) + ", ms", d.rules.of(name), 200, false})
	}
	return all
}

// ratios returns a figure of a over that of b, round by round.
func ratios(a, b *path, pattern load.Pattern, of func(sample) float64) []float64 {
	values, others := a.values(pattern, of), b.values(pattern, of)
	for i := range values {
		values[i] /= others[i]
	}
	return values
}

// perConnection is the memory of an idle connection in kB.
func perConnection(memory [2]float64) float64 { return (memory[1] - memory[0]) * 1000 / idle }

func count(forwards int) string {
	switch {
	case forwards == 1:
		return "1 forward"
	case forwards >= 10_000:
		return fmt.Sprintf("%d %03d forwards", forwards/1000, forwards%1000)
	default:
		return fmt.Sprintf("%d forwards", forwards)
	}
}
