// Command bench measures kube-vrrp-vip beside keepalived and HAProxy, in the same
// run and in the same topology, and writes what came of it as Markdown. Each
// section of the document is measured by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	out           string
	runs, rounds  int
	window, slice time.Duration
	only          string
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", "", "document to put the sections in; nothing for standard output only")
	flag.IntVar(&o.runs, "runs", 20, "how many runs of each failover, and half as many of each fault and start")
	flag.DurationVar(&o.window, "window", 30*time.Second, "for how long CPU time is measured")
	flag.IntVar(&o.rounds, "rounds", 20, "how many rounds of the datapath")
	flag.DurationVar(&o.slice, "slice", 800*time.Millisecond, "for how long each path is measured in a round of the datapath")
	flag.StringVar(&o.only, "only", "", "measure only what matches this regular expression: v2-1s, v3-100ms, v3-10ms, faults, starts, scale, datapath")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part is a section that can be measured.
type part struct {
	name, title string
	// measure returns the section.
	measure func() (fmt.Stringer, error)
}

func run(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	wanted, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if o.runs < 1 || o.rounds < 1 {
		return errors.New("-runs and -rounds must be at least 1")
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	began := time.Now()
	progress := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "progress: %6.1f min  "+format+"\n", append([]any{time.Since(began).Minutes()}, args...)...)
	}
	all := parts(ctx, o, dir, progress)
	d := document{file: o.out, head: head}
	for _, p := range all {
		d.order = append(d.order, p.title)
	}
	for _, p := range all {
		if !wanted.MatchString(p.name) {
			continue
		}
		s, err := p.measure()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if _, err := fmt.Fprintln(os.Stdout, s); err != nil {
			return err
		}
		if err := d.put(p.title, s.String()); err != nil {
			return err
		}
	}
	return nil
}

// parts are the sections in their order.
func parts(ctx context.Context, o options, dir string, progress func(format string, args ...any)) []part {
	kinds := [2]kind{ours{}, theirs{dir}}
	keepalived := version(ctx, "keepalived", "--version")
	modes := []struct {
		name string
		mode
	}{
		{"v3-100ms", mode{3, 100 * time.Millisecond}},
		{"v3-10ms", mode{3, 10 * time.Millisecond}},
		{"v2-1s", mode{2, time.Second}},
	}
	var list []part
	add := func(name, title, text string, measure func() ([]row, error)) {
		list = append(list, part{name, title, func() (fmt.Stringer, error) {
			began := time.Now()
			rows, err := measure()
			if err != nil {
				return nil, err
			}
			return section{title: title, text: text, measured: measured(began, keepalived), rows: rows}, nil
		}})
	}
	for _, m := range modes {
		add(m.name, "Failover, "+m.String(), failoverText, func() ([]row, error) {
			return failovers(ctx, m.mode, o.runs, kinds, progress)
		})
	}
	add("faults", "Faults, "+modes[0].String(), faultsText, func() ([]row, error) {
		return measureFaults(ctx, modes[0].mode, max(o.runs/2, 1), kinds, progress)
	})
	add("starts", "Start", startText, func() ([]row, error) {
		var rows []row
		for _, m := range modes[:2] {
			r, err := starts(ctx, m.mode, max(o.runs/2, 1), kinds, progress)
			if err != nil {
				return nil, err
			}
			for i := range r {
				r[i].name += ", " + m.interval.String()
			}
			rows = append(rows, r...)
		}
		return rows, nil
	})
	add("scale", "Many virtual routers, "+modes[0].String(), scaleText, func() ([]row, error) {
		return scale(ctx, modes[0].mode, []int{1, 50, 255}, o.window, kinds, progress)
	})
	return append(list, part{"datapath", datapathTitle, func() (fmt.Stringer, error) {
		return measureDatapath(ctx, dir, o.rounds, o.slice, progress)
	}})
}

var (
	failoverText = strings.TrimSpace(`
Three nodes, priorities 100, 101 and 102, without preemption, one VIP; keepalived with its defaults for everything else, as
kube-keepalived-vip ran it. The figure is the longest time that the client was without an answer.
`)
	startText = strings.TrimSpace(`
One node. kube-vrrp-vip listens for 3.2 s after its process has started before it takes part, so as not to disturb anybody who is there;
keepalived does not. A virtual router that is added later starts at once with both.
`)
	scaleText = strings.TrimSpace(`
One node that is Master of all of them, each with one VIP. CPU and memory are those of all processes of the daemon; kube-vrrp-vip's
include its Kubernetes client. With few virtual routers most of its CPU time is the Go runtime's, which each wake-up keeps busy for a moment.
`)
	// head is the beginning of the document.
	head = fmt.Sprintf(`
# Benchmarks

Written by `+"`make bench`"+`: kube-vrrp-vip and what it is measured beside in the same run, in turn, in network namespaces on one machine,
with a stub of the Kubernetes API. Each section is measured by itself, and says when and where that was. It takes about an hour on a
machine that does nothing else; `+"`make bench BENCHFLAGS=\"-only datapath\"`"+` measures one section again and leaves the others as they are.

Beside keepalived there are hosts on a bridge, and a client that asks the VIP by ICMP echo every %v through its own neighbour table. Figures
are a median [range]; the ratio is that of the medians, below 1 kube-vrrp-vip is better.
`, tick)
)
