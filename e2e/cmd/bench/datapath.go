package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"kube-vrrp-vip/e2e/internal/load"
)

// connections of a client, all at once; streams of a download.
const (
	connections = 32
	streams     = 4
	// idle connections for which memory is measured.
	idle = 1000
	// warm is for how long a client works before it counts.
	warm = 100 * time.Millisecond
)

// path is a way from the client to the endpoints.
type path struct {
	name    string
	node    *node
	target  netip.AddrPort
	proxied bool
	// samples are in the order of the rounds.
	samples map[load.Pattern][]sample
}

// sample is what one client did on a path.
type sample struct {
	rate     float64 // requests per second, Gbit/s
	p50, p99 float64 // µs
	// cpu is the time that all processors were busy: µs per request, s per GB.
	cpu    float64
	stalls int
}

// work is what the clients do.
type work struct {
	pattern     load.Pattern
	connections int
}

// The last one is for the built-in proxy alone: HAProxy has no ports left for it
// after some seconds, and fails.
var works = []work{{load.KeepAlive, connections}, {load.PerConnection, connections}, {load.Download, streams}, {load.ClientEnds, connections}}

// datapath is what was measured.
type datapath struct {
	// bare is the ClusterIP on a node without kube-vrrp-vip.
	bare *path
	// plain are ClusterIP, VIP and HAProxy with 1 forward, then ClusterIP and
	// VIP with 100 and with 10,000.
	plain []*path
	// proxied are the VIP and HAProxy.
	proxied []*path
	// memory in MB of the two, without connections and with idle ones.
	memory [2][2]float64
	rules  rules
	// text and measured are what the section begins with.
	text, measured string
}

// measureDatapath measures every path in every round, in an order by chance.
func measureDatapath(ctx context.Context, dir string, rounds int, slice time.Duration, progress func(format string, args ...any)) (_ *datapath, err error) {
	// The clients and endpoints do not give their processors back to the
	// scheduler while they work, and the rest of this program needs some too.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(8, runtime.NumCPU()+4)))

	began := time.Now()
	d := &datapath{text: fmt.Sprintf(datapathText, slice, rounds)}
	if d.rules, err = measureRules(ctx, max(rounds/4, 1)); err != nil {
		return nil, err
	}
	progress("rules: %s in %v ms", words(loadRules[0]), d.rules.of(loadRules[0]))
	var nodes []*node
	defer func() {
		for _, n := range nodes {
			err = errors.Join(err, n.close())
		}
	}()
	start := func(vips, ports int, method string) (*node, error) {
		n, err := newNode(dir, vips, ports, method)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
		return n, n.ready(ctx)
	}
	for _, size := range []struct{ vips, ports int }{{1, 1}, {10, 10}, {100, 100}} {
		n, err := start(size.vips, size.ports, "")
		if err != nil {
			return nil, err
		}
		d.plain = append(d.plain, newPath(clusterIPName, n, n.clusterIP()), newPath(vipName, n, n.vip()))
		if size.vips == 1 {
			d.plain = append(d.plain, newPath(haproxyName, n, n.haproxyPort(plainPort)))
		}
		progress("%d forwards are there", size.vips*size.ports)
	}
	n, err := start(1, 1, bare)
	if err != nil {
		return nil, err
	}
	d.bare = newPath(clusterIPName, n, n.clusterIP())
	if n, err = start(1, 1, proxied); err != nil {
		return nil, err
	}
	d.proxied = []*path{newPath(vipName, n, n.vip()), newPath(haproxyName, n, n.haproxyPort(proxyPort))}
	for _, p := range d.proxied {
		p.proxied = true
	}
	if d.memory, err = idleMemory(ctx, n); err != nil {
		return nil, err
	}
	progress("memory with %d idle connections: %.1f MB, HAProxy %.1f MB", idle, d.memory[0][1], d.memory[1][1])

	paths := slices.Concat([]*path{d.bare}, d.plain, d.proxied)
	for round := range rounds {
		// What is compared is measured close together.
		for _, w := range shuffled(works) {
			measured := paths
			if w.pattern == load.ClientEnds {
				measured = d.proxied[:1]
			}
			for _, p := range shuffled(measured) {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				s, err := p.measure(w, slice)
				if err != nil {
					return nil, fmt.Errorf("round %d, %s, %c: %w", round+1, p.target, w.pattern, err)
				}
				if s.stalls > 0 {
					progress("round %d, %s, %c: %d requests took over 190 ms", round+1, p.target, w.pattern, s.stalls)
				}
				p.samples[w.pattern] = append(p.samples[w.pattern], s)
			}
		}
		progress("datapath, round %d of %d: VIP %.0f requests/s, ClusterIP %.0f, HAProxy %.0f", round+1, rounds,
			d.plain[1].last(load.KeepAlive), d.plain[0].last(load.KeepAlive), d.plain[2].last(load.KeepAlive))
	}
	d.measured = measured(began, version(ctx, "haproxy", "-v"))
	return d, nil
}

// shuffled returns a list in an order by chance.
func shuffled[T any](list []T) []T {
	list = slices.Clone(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

const (
	clusterIPName = "ClusterIP"
	vipName       = "VIP"
	haproxyName   = "HAProxy"
)

func newPath(name string, n *node, target netip.AddrPort) *path {
	return &path{name: name, node: n, target: target, samples: map[load.Pattern][]sample{}}
}

// forwards is how many the node of the path has.
func (p *path) forwards() int { return p.node.vips * p.node.ports }

func (p *path) last(pattern load.Pattern) float64 {
	all := p.samples[pattern]
	return all[len(all)-1].rate
}

// values returns one figure of all samples.
func (p *path) values(pattern load.Pattern, of func(sample) float64) []float64 {
	var values []float64
	for _, s := range p.samples[pattern] {
		values = append(values, of(s))
	}
	return values
}

func rate(s sample) float64 { return s.rate }
func cpu(s sample) float64  { return s.cpu }
func p50(s sample) float64  { return s.p50 }
func p99(s sample) float64  { return s.p99 }

// measure lets a client work on the path.
func (p *path) measure(w work, slice time.Duration) (sample, error) {
	client := load.Client{Pattern: w.pattern, Connections: w.connections, Target: p.target, Proxied: p.proxied}
	var before, after time.Duration
	var r load.Result
	// Not while it works.
	runtime.GC()
	err := p.node.lab.Client.Do(func() error {
		err := load.Pin(clientProcessor)
		if err != nil {
			return err
		}
		r, err = client.Run(warm, slice, func() { before = busy() }, func() { after = busy() })
		return err
	})
	if err != nil {
		return sample{}, err
	}
	s := sample{stalls: r.Stalls}
	spent := after - before
	if w.pattern == load.Download {
		s.rate = float64(r.Bytes) * 8 / 1e9 / r.Took.Seconds()
		s.cpu = spent.Seconds() / (float64(r.Bytes) / 1e9)
		return s, nil
	}
	s.rate = float64(r.Requests) / r.Took.Seconds()
	s.cpu = float64(spent.Microseconds()) / float64(r.Requests)
	s.p50 = float64(r.Latency[len(r.Latency)/2]) / float64(time.Microsecond)
	s.p99 = float64(r.Latency[len(r.Latency)*99/100]) / float64(time.Microsecond)
	return s, nil
}

// busy is the time that the processors have worked since the machine started, of
// all of them, in hundredths of a second (proc(5)). What the kernel does for a packet
// that passes the node it does in the time of whoever sent it, so the node's share
// cannot be told from the client's and the endpoint's.
func busy() time.Duration {
	line, _, _ := strings.Cut(read("/proc/stat"), "\n")
	fields := strings.Fields(line)
	var ticks int64
	for i, field := range fields[1:] {
		// user, nice, system, idle, iowait, irq, softirq; then others that took
		// the processor away, and guests that are in user already.
		if i != 3 && i != 4 && i < 7 {
			n, _ := strconv.ParseInt(field, 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// idleMemory measures the daemon and HAProxy without connections, and with some
// that have asked once and are open.
func idleMemory(ctx context.Context, n *node) (memory [2][2]float64, err error) {
	for i, w := range []struct {
		pid    int
		target netip.AddrPort
	}{{n.daemon.PID(), n.vip()}, {n.haproxy.PID(), n.haproxyPort(proxyPort)}} {
		if _, memory[i][0], err = usage(w.pid); err != nil {
			return memory, err
		}
		client := load.Client{Pattern: load.KeepAlive, Connections: idle, Target: w.target, Proxied: true}
		err = n.lab.Client.Do(func() error {
			return client.Hold(func() error {
				if err := rest(ctx, 3*time.Second); err != nil {
					return err
				}
				_, memory[i][1], err = usage(w.pid)
				return err
			})
		})
		if err != nil {
			return memory, fmt.Errorf("%d idle connections to %s: %w", idle, w.target, err)
		}
	}
	return memory, nil
}
