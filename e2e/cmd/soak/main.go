// Command soak has kube-vrrp-vip on a Kubernetes of three nodes in network namespaces,
// with a client on every VIP, and makes one fault after the other there, in a random
// order that a seed repeats.
//
// Before its last line is a table of what each kind of fault cost, and of what is left
// over. The last line is "soak: PASS" or "soak: FAIL" and the reasons, with figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kube-vrrp-vip/e2e/internal/cluster"
	"kube-vrrp-vip/e2e/internal/scenario"
	"kube-vrrp-vip/e2e/internal/soak"
)

// clusterName is apart from the others': they may run meanwhile.
const clusterName = "kvvsoak"

func main() {
	os.Exit(run())
}

func run() (code int) {
	minutes := flag.Float64("minutes", 30, "for how long faults are made")
	seedText := flag.String("seed", "", "what the order of the faults comes from; another one each time if empty")
	only := flag.String("only", "", "make only the kinds of faults that contain this")
	flag.Parse()
	seed, err := strconv.ParseUint(*seedText, 10, 64)
	if *seedText == "" {
		seed, err = uint64(rand.Uint32()), nil
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "soak: -seed: %v\n", err)
		return 2
	}
	// A terminal that is gone must not end the run before it has cleaned up: writing to
	// it fails, and that is all. (Ignored, the signal would be ignored by the programs of
	// the cluster, too.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	// Never let go of: while the cluster is taken down a signal changes nothing.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()

	r := &runner{
		out: os.Stdout, begin: time.Now(), rand: rand.New(rand.NewPCG(seed, 0)),
		lives: soak.Lives{WarmUp: warmUp},
	}
	for _, f := range faults {
		if strings.Contains(f.kind, *only) {
			r.faults = append(r.faults, f)
		}
	}
	if len(r.faults) == 0 {
		fmt.Fprintf(os.Stderr, "soak: -only: no kind of fault contains %q\n", *only)
		return 2
	}
	r.say("seed %d: make soak MINUTES=%g SEED=%[1]d makes the same faults in the same order", seed, *minutes)
	err = r.soak(ctx, time.Duration(*minutes*float64(time.Minute)))
	fmt.Fprintf(r.out, "\n%s\n", r.report.Table())
	var reasons []string
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		reasons = append(reasons, strings.Join(strings.Fields(err.Error()), " "))
	}
	verdict := r.report.Verdict(reasons...)
	fmt.Fprintf(r.out, "%s seed=%d\n", verdict, seed)
	if len(reasons) > 0 || len(r.report.Failures()) > 0 {
		return 1
	}
	return 0
}

// soak starts a cluster, makes faults on it for that long, and takes it down.
func (r *runner) soak(ctx context.Context, d time.Duration) (err error) {
	c, err := cluster.Start(ctx, cluster.Options{Name: clusterName, Log: r.out})
	if errors.Is(err, cluster.ErrRunning) {
		return fmt.Errorf("%w; if that is not another run under way, remove it: cd e2e && go run ./cmd/cluster -name %s down", err, clusterName)
	}
	if err != nil {
		return err
	}
	defer func() {
		r.stopClients()
		if ctx.Err() == nil && (err != nil || len(r.report.Failures()) > 0) {
			r.explain(c)
		}
		r.say("the cluster is taken down")
		err = errors.Join(err, c.Stop())
	}()
	if r.Site, err = scenario.Open(c); err != nil {
		return err
	}
	if err := r.install(ctx); err != nil {
		return err
	}
	if err := r.startClients(); err != nil {
		return err
	}
	return r.makeFaults(ctx, d)
}

// explain writes what may explain a failure.
func (r *runner) explain(c *cluster.Cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c.DumpLogs(r.out)
	if r.Site != nil {
		r.Dump(ctx, r.out)
	}
}

// say writes a line.
func (r *runner) say(format string, args ...any) {
	fmt.Fprintf(r.out, "[%6.1fs] %s\n", time.Since(r.begin).Seconds(), fmt.Sprintf(format, args...))
}
