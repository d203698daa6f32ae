// Command bench measures kube-vrrp-vip beside keepalived, in the same run and in
// the same topology, and writes what came of it as Markdown.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	out := flag.String("out", "", "file to write; nothing for standard output only")
	runs := flag.Int("runs", 20, "how many runs of each failover, and half as many starts")
	window := flag.Duration("window", 30*time.Second, "for how long CPU time is measured")
	only := flag.String("only", "", "measure only what matches this regular expression: v2-1s, v3-100ms, v3-10ms, starts, scale")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *out, *runs, *window, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string, runs int, window time.Duration, only string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	kinds := [2]kind{ours{}, theirs{dir}}
	began := time.Now()
	progress := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "progress: %6.1f min  "+format+"\n", append([]any{time.Since(began).Minutes()}, args...)...)
	}

	var sections []section
	modes := []struct {
		name string
		mode
	}{
		{"v3-100ms", mode{3, 100 * time.Millisecond}},
		{"v3-10ms", mode{3, 10 * time.Millisecond}},
		{"v2-1s", mode{2, time.Second}},
	}
	for _, m := range modes {
		if !wanted.MatchString(m.name) {
			continue
		}
		rows, err := failovers(ctx, m.mode, runs, kinds, progress)
		if err != nil {
			return err
		}
		sections = append(sections, section{title: "Failover, " + m.String(), text: failoverText, rows: rows})
	}
	if wanted.MatchString("starts") {
		var rows []row
		for _, m := range modes[:2] {
			r, err := starts(ctx, m.mode, max(runs/2, 1), kinds, progress)
			if err != nil {
				return err
			}
			for i := range r {
				r[i].name += ", " + m.interval.String()
			}
			rows = append(rows, r...)
		}
		sections = append(sections, section{title: "Start", text: startText, rows: rows})
	}
	if wanted.MatchString("scale") {
		rows, err := scale(ctx, modes[0].mode, []int{1, 50, 255}, window, kinds, progress)
		if err != nil {
			return err
		}
		sections = append(sections, section{title: "Many virtual routers, " + modes[0].String(), text: scaleText, rows: rows})
	}

	var b strings.Builder
	b.WriteString(head(ctx, runs, time.Since(began)))
	for _, s := range sections {
		b.WriteString("\n" + s.String())
	}
	if _, err := io.WriteString(os.Stdout, b.String()); err != nil || out == "" {
		return err
	}
	return os.WriteFile(out, []byte(b.String()), 0o644)
}

const (
	failoverText = `Three nodes, priorities 100, 101 and 102, without preemption, one VIP; keepalived with its defaults for everything else, as
kube-keepalived-vip ran it. The figure is the longest time that the client was without an answer.
`
	startText = `One node. kube-vrrp-vip listens for 3.2 s after its process has started before it takes part, so as not to disturb anybody who is there;
keepalived does not. A virtual router that is added later starts at once with both.
`
	scaleText = `One node that is Master of all of them, each with one VIP. CPU and memory are those of all processes of the daemon; kube-vrrp-vip's
include its Kubernetes client. With few virtual routers most of its CPU time is the Go runtime's, which each wake-up keeps busy for a moment.
`
)

// head is the beginning of the document: where and how it was measured.
func head(ctx context.Context, runs int, took time.Duration) string {
	return fmt.Sprintf(`# Benchmarks

Written by `+"`make bench`"+` (%d runs of each failover, %.0f minutes): kube-vrrp-vip and keepalived in the same run, in turn, in network namespaces on
one machine: hosts on a bridge, a client that asks the VIP by ICMP echo every %v through its own neighbour table, and a stub of the
Kubernetes API. Median [range]; the ratio is that of the medians, below 1 kube-vrrp-vip is better.

* %s, %d processors, %s
* kube-vrrp-vip built with %s; %s
`, runs, took.Minutes(), tick, processor(), runtime.NumCPU(), strings.TrimSpace(read("/proc/sys/kernel/osrelease")),
		runtime.Version(), version(ctx))
}

func processor() string {
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// read returns a file of /proc, which is always there.
func read(file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}

// version is keepalived's own word for it.
func version(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "keepalived", "--version").CombinedOutput()
	if err != nil {
		return "keepalived of unknown version"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
